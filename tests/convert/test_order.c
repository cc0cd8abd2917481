// SPDX-License-Identifier: Apache-2.0
// Orders as JSON and back.
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "convert/order.h"
#include "tests/refused.h"

Suite *suite_order(void);

static bool parse(const char *command, const char *text, order *o, err *e)
{
    json *root;
    ck_assert(json_parse(&root, text, strlen(text), "options", e));
    bool ok = order_parse(o, command, root, e);
    json_free(root);
    return ok;
}

static void comes_back(const char *command, const char *text)
{
    err e = ERR_INIT;
    order o;
    strbuf out = {0};
    json_writer w = {.out = &out};
    ASSERT_OK(parse(command, text, &o, &e), e);
    order_write(&o, &w, NULL);
    ck_assert_str_eq(out.text, text);
    ck_assert_str_eq(order_command(&o), command);
    strbuf_free(&out);
    order_free(&o);
}

#define HEX "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20"

START_TEST(orders_come_back_as_they_were_written)
{
    comes_back("convert", "{\"to\":\"experts\",\"page\":4096}");
    comes_back("convert", "{\"to\":\"safetensors\"}");
    comes_back("convert", "{\"to\":\"gguf\"}");
    comes_back("convert", "{\"to\":\"gguf\",\"shard_bytes\":1000,\"shard_tensors\":7,"
               "\"alignment\":4096}");
    comes_back("convert", "{\"to\":\"bf16\",\"allow_lossy\":true}");
    comes_back("convert", "{\"to\":\"f32\",\"allow_lossy\":false}");
    comes_back("convert", "{\"to\":\"mxfp8\",\"scope\":\"stored\",\"allow_lossy\":true}");
    comes_back("convert", "{\"to\":\"Q4_0\",\"scope\":\"experts\",\"allow_lossy\":false}");
    comes_back("convert", "{\"to\":\"int4-g32\",\"scope\":\"all-linear\",\"allow_lossy\":false}");
    comes_back("quantize", "{\"type\":\"int4-g32\",\"scope\":\"experts\",\"search\":\"best\","
               "\"positive_scales\":false,\"fallback\":null,\"layout\":\"experts\","
               "\"page\":16384}");
    comes_back("quantize", "{\"type\":\"fp8-block\",\"scope\":\"all-linear\",\"search\":\"compat\","
               "\"positive_scales\":true,\"fallback\":\"bf16\",\"layout\":\"plain\","
               "\"statistics\":\"" HEX "\"}");
    comes_back("quantize", "{\"type\":null,\"scope\":\"experts\",\"search\":\"best\","
               "\"positive_scales\":false,\"fallback\":null,\"rules\":[{\"match\":[\"experts.up & "
               "layer<3\",\"*.gate_proj\"],\"type\":\"int4-g64\",\"search\":\"compat\","
               "\"positive_scales\":true,\"fallback\":\"int4-g32\",\"optional\":true},{\"match\":["
               "\"router\"],\"type\":\"keep\"}],\"layout\":\"plain\"}");
    comes_back("quantize", "{\"type\":\"Q4_K\",\"scope\":\"experts\",\"search\":\"compat\","
               "\"positive_scales\":false,\"fallback\":\"Q8_0\",\"layout\":\"gguf\","
               "\"shard_bytes\":123456789012,\"alignment\":64,\"statistics\":\"" HEX "\"}");
}
END_TEST

START_TEST(an_order_decides_the_plan_alike)
{
    err e = ERR_INIT;
    order o;
    ASSERT_OK(parse("quantize", "{\"type\":\"fp8-block\",\"scope\":\"all-linear\",\"search\":"
                    "\"compat\",\"positive_scales\":true,\"fallback\":\"bf16\",\"layout\":"
                    "\"experts\",\"page\":8192}", &o, &e), e);
    ck_assert(o.quantize && !o.weighted && order_needs_model(&o));
    ck_assert_ptr_eq(o.plan.codec, codec_find("fp8-block"));
    ck_assert_ptr_eq(o.plan.fallback, codec_find("bf16"));
    ck_assert_int_eq(o.plan.scope, SCOPE_ALL_LINEAR);
    ck_assert_int_eq(o.plan.layout, LAYOUT_EXPERTS);
    ck_assert_uint_eq(o.plan.page, 8192);
    ck_assert_int_eq(o.plan.search, SEARCH_COMPAT);
    ck_assert(o.plan.positive_scales);
    ASSERT_OK(parse("convert", "{\"to\":\"safetensors\"}", &o, &e), e);
    ck_assert(!order_needs_model(&o) && !o.plan.codec && o.plan.scope == SCOPE_NONE);
    ASSERT_OK(parse("convert", "{\"to\":\"gguf\"}", &o, &e), e);
    ck_assert(!order_needs_model(&o) && !o.plan.codec && o.plan.scope == SCOPE_NONE);
    ck_assert_int_eq(o.plan.layout, LAYOUT_GGUF);
    ASSERT_OK(parse("convert", "{\"to\":\"f16\",\"allow_lossy\":true}", &o, &e), e);
    ck_assert(order_needs_model(&o) && o.allow_lossy && o.plan.scope == SCOPE_MATRICES);
    ck_assert(!o.plan.exact && !o.plan.lossy);
    ASSERT_OK(parse("convert", "{\"to\":\"mxfp8\",\"scope\":\"stored\",\"allow_lossy\":true}", &o,
                    &e), e);
    ck_assert(o.plan.exact && o.plan.lossy && o.plan.scope == SCOPE_STORED);
    ck_assert_int_eq(o.plan.layout, LAYOUT_PLAIN);
    ASSERT_OK(parse("convert", "{\"to\":\"Q4_0\",\"scope\":\"experts\",\"allow_lossy\":false}", &o,
                    &e), e);
    ck_assert(o.plan.exact && !o.plan.lossy && o.plan.scope == SCOPE_EXPERTS);
    ck_assert_int_eq(o.plan.layout, LAYOUT_GGUF);
}
END_TEST

