// SPDX-License-Identifier: Apache-2.0
#include "tests/two_sides.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

const char two_sides_int4[] =
    "{\"quant_method\": \"compressed-tensors\", \"config_groups\": {\"group_0\": {\"weights\": "
    "{\"num_bits\": 4, \"type\": \"int\", \"strategy\": \"group\", \"group_size\": 32}}}}";
const char two_sides_fp8[] = "{\"quant_method\": \"fp8\", \"weight_block_size\": [128, 128]}";

static void open_side(opened *o, void (*change)(tiny *m), const char *quantization)
{
    tiny m;
    tiny_shape shape = TINY_SHAPE;
    tiny_init(&m);
    tiny_qwen3_moe(&m, &shape);
    if (change)
        change(&m);
    char *config = tiny_config_with(tiny_qwen3_moe_config, "quantization_config", quantization);
    tiny_write(&m, config);
    free(config);
    open_model(o, m.dir);
    tiny_free(&m); // the files stay readable while they are open
}

void two_sides_open(two_sides *s, void (*change)(tiny *m), const char *quantization)
{
    open_side(&s->ref, NULL, NULL);
    open_side(&s->cand, change, quantization);
}

void two_sides_close(two_sides *s)
{
    close_model(&s->ref);
    close_model(&s->cand);
}

void *tiny_data(tiny *m, const char *name)
{
    for (int i = 0; i < m->n; i++)
        if (strcmp(m->item[i].name, name) == 0)
            return m->item[i].data;
    ck_abort_msg("no tensor '%s'", name);
    return NULL;
}
