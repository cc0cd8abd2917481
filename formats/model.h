// SPDX-License-Identifier: Apache-2.0
// A checkpoint bound to its family: dimensions out of config.json, switches out of the family table
// (family.c: facts are rows, not code), every tensor bound to a role exactly once. A tensor that no
// role and no named rule accounts for, and a role without its tensor, are ERR_INPUT.
#ifndef SCRUPLE_FORMATS_MODEL_H
#define SCRUPLE_FORMATS_MODEL_H

#include "base/event.h"
#include "formats/checkpoint.h"
#include "formats/role.h"
#include "formats/weight.h"

typedef enum { MIXER_GQA, MIXER_MLA } mixer_kind;
typedef enum { FFN_DENSE, FFN_MOE } ffn_kind;
typedef enum { ROPE_HALF, ROPE_PAIR } rope_style;             // (i, i + d/2) or (2i, 2i + 1)
typedef enum { ROPE_PLAIN, ROPE_YARN } rope_scaling;
typedef enum { SCORE_SOFTMAX, SCORE_SIGMOID } score_kind;
typedef enum { GROUP_TOP2_SUM, GROUP_MAX } group_score_kind;

// Everything the forward pass and the planners have to know; nothing else reads config.json.
typedef struct {
    const char *family;          // "deepseek_v3"
    const char *no_forward;      // what its forward pass has that this version does not compute
                                 // (all else works); NULL: it is computed
    bool loads_stacks_only;      // transformers does not make its stacks of single experts
    int64_t hidden, n_layers, vocab;
    int64_t n_heads, n_kv_heads, head_dim;      // GQA
    int64_t q_lora, kv_lora, qk_nope, qk_rope, v_dim; // MLA; q_lora 0: direct q_proj
    int64_t dense_inter, moe_inter, shared_inter; // shared_inter 0: no shared expert
    int64_t n_experts, top_k, n_group, topk_group;
    mixer_kind mixer;
    bool qk_norm;                // per-head RMS norm on q and k before RoPE
    bool attention_bias;         // q, k, v (and o) biases present
    double norm_eps, lora_norm_eps;
    rope_style rope;
    rope_scaling scaling;
    double rope_theta;
    double yarn_factor, yarn_original, yarn_beta_fast, yarn_beta_slow;
    double yarn_mscale, yarn_mscale_all_dim; // 0 where absent
    double yarn_attention_factor;            // 0: derived
    score_kind score;
    group_score_kind group_score;
    bool select_bias;            // e_score_correction_bias takes part in the choice only
    bool renorm;                 // divide the chosen scores by their sum + renorm_eps
    double renorm_eps, route_scale;
    bool tied_head;
    int64_t bos;                 // -1: none
    int64_t n_extra_layers;      // MTP layers behind n_layers: bound to no role, copied
} arch;

typedef struct model model;

// *foreign for a GGUF that names its architecture (its tensors have llama.cpp's names, and what
// config.json would say stands in its key-values) or has no config.json beside it. model_open
// refuses it (ERR_INPUT).
MUST_USE bool model_is_foreign(const checkpoint *c, bool *foreign, err *e);
// Needs config.json in checkpoint_dir. Keys of it that nothing reads are a note (events). The
// checkpoint has to outlive the model.
MUST_USE bool model_open(model **out, const checkpoint *c, const events *events, err *e);
// The same for a checkpoint that is to be compared with `like`: a GGUF without an architecture and
// without config.json beside it is bound by that of `like`, but for what it says of stored types.
MUST_USE bool model_open_like(model **out, const checkpoint *c, const model *like,
                              const events *events, err *e);
void model_close(model *m);

const arch *model_arch(const model *m);
const checkpoint *model_checkpoint(const model *m);
ffn_kind model_ffn(const model *m, int64_t layer);
// The weight of a role; layer -1 for global roles, expert -1 for roles that are no experts. NULL
// where this model has none. A tied head gives the embedding.
const weight *model_weight(const model *m, role r, int64_t layer, int64_t expert);

// Where the family has a role of the experts in stacks of all experts of a layer, whatever this
// checkpoint has; false: nowhere.
enum { MODEL_STACK_NAME = 256 }; // holds any name that a family's template makes
typedef struct {
    char name[MODEL_STACK_NAME]; // "model.layers.3.mlp.experts.down_proj"; of vectors all of it
    int of, index;               // its rows are those of so many roles, of which this is which:
    bool interleaved;            //   one in turns; else one role's behind the other's
} model_stack;
bool model_stack_of(const model *m, role r, int64_t layer, model_stack *out);

// All weights, each once: by layers, in the family's order of roles, by experts.
typedef struct {
    role role;
    int64_t layer, expert; // -1 where it has none
    const weight *weight;
} bound_weight;

int64_t model_n_weights(const model *m);
const bound_weight *model_weight_at(const model *m, int64_t i);

typedef struct {
    bool used;            // bound to a role; otherwise copied by the named rule
    bool stacked;         // weights of several experts are cut from it: what follows is the first
                          // one's, and expert is -1
    role role;
    int64_t layer, expert;
    int part;             // index of the weight's part
    const weight *weight;
    int64_t first, n;     // the weights that it is a part of, as model_weight_at has them
    const char *rule;     // "mtp-layer", "rotary-inv-freq", "tied-head"; NULL where used
} tensor_account;

// One for every tensor of the checkpoint, by its index.
const tensor_account *model_account(const model *m, int64_t tensor_index);

// "layer 3, expert 5, down_proj" (a stack: "layer 3, all experts, down_proj") and, for companions,
// " (weight_scale_inv)"; for tensors without a role "copied by the rule 'mtp-layer'". For
// sentences; returns buf.
enum { MODEL_WHERE_TEXT = 128 };
const char *model_where(const tensor_account *a, char buf[MODEL_WHERE_TEXT]);
// The same place by role, layer and expert (-1 where there is none).
const char *role_where(role r, int64_t layer, int64_t expert, char buf[MODEL_WHERE_TEXT]);

// Parameters (logical elements, scales not counted): the routed experts' and all that are used.
int64_t model_parameters(const model *m, bool experts_only);

#endif
