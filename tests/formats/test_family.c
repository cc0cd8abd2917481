// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <string.h>

#include "formats/family.h"

Suite *suite_family(void);

START_TEST(the_common_map_has_every_field_once_and_in_order)
{
    ck_assert_int_eq(config_n_common, CF_COUNT - 1);
    for (int i = 0; i < config_n_common; i++) {
        const config_key *k = &config_common[i];
        ck_assert_int_eq(k->field, i + 1);
        ck_assert_ptr_nonnull(k->path[0]);
        ck_assert_ptr_null(k->path[KEY_MAX_PATHS]);
        ck_assert_double_le(k->least, k->most);
    }
}
END_TEST

START_TEST(every_family_is_found_by_each_of_its_names)
{
    for (int i = 0; i < family_count(); i++) {
        const family *f = family_at(i);
        ck_assert_ptr_nonnull(f->architecture[0]);
        for (const char *const *name = f->architecture; *name; name++)
            ck_assert_ptr_eq(family_find(*name, NULL), f);
        for (const char *const *name = f->model_type; *name; name++)
            ck_assert_ptr_eq(family_find(NULL, *name), f);
        ck_assert_ptr_eq(family_find("Unknown", f->model_type[0]), f);
    }
    ck_assert_ptr_null(family_find("Unknown", "unknown"));
    ck_assert_ptr_null(family_find(NULL, NULL));
}
END_TEST

START_TEST(every_row_can_be_bound)
{
    for (int i = 0; i < family_count(); i++) {
        const family *f = family_at(i);
        ck_assert_int_eq(f->roles[0].row[0].role, ROLE_EMBED); // it finds the prefix
        for (const role_set *set = f->roles; set->row; set++) {
            for (int r = 0; r < set->n; r++) {
                const role_row *row = &set->row[r];
                bool per_layer = strstr(row->module, "{n}") != NULL;
                ck_assert_int_eq(strstr(row->module, "{e}") != NULL, role_is_expert(row->role));
                ck_assert(row->rank == 2 || (row->rank == 1 && row->out == DIM_ONE));
                ck_assert(per_layer || row->when == WHEN_ALWAYS || row->when == WHEN_UNTIED);
                ck_assert_int_lt(row->in, DIM_COUNT);
            }
        }
        for (int k = 0; k < f->n_keys; k++)
            ck_assert_ptr_null(f->key[k].path[KEY_MAX_PATHS]);
    }
}
END_TEST

// Roles that share a stack stand behind each other in the sets, in the order of their rows.
START_TEST(every_stack_holds_roles_of_the_family)
{
    for (int i = 0; i < family_count(); i++) {
        const family *f = family_at(i);
        ck_assert(!f->stacked || f->n_stacks > 0);
        int found = 0;
        const stack_row *before = NULL;
        for (const role_set *set = f->roles; set->row; set++) {
            for (int r = 0; r < set->n; r++) {
                const stack_row *s = family_stack(f, set->row[r].role);
                if (!role_is_expert(set->row[r].role)) {
                    ck_assert_ptr_null(s);
                    continue;
                }
                ck_assert_ptr_nonnull(s);
                ck_assert(strstr(s->module, "{n}") && !strstr(s->module, "{e}"));
                ck_assert(s->of >= 1 && s->of <= 2 && s->index < s->of);
                ck_assert(set->row[r].rank == 2 || !s->turned);
                if (s->index > 0) {
                    ck_assert_ptr_nonnull(before);
                    ck_assert_str_eq(before->module, s->module);
                    ck_assert_int_eq(before->index + 1, s->index);
                }
                before = s;
                found++;
            }
        }
        ck_assert_int_eq(found, f->n_stacks);
    }
}
END_TEST

START_TEST(expands_templates)
{
    const name_prefix p = {"language_model.model.", "language_model."};
    char buf[256];
    size_t len = family_name(buf, sizeof buf, "{m}layers.{n}.mlp.experts.{e}.down_proj", &p, 12, 0);
    ck_assert_str_eq(buf, "language_model.model.layers.12.mlp.experts.0.down_proj");
    ck_assert_uint_eq(len, strlen(buf));
    family_name(buf, sizeof buf, "{h}lm_head", &p, 0, 0);
    ck_assert_str_eq(buf, "language_model.lm_head");
}
END_TEST

static bool fits(const char *pattern, const char *name)
{
    const name_prefix p = {"model.", ""};
    const name_rule r = {"rule", pattern, false};
    return family_rule_fits(&r, &p, 3, 2, name);
}

START_TEST(rules_match_whole_names)
{
    ck_assert(fits("*.rotary_emb.inv_freq", "model.layers.0.self_attn.rotary_emb.inv_freq"));
    ck_assert(fits("*.rotary_emb.inv_freq", "model.rotary_emb.inv_freq"));
    ck_assert(!fits("*.rotary_emb.inv_freq", "model.rotary_emb.inv_freq2"));
    ck_assert(!fits("*.rotary_emb.inv_freq", "rotary_emb.inv_freq"));
    ck_assert(fits("{h}lm_head.*", "lm_head.weight"));
    ck_assert(!fits("{h}lm_head.*", "model.lm_head.weight"));
}
END_TEST

START_TEST(extra_layers_are_those_behind_the_models_own)
{
    const char *pattern = "{m}layers.{x}.*";
    ck_assert(fits(pattern, "model.layers.3.eh_proj.weight"));
    ck_assert(fits(pattern, "model.layers.4.mlp.experts.255.down_proj.weight_scale_inv"));
    ck_assert(!fits(pattern, "model.layers.2.eh_proj.weight"));
    ck_assert(!fits(pattern, "model.layers.5.eh_proj.weight"));
    ck_assert(!fits(pattern, "model.layers.03.eh_proj.weight"));
    ck_assert(!fits(pattern, "model.layers.4294967299.eh_proj.weight"));
    ck_assert(!fits(pattern, "model.layers..eh_proj.weight"));
    ck_assert(!fits(pattern, "layers.3.eh_proj.weight"));
    ck_assert(!fits(pattern, "model.layers.3"));
}
END_TEST

Suite *suite_family(void)
{
    Suite *s = suite_create("family");
    TCase *c = tcase_create("table");
    tcase_add_test(c, the_common_map_has_every_field_once_and_in_order);
    tcase_add_test(c, every_family_is_found_by_each_of_its_names);
    tcase_add_test(c, every_row_can_be_bound);
    tcase_add_test(c, every_stack_holds_roles_of_the_family);
    suite_add_tcase(s, c);
    TCase *n = tcase_create("names");
    tcase_add_test(n, expands_templates);
    tcase_add_test(n, rules_match_whole_names);
    tcase_add_test(n, extra_layers_are_those_behind_the_models_own);
    suite_add_tcase(s, n);
    return s;
}
