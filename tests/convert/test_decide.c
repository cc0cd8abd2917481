// SPDX-License-Identifier: Apache-2.0
// Recipes applied to models: which rule decides, what a rule reaches, what is refused, and the
// table of decisions that an output carries.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/decide.h"
#include "convert/recipe_table.h"
#include "tests/folder.h"
#include "tests/make_case.h"
#include "tests/refused.h"
#include "tests/temp.h"

Suite *suite_decide(void);

static const tiny_shape shape = TINY_SHAPE;
static const tiny_shape dense_first = {"model.", "", false, 0, false};
static const tiny_shape with_bias = {"model.", "", false, -1, true};

static tiny t;
static checkpoint *source;
static model *bound;
static recipe rules;
static plan_options options;
static decision *list;
static plan p;
static strbuf table;

static void set_up(void)
{
    tiny_init(&t);
    source = NULL;
    bound = NULL;
    list = NULL;
    rules = (recipe){0};
    p = (plan){0};
    table = (strbuf){0};
    options = (plan_options)PLAN_DEFAULTS;
    options.rules = &rules;
}

static void tear_down(void)
{
    free(list);
    plan_free(&p);
    strbuf_free(&table);
    recipe_free(&rules);
    model_close(bound);
    checkpoint_close(source);
    tiny_free(&t);
}

static void open_model(const char *config)
{
    err e = ERR_INIT;
    tiny_write(&t, config);
    ASSERT_OK(checkpoint_open(&source, t.dir, NULL, &e), e);
    ASSERT_OK(model_open(&bound, source, NULL, &e), e);
}

static void use_qwen3(void)
{
    tiny_qwen3_moe(&t, &shape);
    open_model(tiny_qwen3_moe_config);
}

static void use_deepseek(void)
{
    tiny_deepseek_v3(&t, &dense_first);
    open_model(tiny_deepseek_v3_config);
}

static void rule(const char *text)
{
    err e = ERR_INIT;
    ASSERT_OK(recipe_add_option(&rules, text, &e), e);
}

// Rules of a file that was never written.
static void rules_of(const char *text)
{
    char whole[800];
    err e = ERR_INIT;
    (void)snprintf(whole, sizeof whole, "{\"schema_version\": 1, \"rules\": [%s]}", text);
    ASSERT_OK(recipe_parse(&rules, whole, strlen(whole), "r.json", &e), e);
}

static void run(void)
{
    err e = ERR_INIT;
    free(list);
    list = NULL;
    ASSERT_OK(decide(&options, source, bound, &list, &e), e);
}

static void is_refused(const char *words)
{
    free(list);
    list = NULL;
    ASSERT_REFUSED(decide(&options, source, bound, &list, &refused), words);
    ck_assert_ptr_null(list);
}

static const decision *of(const char *name)
{
    int64_t i = checkpoint_index_of(source, name);
    ck_assert_msg(i >= 0, "no tensor %s", name);
    return &list[i];
}

// What a tensor becomes ("moved" where nothing), by which rule.
static void becomes(const char *name, const char *type, int64_t by)
{
    const decision *d = of(name);
    ck_assert_msg(strcmp(d->codec ? d->codec->name : "moved", type) == 0, "%s becomes %s", name,
                  d->codec ? d->codec->name : "moved");
    ck_assert_msg(d->rule == by, "%s by rule %lld", name, (long long)d->rule);
}

#define EXPERT(layer, expert, projection) \
    "model.layers." #layer ".mlp.experts." #expert "." #projection "_proj.weight"

// ---- which rule decides ----

START_TEST(the_first_rule_that_fits_decides_and_the_type_comes_last)
{
    use_qwen3();
    rule("experts.down & layer<1=int4-g32");
    rule("experts.down=fp8-channel");
    options.scope = SCOPE_EXPERTS;
    options.codec = codec_find("int4-g64");
    run();
    becomes(EXPERT(0, 1, down), "int4-g32", 0);
    becomes(EXPERT(1, 1, down), "fp8-channel", 1);
    becomes(EXPERT(0, 1, gate), "int4-g64", 2);
    becomes("model.layers.0.self_attn.q_proj.weight", "moved", -1);
    becomes("model.norm.weight", "moved", -1);
}
END_TEST

