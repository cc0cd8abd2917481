// SPDX-License-Identifier: Apache-2.0
// Tiny checkpoints made by a test: collect tensors, change what the test is about, write a folder
// with one or two shards and a config.json. Failures end the test.
#ifndef SCRUPLE_TESTS_TINY_MODEL_H
#define SCRUPLE_TESTS_TINY_MODEL_H

#include "base/err.h"
#include "base/str.h"
#include "formats/tensor.h"

enum { TINY_MAX_TENSORS = 256 };

typedef struct {
    char dir[256];
    int n;
    struct {
        char name[160];
        tensor t;
        void *data;  // owned
        int shard;   // 0 or 1
    } item[TINY_MAX_TENSORS];
} tiny;

void tiny_init(tiny *m);
void tiny_free(tiny *m); // removes the folder too
// rank 2: [a][b]; rank 1: [a]; rank 0: a scalar. data NULL: a pattern that differs by name.
void tiny_add(tiny *m, const char *name, dtype type, int rank, int64_t a, int64_t b,
              const void *data);
// Of any rank; data as above.
void tiny_add_shaped(tiny *m, const char *name, dtype type, int rank, const int64_t *shape,
                     const void *data);
void tiny_drop(tiny *m, const char *name);
void tiny_put_in_shard(tiny *m, const char *name, int shard);
// The same weight as int4 in groups of 32: removes "module.weight", adds its three parts.
void tiny_make_int4(tiny *m, const char *module);
// The same as FP8 blocks: weight and weight_scale_inv.
void tiny_make_fp8_block(tiny *m, const char *module);
// Other codes and scales in the parts of any codec, in groups of 32 where those are free.
void tiny_make_stored(tiny *m, const char *module, const char *codec);
void tiny_write(tiny *m, const char *config);

// All tensors of a model with hidden 64, 3 layers, vocab 16, under the prefix given ("model.").
typedef struct {
    const char *body, *head;
    bool tied;
    int dense_layer; // -1: none
    bool bias;
} tiny_shape;

#define TINY_SHAPE {"model.", "", false, -1, false}

// 4 heads of 8 over 2 key heads, 4 experts of 32, dense 96.
void tiny_qwen3_moe(tiny *m, const tiny_shape *s);
extern const char tiny_qwen3_moe_config[];
// 2 heads (nope 8, rope 4, v 8), q rank 32, kv rank 16, 4 experts of 32, one shared, dense 96.
void tiny_deepseek_v3(tiny *m, const tiny_shape *s);
extern const char tiny_deepseek_v3_config[];

// 4 heads of 8 over 2 key heads, 4 experts of 32, biases; experts one by one, to be stacked.
void tiny_gpt_oss(tiny *m);
extern const char tiny_gpt_oss_config[];
// The same without biases, layers 0 and 2 dense (96), one shared expert.
void tiny_llama4(tiny *m);
extern const char tiny_llama4_config[];

typedef struct {
    bool interleaved;  // gate and up in every second row, else one behind the other
    bool turned;       // [experts][in][rows]
} tiny_stacking;

// Puts the tensors BASE.E.gate_proj, up_proj and down_proj of 4 experts (BASE is
// "model.layers.0.mlp.experts") with the suffix "weight", "blocks" or "scales", or "bias", into
// BASE.gate_up_proj and BASE.down_proj, which end with "", "_blocks", "_scales", "_bias".
void tiny_stack(tiny *m, const char *base, const char *suffix, const tiny_stacking *how);

// Replaces the member `key` of a config (value NULL: removes it); free the result.
char *tiny_config_with(const char *config, const char *key, const char *value);

#endif