START_TEST(orders_that_are_none_are_refused)
{
    static const struct {
        const char *command, *text, *words;
    } bad[] = {
        {"verify", "{}", "no command 'verify'"},
        {"convert", "[]", "no object"},
        {"convert", "{}", "'to'"},
        {"convert", "{\"to\":\"ggml\"}", "'to'"},
        {"convert", "{\"to\":\"gguf\",\"allow_lossy\":true}", "does not know"},
        {"convert", "{\"to\":\"BF16\",\"allow_lossy\":true}", "'to'"},
        {"convert", "{\"to\":\"MXFP4A16\",\"scope\":\"stored\",\"allow_lossy\":true}", "'to'"},
        {"convert", "{\"to\":\"fp8-scaled\",\"scope\":\"stored\",\"allow_lossy\":true}", "'to'"},
        {"convert", "{\"to\":\"mxfp8\",\"allow_lossy\":true}", "'scope'"},
        {"convert", "{\"to\":\"mxfp8\",\"scope\":\"all\",\"allow_lossy\":true}", "'scope'"},
        {"convert", "{\"to\":\"mxfp8\",\"scope\":\"stored\"}", "'allow_lossy'"},
        {"convert", "{\"to\":\"experts\"}", "'page'"},
        {"convert", "{\"to\":\"experts\",\"page\":-1}", "'page'"},
        {"convert", "{\"to\":\"experts\",\"page\":\"16\"}", "'page'"},
        {"convert", "{\"to\":\"bf16\"}", "'allow_lossy'"},
        {"convert", "{\"to\":\"safetensors\",\"page\":4096}", "does not know"},
        {"convert", "{\"to\":\"gguf\",\"alignment\":12}", "'alignment'"},
        {"convert", "{\"to\":\"gguf\",\"alignment\":33554432}", "'alignment'"},
        {"convert", "{\"to\":\"safetensors\",\"alignment\":64}", "'alignment'"},
        {"convert", "{\"to\":\"gguf\",\"shard_bytes\":0}", "'shard_bytes'"},
        {"convert", "{\"to\":\"gguf\",\"shard_tensors\":-1}", "'shard_tensors'"},
        {"quantize", "{\"type\":\"Q4_K\",\"scope\":\"experts\",\"search\":\"best\","
         "\"positive_scales\":false,\"fallback\":null,\"layout\":\"plain\"}",
         "Q4_K (--type) is a type of GGUF files, --layout plain writes safetensors"},
        {"quantize", "{\"type\":\"int4-g32\"}", "'scope'"},
        {"quantize", "{\"type\":\"bf16\",\"scope\":\"experts\",\"search\":\"best\","
         "\"positive_scales\":false,\"fallback\":null,\"layout\":\"plain\"}", "'type'"},
        {"quantize", "{\"type\":\"int4-g32\",\"scope\":\"experts\",\"search\":\"best\","
         "\"positive_scales\":false,\"layout\":\"plain\"}", "'fallback'"},
        {"quantize", "{\"type\":\"int4-g32\",\"scope\":\"experts\",\"search\":\"best\","
         "\"positive_scales\":0,\"fallback\":null,\"layout\":\"plain\"}", "'positive_scales'"},
        {"quantize", "{\"type\":\"int4-g32\",\"scope\":\"experts\",\"search\":\"best\","
         "\"positive_scales\":false,\"fallback\":null,\"layout\":\"plain\",\"statistics\":\"12\"}",
         "'statistics'"},
        {"quantize", "{\"type\":\"int4-g32\",\"scope\":\"experts\",\"search\":\"best\","
         "\"positive_scales\":false,\"fallback\":null,\"layout\":\"plain\",\"more\":1}",
         "does not know"},
        {"quantize", "{\"type\":null,\"scope\":\"experts\",\"search\":\"best\","
         "\"positive_scales\":false,\"fallback\":null,\"layout\":\"plain\"}", "'type'"},
        {"quantize", "{\"type\":null,\"scope\":\"experts\",\"search\":\"best\","
         "\"positive_scales\":false,\"fallback\":null,\"rules\":[{\"match\":\"layer<\",\"type\":"
         "\"keep\"}],\"layout\":\"plain\"}", "rule 1: pattern 'layer<'"},
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        order o;
        ASSERT_REFUSED(parse(bad[i].command, bad[i].text, &o, &refused), bad[i].words);
        order_free(&o);
    }
}
END_TEST