START_TEST(whole_names_and_patterns_keep_their_order)
{
    use_qwen3();
    rule("model.layers.0.mlp.experts.0.up_proj=bf16");
    rule("*.up_proj=int4-g32");
    rule("*.down_proj=int4-g32");
    rules_of("{\"match\": \"name:model.layers.0.mlp.experts.0.down_proj\", \"type\": \"keep\", "
             "\"optional\": true}");
    run();
    becomes(EXPERT(0, 0, up), "moved", 0); // it is bf16
    becomes(EXPERT(0, 1, up), "int4-g32", 1);
    becomes(EXPERT(0, 0, down), "int4-g32", 2);
}
END_TEST

START_TEST(a_rule_of_several_patterns_takes_what_fits_any)
{
    use_qwen3();
    rules_of("{\"match\": [\"experts.up\", \"attention.q & layer=2\"], \"type\": \"int4-g32\"}");
    run();
    becomes(EXPERT(0, 0, up), "int4-g32", 0);
    becomes("model.layers.2.self_attn.q_proj.weight", "int4-g32", 0);
    becomes("model.layers.1.self_attn.q_proj.weight", "moved", -1);
}
END_TEST

START_TEST(keep_takes_a_weight_out_of_the_scope)
{
    use_qwen3();
    rule("layer=1=keep");
    options.scope = SCOPE_ALL_LINEAR;
    options.codec = codec_find("int4-g32");
    run();
    becomes(EXPERT(1, 0, up), "moved", 0);
    becomes("model.layers.1.input_layernorm.weight", "moved", 0);
    becomes("model.layers.0.self_attn.o_proj.weight", "int4-g32", 1);
}
END_TEST

START_TEST(all_parts_of_a_weight_share_its_decision)
{
    tiny_qwen3_moe(&t, &shape);
    tiny_make_fp8_block(&t, "model.layers.1.self_attn.q_proj");
    char *config = tiny_config_with(tiny_qwen3_moe_config, "quantization_config",
                                    "{\"quant_method\": \"fp8\", \"weight_block_size\": "
                                    "[128, 128]}");
    open_model(config);
    free(config);
    rule("attention.q & layer=1=int4-g32");
    run();
    becomes("model.layers.1.self_attn.q_proj.weight", "int4-g32", 0);
    becomes("model.layers.1.self_attn.q_proj.weight_scale_inv", "int4-g32", 0);
}
END_TEST

START_TEST(search_and_signs_come_from_the_rule_or_from_the_options)
{
    use_qwen3();
    rules_of("{\"match\": \"experts.up\", \"type\": \"int4-g32\", \"search\": \"best\", "
             "\"positive_scales\": false}, {\"match\": \"experts.down\", \"type\": \"int4-g32\"}, "
             "{\"match\": \"experts.gate\", \"type\": \"fp8-channel\"}");
    options.search = SEARCH_COMPAT;
    options.positive_scales = true;
    run();
    ck_assert_int_eq(of(EXPERT(0, 0, up))->search, SEARCH_BEST);
    ck_assert(!of(EXPERT(0, 0, up))->positive_scales);
    ck_assert_int_eq(of(EXPERT(0, 0, down))->search, SEARCH_COMPAT);
    ck_assert(of(EXPERT(0, 0, down))->positive_scales);
    // FP8 scales are not searched: asked for in any way, its bytes and so the plan are the same.
    ck_assert(of(EXPERT(0, 0, gate))->search == SEARCH_BEST);
    ck_assert(!of(EXPERT(0, 0, gate))->positive_scales);
}
END_TEST

START_TEST(a_fall_back_is_the_rules_own_or_the_command_lines)
{
    use_qwen3(); // the experts' down has 32 columns
    rules_of("{\"match\": \"experts.down & layer=0\", \"type\": \"int4-g64\", \"fallback\": "
             "\"fp8-channel\"}, {\"match\": \"experts\", \"type\": \"int4-g64\"}");
    is_refused("rule 2 of 'r.json' (experts): model.layers.1.mlp.experts.0.down_proj: int4-g64 "
               "needs columns that are a multiple of 64, it has 32; --fallback TYPE or a rule's "
               "'fallback' names");
    options.fallback = codec_find("int4-g32");
    run();
    becomes(EXPERT(0, 0, down), "fp8-channel", 0);
    becomes(EXPERT(1, 0, down), "int4-g32", 1);
    becomes(EXPERT(1, 0, up), "int4-g64", 1);
    options.fallback = codec_find("int4-g128");
    is_refused("neither int4-g64 nor the fall-back int4-g128 divides its 32 columns");
}
END_TEST

