// SPDX-License-Identifier: Apache-2.0
#include "tests/config_case.h"

#include <check.h>
#include <string.h>

#include "tests/refused.h"

config_case edited;
const tiny_shape config_shape = TINY_SHAPE;

void config_set_up(void)
{
    edited = (config_case){0};
    tiny_init(&edited.t);
}

void config_tear_down(void)
{
    json_free(edited.root);
    strbuf_free(&edited.out);
    plan_free(&edited.p);
    model_close(edited.bound);
    checkpoint_close(edited.source);
    tiny_free(&edited.t);
}

void config_use_qwen3(void)
{
    tiny_qwen3_moe(&edited.t, &config_shape);
    config_open(tiny_qwen3_moe_config);
}

void config_open(const char *config)
{
    err e = ERR_INIT;
    tiny_write(&edited.t, config);
    ASSERT_OK(checkpoint_open(&edited.source, edited.t.dir, NULL, &e), e);
    ASSERT_OK(model_open(&edited.bound, edited.source, NULL, &e), e);
}

static void plan_anew(const plan_options *o)
{
    err e = ERR_INIT;
    plan_free(&edited.p);
    ASSERT_OK(plan_make(&edited.p, edited.source, edited.bound, o, &e), e);
}

void config_plan(const char *type, plan_scope scope, const char *fallback)
{
    plan_options o = PLAN_DEFAULTS;
    o.codec = type ? codec_find(type) : NULL;
    o.scope = scope;
    o.fallback = fallback ? codec_find(fallback) : NULL;
    plan_anew(&o);
}

void config_ruled_plan(const char *const *rule, size_t n)
{
    err e = ERR_INIT;
    recipe rules = {0};
    plan_options o = PLAN_DEFAULTS;
    for (size_t i = 0; i < n; i++)
        ASSERT_OK(recipe_add_option(&rules, rule[i], &e), e);
    o.rules = &rules;
    plan_anew(&o);
    recipe_free(&rules);
}

bool config_try(const char *config, err *why)
{
    strbuf_clear(&edited.out);
    return config_edit(&edited.p, config, strlen(config), &edited.out, why);
}

void config_edits(const char *config)
{
    err e = ERR_INIT;
    json_free(edited.root);
    edited.root = NULL;
    strbuf_clear(&edited.out);
    ASSERT_OK(config_edit(&edited.p, config, strlen(config), &edited.out, &e), e);
    ASSERT_OK(json_parse(&edited.root, edited.out.text, edited.out.len, "config.json", &e), e);
}

const json *config_at(const char *path)
{
    return json_path(edited.root, path);
}

const char *config_text(const char *path)
{
    const char *text = json_as_text(config_at(path));
    ck_assert_msg(text, "no text %s", path);
    return text;
}

int64_t config_number(const char *path)
{
    int64_t n;
    ck_assert_msg(json_as_int(config_at(path), &n), "no number %s", path);
    return n;
}

void config_list_is(const char *path, const char *const *expected, int64_t n)
{
    const json *list = config_at(path);
    ck_assert_msg(list, "no list %s", path);
    int64_t i = 0;
    for (const json *item = json_first(list); item; item = json_next(item), i++) {
        ck_assert_msg(i < n, "%s: too many: %s", path, json_as_text(item));
        ck_assert_str_eq(json_as_text(item), expected[i]);
    }
    ck_assert_int_eq(i, n);
}
