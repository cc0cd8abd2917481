// SPDX-License-Identifier: Apache-2.0
#include "tests/stack_case.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void qwen3(tiny *to) { tiny_qwen3_moe(to, &(tiny_shape)TINY_SHAPE); }

static void deepseek(tiny *to)
{
    tiny_shape s = TINY_SHAPE;
    s.dense_layer = 0;
    tiny_deepseek_v3(to, &s);
}

const stack_case stack_cases[STACK_CASES] = {
    {tiny_qwen3_moe_config, "model.layers.", ".mlp.experts", qwen3, 0, 2, false, NULL,
     {false, false}},
    {tiny_deepseek_v3_config, "model.layers.", ".mlp.experts", deepseek, 1, 2, false, NULL,
     {false, false}},
    {tiny_llama4_config, "language_model.model.layers.", ".feed_forward.experts", tiny_llama4, 1, 1,
     false, NULL, {false, true}},
    {tiny_gpt_oss_config, "model.layers.", ".mlp.experts", tiny_gpt_oss, 0, 2, true, NULL,
     {true, true}},
    {tiny_gpt_oss_config, "model.layers.", ".mlp.experts", tiny_gpt_oss, 0, 2, true, "mxfp4-blocks",
     {true, false}},
};

static void base_of(const stack_case *k, int layer, char buf[100])
{
    (void)snprintf(buf, 100, "%s%d%s", k->before, layer, k->behind);
}

// In the names of single experts blocks follow a module, [out][in / 2].
static void store_experts(const stack_case *k, tiny *t, int layer)
{
    static const char *const names[] = {"gate_proj", "up_proj", "down_proj"};
    char base[100];
    base_of(k, layer, base);
    for (int i = 0; i < 12; i++) {
        char module[160];
        (void)snprintf(module, sizeof module, "%s.%d.%s", base, i / 3, names[i % 3]);
        tiny_make_stored(t, module, k->stored);
    }
    for (int i = 0; i < t->n; i++) {
        char *end = strstr(t->item[i].name, "_proj_");
        if (!end)
            continue;
        end[5] = '.';
        if (t->item[i].t.rank == 3) {
            t->item[i].t.rank = 2;
            t->item[i].t.shape[1] *= 16;
        }
    }
}

void stack_case_make(const stack_case *k, tiny *t)
{
    k->make(t);
    for (int n = k->first; k->stored && n <= k->last; n++)
        store_experts(k, t, n);
}

// The stacks' blocks are [experts][rows][in / 32][16].
static void split_blocks(tiny *t)
{
    for (int i = 0; i < t->n; i++) {
        tensor *one = &t->item[i].t;
        if (one->rank != 3 || !strstr(t->item[i].name, "_proj_blocks"))
            continue;
        one->shape[one->rank++] = 16;
        one->shape[2] /= 16;
    }
}

void stack_case_layer(const stack_case *k, tiny *t, int layer)
{
    const tiny_stacking plain = {k->how.interleaved, false};
    char base[100];
    base_of(k, layer, base);
    if (k->stored) {
        tiny_stack(t, base, "blocks", &k->how);
        tiny_stack(t, base, "scales", &k->how);
        split_blocks(t);
    } else {
        tiny_stack(t, base, "weight", &k->how);
    }
    if (k->biases)
        tiny_stack(t, base, "bias", &plain);
}

void stack_case_stack(const stack_case *k, tiny *t)
{
    for (int n = k->first; n <= k->last; n++)
        stack_case_layer(k, t, n);
}

char *stack_case_config(const stack_case *k)
{
    return k->stored ? tiny_config_with(k->config, "quantization_config",
                                        "{\"quant_method\": \"mxfp4\"}")
                     : strdup(k->config);
}