// What types go into, and what cannot stand together.
START_TEST(the_layout_follows_from_the_types)
{
    static const plan_layout plain = LAYOUT_PLAIN, gguf = LAYOUT_GGUF, experts = LAYOUT_EXPERTS;
    static const struct {
        const char *type, *fallback, *rule;
        const plan_layout *asked;
        int layout;        // -1: refused
        const char *words;
    } cases[] = {
        {"int4-g32", NULL, NULL, NULL, LAYOUT_EXPERTS, NULL},
        {"int4-g32", "bf16", NULL, &plain, LAYOUT_PLAIN, NULL},
        {"Q4_K", "bf16", "attention=f32", NULL, LAYOUT_GGUF, NULL},
        {"Q4_K", "Q8_0", "attention=keep", &gguf, LAYOUT_GGUF, NULL},
        {NULL, NULL, "attention=Q8_0", NULL, LAYOUT_GGUF, NULL},
        {NULL, NULL, "attention=f16", NULL, LAYOUT_EXPERTS, NULL},
        {NULL, NULL, "attention=f16", &gguf, LAYOUT_GGUF, NULL},
        {"mxfp4-blocks", NULL, NULL, NULL, LAYOUT_PLAIN, NULL},
        {NULL, NULL, "experts=mxfp4-blocks", NULL, LAYOUT_PLAIN, NULL},
        {"mxfp4-blocks", NULL, NULL, &experts, -1,
         "mxfp4-blocks (--type) puts all experts of a layer into one tensor, an expert pack has "
         "them one by one: --layout plain"},
        {NULL, NULL, "experts=mxfp4-blocks", &experts, -1,
         "mxfp4-blocks (--tensor-type experts=mxfp4-blocks) puts all experts"},
        {"Q4_K", "int4-g32", NULL, NULL, -1,
         "Q4_K (--type) is a type of GGUF files, int4-g32 (--fallback) one of safetensors: one "
         "output cannot hold both"},
        {"fp8-block", NULL, "attention=Q6_K", NULL, -1,
         "Q6_K (--tensor-type attention=Q6_K) is a type of GGUF files, fp8-block (--type) one"},
        {"Q4_K", NULL, NULL, &plain, -1, "--layout plain writes safetensors"},
        {"mxfp8", NULL, NULL, &gguf, -1,
         "mxfp8 (--type) is a type of safetensors, --layout gguf has none for it"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        err e = ERR_INIT;
        plan_options p = PLAN_DEFAULTS;
        recipe rules = {0};
        p.layout = LAYOUT_EXPERTS;
        p.codec = cases[i].type ? codec_find(cases[i].type) : NULL;
        p.fallback = cases[i].fallback ? codec_find(cases[i].fallback) : NULL;
        if (cases[i].rule)
            ASSERT_OK(recipe_add_option(&rules, cases[i].rule, &e), e);
        if (cases[i].layout < 0) {
            ASSERT_FAILS(order_set_layout(&p, &rules, cases[i].asked, &refused), ERR_USAGE,
                         cases[i].words);
        } else {
            ASSERT_OK(order_set_layout(&p, &rules, cases[i].asked, &e), e);
            ck_assert_int_eq(p.layout, cases[i].layout);
        }
        recipe_free(&rules);
    }
    plan_options p = PLAN_DEFAULTS;
    ASSERT_FAILS(order_set_alignment(&p, 64, &refused), ERR_USAGE,
                 "--gguf-alignment is for GGUF outputs only");
}
END_TEST

Suite *suite_order(void)
{
    Suite *s = suite_create("order");
    TCase *c = tcase_create("order");
    tcase_add_test(c, orders_come_back_as_they_were_written);
    tcase_add_test(c, an_order_decides_the_plan_alike);
    tcase_add_test(c, orders_that_are_none_are_refused);
    tcase_add_test(c, the_layout_follows_from_the_types);
    suite_add_tcase(s, c);
    return s;
}