START_TEST(codes_of_a_word_have_to_divide_the_rows)
{
    use_deepseek(); // kv_a_proj_with_mqa has 20 rows
    rules_of("{\"match\": \"attention\", \"type\": \"int4-gptq-g32\"}");
    is_refused("kv_a_proj_with_mqa: int4-gptq-g32 needs rows that are a multiple of 8, it has 20; "
               "--fallback TYPE");
}
END_TEST

// ---- what a rule reaches ----

START_TEST(loose_patterns_mean_linear_weights_only)
{
    use_deepseek();
    rule("*=fp8-channel");
    run();
    becomes("model.layers.0.self_attn.o_proj.weight", "fp8-channel", 0);
    becomes("model.layers.0.mlp.up_proj.weight", "fp8-channel", 0);
    becomes("model.layers.1.mlp.shared_experts.up_proj.weight", "fp8-channel", 0);
    becomes("model.layers.1.mlp.gate.weight", "moved", -1);
    becomes("model.embed_tokens.weight", "moved", -1);
    becomes("lm_head.weight", "moved", -1);
    becomes("model.norm.weight", "moved", -1);
}
END_TEST

START_TEST(routers_embeddings_and_heads_are_reached_by_name)
{
    use_deepseek();
    rule("router & layer=1=f32");
    rule("model.layers.2.mlp.gate=f32");
    rule("embeddings=fp8-channel");
    rule("lm_head.weight=fp8-channel");
    run();
    becomes("model.layers.1.mlp.gate.weight", "f32", 0);
    becomes("model.layers.1.mlp.gate.e_score_correction_bias", "moved", -1);
    becomes("model.layers.2.mlp.gate.weight", "f32", 1);
    becomes("model.embed_tokens.weight", "fp8-channel", 2);
    becomes("lm_head.weight", "fp8-channel", 3);
}
END_TEST

START_TEST(a_class_does_not_mean_its_biases)
{
    tiny_qwen3_moe(&t, &with_bias);
    char *config = tiny_config_with(tiny_qwen3_moe_config, "attention_bias", "true");
    open_model(config);
    free(config);
    rule("attention=fp8-channel");
    run();
    becomes("model.layers.0.self_attn.q_proj.weight", "fp8-channel", 0);
    becomes("model.layers.0.self_attn.q_proj.bias", "moved", -1);
}
END_TEST

START_TEST(what_cannot_be_coded_is_refused_by_name)
{
    tiny_deepseek_v3(&t, &dense_first);
    tiny_add(&t, "model.layers.3.eh_proj.weight", DT_BF16, 2, 64, 128, NULL);
    char *config = tiny_config_with(tiny_deepseek_v3_config, "num_nextn_predict_layers", "1");
    open_model(config);
    free(config);
    rule("norm.final=bf16");
    is_refused("--tensor-type norm.final=bf16: 'model.norm.weight' is a vector, it can only be "
               "kept");
    recipe_free(&rules);
    rule("model.layers.3.eh_proj.weight=int4-g32");
    is_refused("belongs to no role of the model ('mtp-layer'), it can only be kept");
    recipe_free(&rules);
    rule("model.layers.3.eh_proj.weight=keep");
    run();
    becomes("model.layers.3.eh_proj.weight", "moved", 0);
}
END_TEST

// ---- rules that decide nothing ----

START_TEST(a_rule_that_fits_nothing_is_refused_unless_it_is_optional)
{
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"experts & layer>5=int4-g32", "--tensor-type experts & layer>5=int4-g32 decides nothing: "
                                       "no tensor of this model fits 'experts & layer>5'"},
        {"shared=int4-g32", "no tensor of this model fits 'shared'"},
        {"q_proj=int4-g32", "'q_proj' is no whole name; it stands in "
                            "'model.layers.0.self_attn.q_proj', which *q_proj* would match"},
        {"*.mlp.gate=f32", "'*.mlp.gate' fits no linear weight; what it fits (3, the first is "
                           "'model.layers.0.mlp.gate.weight') has to be named by its role, "
                           "'router'"},
        {"norms=bf16", "what 'norms' fits can only be kept"},
    };
    use_qwen3();
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        recipe_free(&rules);
        rule(cases[i].text);
        is_refused(cases[i].words);
        rules.rule[0].optional = true;
        run();
    }
}
END_TEST

START_TEST(every_pattern_of_a_rule_must_fit_something)
{
    use_qwen3();
    rules_of("{\"match\": [\"experts\", \"shared\"], \"type\": \"int4-g32\"}");
    is_refused("rule 1 of 'r.json' (experts, ...) decides nothing: no tensor of this model fits "
               "'shared'");
}
END_TEST

START_TEST(a_rule_behind_others_that_take_all_is_refused)
{
    use_qwen3();
    rule("experts.up=int4-g32");
    rule("experts=fp8-channel");
    rule("experts.down & layer=1=keep");
    is_refused("--tensor-type experts.down & layer=1=keep decides nothing: earlier rules have "
               "decided all that it fits, 'model.layers.1.mlp.experts.0.down_proj.weight' for one "
               "by --tensor-type experts=fp8-channel");
    recipe_free(&rules);
    rule("model.layers.0.mlp.gate=keep");
    rule("name:model.layers.0.mlp.gate=f32");
    is_refused("'name:model.layers.0.mlp.gate' is named by an earlier rule already");
}
END_TEST

START_TEST(options_may_take_all_that_a_rule_of_the_file_fits)
{
    use_qwen3();
    rule("experts.up=fp8-channel");
    rule("model.layers.0.mlp.experts.0.down_proj=keep");
    rules_of("{\"match\": \"experts.up & layer=1\", \"type\": \"int4-g32\"}, "
             "{\"match\": \"re:up_proj\", \"type\": \"int4-g32\"}, "
             "{\"match\": \"model.layers.0.mlp.experts.0.down_proj\", \"type\": \"int4-g32\"}, "
             "{\"match\": \"model.layers.1.mlp.experts.0.up_proj.weight\", \"type\": "
             "\"int4-g32\"}, {\"match\": \"experts.down\", \"type\": \"int4-g32\"}");
    run();
    becomes(EXPERT(1, 0, up), "fp8-channel", 0);
    becomes(EXPERT(0, 0, down), "moved", 1);
    becomes(EXPERT(0, 1, down), "int4-g32", 6);
    // Between rules of the file it stays an error, and so it does between options.
    rules_of("{\"match\": \"experts.down & layer=2\", \"type\": \"keep\"}");
    is_refused("rule 1 of 'r.json' (experts.down & layer=2) decides nothing");
}
END_TEST

START_TEST(a_regular_expression_without_end_is_refused_with_its_rule)
{
    use_qwen3();
    rule("re:^(.*)*$x=int4-g32");
    is_refused("--tensor-type re:^(.*)*$x=int4-g32: pattern '^(.*)*$x'");
}
END_TEST

// ---- the table ----

static void make_table(void)
{
    err e = ERR_INIT;
    plan_free(&p);
    ASSERT_OK(plan_make(&p, source, bound, &options, &e), e);
    strbuf_clear(&table);
    ASSERT_OK(recipe_table(&p, &table, &e), e);
}

static void says(const char *words)
{
    ck_assert_msg(strstr(table.text, words) != NULL, "no %s in\n%s", words, table.text);
}

START_TEST(the_table_groups_layers_and_experts_that_agree)
{
    use_qwen3();
    rule("experts.up & layer=1 & expert>=2=fp8-channel");
    rule("experts.up & layer=1 & expert=0=keep");
    rule("experts.down & layer<2=int4-g32");
    rule("experts.gate=int4-g64");
    options.scope = SCOPE_EXPERTS;
    options.codec = codec_find("int4-g32");
    options.positive_scales = true;
    make_table();
    says("{\"match\":\"experts.gate\",\"type\":\"int4-g64\",\"search\":\"best\","
         "\"positive_scales\":true}");
    says("\"match\":\"experts.up & layer=0\",\"type\":\"int4-g32\"");
    says("{\"match\":\"experts.up & layer=1 & expert=0\",\"type\":\"keep\"}");
    says("\"match\":\"experts.up & layer=1 & expert=1\",\"type\":\"int4-g32\"");
    says("{\"match\":\"experts.up & layer=1 & expert=2..3\",\"type\":\"fp8-channel\"}");
    says("\"match\":\"experts.up & layer=2\",\"type\":\"int4-g32\"");
    says("\"match\":\"experts.down\",\"type\":\"int4-g32\"");
    says("{\"match\":\"norm.final\",\"type\":\"keep\"}");
}
END_TEST

// A recipe of every kind of rule, its table, and the table's own: plan and table are the same.
START_TEST(the_table_decides_the_same_again)
{
    use_deepseek();
    rules_of("{\"match\": \"re:experts\\\\.[01]\\\\.up\", \"type\": \"int4-g32\"}, "
             "{\"match\": \"experts.down & layer=2 & expert=1..2\", \"type\": \"fp8-channel\"}, "
             "{\"match\": [\"router & layer=2\", \"embedding\"], \"type\": \"f32\"}, "
             "{\"match\": \"*.kv_?_proj*\", \"type\": \"keep\"}, "
             "{\"match\": \"attention\", \"type\": \"int4-g64\", \"fallback\": \"bf16\", "
             "\"search\": \"compat\", \"optional\": true}");
    options.scope = SCOPE_ALL_LINEAR;
    options.codec = codec_find("fp8-channel");
    make_table();
    sha256_digest id = p.id;
    strbuf first = table;
    err e = ERR_INIT;
    table = (strbuf){0};
    recipe_free(&rules);
    ASSERT_OK(recipe_parse(&rules, first.text, first.len, "scruple-recipe.json", &e), e);
    options = (plan_options)PLAN_DEFAULTS;
    options.rules = &rules;
    make_table();
    ck_assert_str_eq(table.text, first.text);
    ck_assert_int_eq(memcmp(&id, &p.id, sizeof id), 0);
    strbuf_free(&first);
}
END_TEST

START_TEST(the_plan_tells_search_and_signs_apart)
{
    use_qwen3();
    rule("experts=int4-g32");
    make_table();
    sha256_digest id = p.id;
    options.search = SEARCH_COMPAT;
    make_table();
    ck_assert_int_ne(memcmp(&id, &p.id, sizeof id), 0);
    options.search = SEARCH_BEST;
    options.positive_scales = true;
    make_table();
    ck_assert_int_ne(memcmp(&id, &p.id, sizeof id), 0);
}
END_TEST

// ---- whole runs ----

START_TEST(a_mixed_output_carries_its_table_and_is_made_again_from_it)
{
    static const char mix[] = "{\"schema_version\": 1, \"rules\": [{\"match\": \"experts.down\", "
                              "\"type\": \"int4-g32\", \"positive_scales\": true}, {\"match\": "
                              "\"attention & layer>0\", \"type\": \"fp8-channel\"}]}";
    err e = ERR_INIT;
    char path[320], one[65], other[65];
    make_use_qwen3();
    ASSERT_OK(recipe_parse(&rules, mix, strlen(mix), "mix.json", &e), e);
    the.order.plan.rules = &rules;
    make_quantize("int4-g64", SCOPE_EXPERTS, LAYOUT_EXPERTS);
    make_runs();
    make_sums_are_right(the.out);
    make_file_says(the.out, "scruple.json", "\"scruple-recipe.json\"");
    make_file_says(the.out, RECIPE_TABLE_NAME, "{\"match\":\"experts.down\",\"type\":\"int4-g32\","
                                               "\"search\":\"best\",\"positive_scales\":true}");
    recipe_free(&rules);
    (void)snprintf(path, sizeof path, "%s/%s", the.out, RECIPE_TABLE_NAME);
    ASSERT_OK(recipe_read(&rules, path, &e), e);
    the.order.plan.scope = SCOPE_NONE;
    the.order.plan.codec = NULL;
    the.order.output = the.other;
    make_runs();
    ck_assert_str_eq(folder_digest(the.out, one), folder_digest(the.other, other));
    // The same plan: in the first folder there is nothing to do.
    the.order.output = the.out;
    make_runs();
    ck_assert(the.report.already_complete);
}
END_TEST

// What is said of a plan by these rules; the text lies in `heard`.
static void hear(const char *const *rule_text, size_t n)
{
    recipe_free(&rules);
    for (size_t i = 0; i < n; i++)
        rule(rule_text[i]);
    memset(&heard, 0, sizeof heard);
    make_runs();
}

START_TEST(mixes_that_loaders_do_not_read_are_warned_of)
{
    static const char *const across[] = {"experts & layer=1=fp8-channel", "experts=int4-g32"};
    static const char *const plain[] = {"experts & layer=1=keep", "experts=fp8-channel"};
    static const char *const around[] = {"attention=fp8-channel", "experts=int4-g32"};
    static const char *const router[] = {"router & layer=2=fp8-channel"};
    static const char *const wider[] = {"router=f32", "embedding=f32"};
    make_use_qwen3();
    the.order.plan.rules = &rules;
    the.order.dry_run = true;
    hear(across, COUNT_OF(across));
    ck_assert_ptr_nonnull(strstr(heard.warned, "the routed experts are stored as int4-g32 in layer "
                                               "0 and as fp8-channel in layer 1"));
    hear(plain, COUNT_OF(plain));
    ck_assert_str_eq(heard.warned, "");
    hear(around, COUNT_OF(around));
    ck_assert_str_eq(heard.warned, "");
    hear(router, COUNT_OF(router));
    ck_assert_ptr_nonnull(strstr(heard.warned, "'model.layers.2.mlp.gate' is stored as "
                                               "fp8-channel: few loaders read routers"));
    hear(wider, COUNT_OF(wider));
    ck_assert_str_eq(heard.warned, "");
}
END_TEST

START_TEST(a_table_of_the_source_does_not_travel)
{
    make_use_qwen3();
    temp_write(the.t.dir, RECIPE_TABLE_NAME, "{}", 2);
    make_convert(LAYOUT_EXPERTS);
    make_runs();
    ck_assert(!folder_has(the.out, RECIPE_TABLE_NAME));
}
END_TEST

Suite *suite_decide(void)
{
    Suite *s = suite_create("decide");
    TCase *c = tcase_create("all");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, the_first_rule_that_fits_decides_and_the_type_comes_last);
    tcase_add_test(c, whole_names_and_patterns_keep_their_order);
    tcase_add_test(c, a_rule_of_several_patterns_takes_what_fits_any);
    tcase_add_test(c, keep_takes_a_weight_out_of_the_scope);
    tcase_add_test(c, all_parts_of_a_weight_share_its_decision);
    tcase_add_test(c, search_and_signs_come_from_the_rule_or_from_the_options);
    tcase_add_test(c, a_fall_back_is_the_rules_own_or_the_command_lines);
    tcase_add_test(c, codes_of_a_word_have_to_divide_the_rows);
    tcase_add_test(c, loose_patterns_mean_linear_weights_only);
    tcase_add_test(c, routers_embeddings_and_heads_are_reached_by_name);
    tcase_add_test(c, a_class_does_not_mean_its_biases);
    tcase_add_test(c, what_cannot_be_coded_is_refused_by_name);
    tcase_add_test(c, a_rule_that_fits_nothing_is_refused_unless_it_is_optional);
    tcase_add_test(c, every_pattern_of_a_rule_must_fit_something);
    tcase_add_test(c, a_rule_behind_others_that_take_all_is_refused);
    tcase_add_test(c, options_may_take_all_that_a_rule_of_the_file_fits);
    tcase_add_test(c, a_regular_expression_without_end_is_refused_with_its_rule);
    tcase_add_test(c, the_table_groups_layers_and_experts_that_agree);
    tcase_add_test(c, the_table_decides_the_same_again);
    tcase_add_test(c, the_plan_tells_search_and_signs_apart);
    suite_add_tcase(s, c);
    c = tcase_create("runs");
    tcase_add_checked_fixture(c, make_set_up, make_tear_down);
    tcase_add_test(c, a_mixed_output_carries_its_table_and_is_made_again_from_it);
    tcase_add_test(c, mixes_that_loaders_do_not_read_are_warned_of);
    tcase_add_test(c, a_table_of_the_source_does_not_travel);
    suite_add_tcase(s, c);
    return s;
}
