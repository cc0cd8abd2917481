// SPDX-License-Identifier: Apache-2.0
// THE family table: what no config.json tells about a model family, as rows. A family is one row:
// how it is recognised, its switches, where its config keeps the sizes, which layers are dense,
// what its tensors are called and shaped like, and which tensors may stay without a role. Adding a
// family is docs/families.md. Holds data only: config.c reads configs by it, model.c binds by it.
#ifndef SCRUPLE_FORMATS_FAMILY_H
#define SCRUPLE_FORMATS_FAMILY_H

#include "formats/model.h"
#include "formats/role.h"

// ---- the config key map: canonical field <- JSON paths ----

// In reading order: CF_ROPE_TYPE decides whether the YaRN fields are read.
typedef enum {
    CF_NONE, // stands for the number 1 in dimensions
    CF_HIDDEN, CF_LAYERS, CF_EXTRA_LAYERS, CF_VOCAB, CF_BOS, CF_TIED, CF_NORM_EPS,
    CF_HEADS, CF_KV_HEADS, CF_HEAD_DIM, CF_BIAS,
    CF_Q_LORA, CF_KV_LORA, CF_QK_NOPE, CF_QK_ROPE, CF_V_DIM, CF_ROPE_INTERLEAVE,
    CF_DELTA_K_HEADS, CF_DELTA_K_DIM, CF_DELTA_V_HEADS, CF_DELTA_V_DIM,
    CF_DENSE_INTER, CF_MOE_INTER, CF_EXPERTS, CF_TOP_K, CF_N_SHARED, CF_SHARED_INTER,
    CF_GROUPS, CF_TOPK_GROUP, CF_RENORM, CF_ROUTE_SCALE,
    CF_THETA, CF_ROPE_TYPE,
    CF_YARN_FACTOR, CF_YARN_ORIGINAL, CF_YARN_BETA_FAST, CF_YARN_BETA_SLOW,
    CF_YARN_MSCALE, CF_YARN_MSCALE_ALL_DIM, CF_YARN_ATTENTION_FACTOR,
    CF_COUNT
} config_field;

typedef enum { KEY_INT, KEY_REAL, KEY_BOOL, KEY_TEXT } key_kind;

typedef enum {
    NEED_REQUIRED, // must be there and not null
    NEED_NULLABLE, // must be there; null means the default
    NEED_DEFAULT,  // absent or null means the default
    NEED_UNREAD    // not read: the default holds, whatever the config says
} key_need;

typedef enum { READ_ALWAYS, READ_GQA, READ_MLA, READ_YARN } key_when;

enum { KEY_MAX_PATHS = 4 };

typedef struct {
    config_field field;
    key_kind kind;
    key_need need;
    key_when when;
    // Dotted, in order; the first that is there counts, and others that are there must agree with
    // it. Looked up in text_config first where the config has one.
    const char *path[KEY_MAX_PATHS + 1];
    double least, most;  // allowed range of KEY_INT and KEY_REAL, both ends included
    double otherwise;    // the default of KEY_INT, KEY_REAL, KEY_BOOL; KEY_TEXT has "default"
    const char *note;    // said after "is missing", or NULL
} config_key;

// A key that must have one value, because this version computes nothing else. Absent or null is
// fine. Exactly one of text, and number for numbers and booleans, applies.
typedef struct {
    const char *path;
    const char *text; // NULL: number counts
    double number;    // true and false count as 1 and 0
} config_fixed;

// ---- the layer plan ----

// Every layer is a mixture unless a rule makes it dense, and has full attention unless a rule makes
// that linear.
typedef enum {
    DENSE_FIRST,  // the first `key` layers
    DENSE_LIST,   // the layers listed in `key`
    DENSE_EVERY,  // layer i where (i + 1) mod `key` is not 0
    LINEAR_EVERY, // the same
    LINEAR_TYPES  // `key` lists all layers, "linear_attention" or "full_attention"
} layer_rule_kind;

typedef struct {
    layer_rule_kind kind;
    const char *key;
    key_need need; // NEED_DEFAULT: absent or null changes nothing
} layer_rule;

// ---- tensors: names and shapes -> roles ----

// An extent as times x (a + b) + heads x size over config fields; CF_NONE leaves a factor or a
// summand out.
typedef enum {
    DIM_ONE, DIM_HIDDEN, DIM_VOCAB,
    DIM_Q, DIM_KV, DIM_HEAD, DIM_HEADS,                            // GQA
    DIM_Q_LORA, DIM_MLA_Q, DIM_KV_LORA, DIM_KV_A, DIM_KV_B, DIM_MLA_O, // MLA
    DIM_GATED_Q, DIM_DELTA_QKV, DIM_DELTA_V, DIM_DELTA_V_HEADS, DIM_DELTA_V_HEAD, // Qwen3.5
    DIM_EXPERTS, DIM_MOE_INTER, DIM_SHARED_INTER, DIM_SHARED_SIZE, DIM_DENSE_INTER,
    DIM_COUNT
} dim;

typedef struct {
    config_field times, a, b, heads, size;
} dim_row;

extern const dim_row dim_table[DIM_COUNT];

typedef enum {
    WHEN_ALWAYS, WHEN_UNTIED, WHEN_BIAS, WHEN_Q_LORA, WHEN_Q_DIRECT,
    WHEN_DENSE,  // in dense layers
    WHEN_MOE,    // in layers with a mixture
    WHEN_SHARED, // in layers with a mixture, where there are shared experts
    WHEN_FULL,   // in layers with full attention
    WHEN_LINEAR  // in layers with linear attention
} role_when;

// Templates: {m} the prefix of the body, {h} that of the head, {n} the layer, {e} the expert. A
// template without {n} is global, one with {e} stands for all experts.
typedef struct {
    role role;
    const char *module;
    const char *suffix; // "weight" looks for codecs (weight.h); anything else is a plain tensor
    int rank;           // 2: [out][in]; 1: a vector of `in`, out is DIM_ONE
    dim out, in;
    role_when when;
} role_row;

typedef struct {
    const role_row *row;
    int n;
} role_set;

// Where a role of the experts is, in checkpoints that hold all experts of a layer in one tensor
// [experts][..]. Its shape and its own name are those of the role's row. Roles that share a tensor
// stand behind each other in `roles`.
typedef struct {
    role role;
    const char *module;  // template without {e}; vectors: the whole name
    int of, index;       // the rows are those of so many weights, of which this is which:
    bool interleaved;    //   rows index, index + of, ... ; else one behind the other
    bool turned;         // plain numbers are stored [in][rows] (codes are not)
} stack_row;

// Wrapping models (vision and text) put the language model under a longer prefix.
typedef struct {
    const char *body, *head;
} name_prefix;

enum { FAMILY_MAX_PREFIXES = 3, FAMILY_MAX_NAMES = 2, FAMILY_MAX_SETS = 8 };

// Tensors that need no role: the first matching rule accounts for them and they are copied. In the
// pattern '*' is any run of bytes, {m} and {h} are as above, {x} is the number of a layer behind
// the model's own (multi-token prediction).
typedef struct {
    const char *name;
    const char *pattern;
    bool tied_only; // holds only where the head is the embedding
} name_rule;

// ---- the row ----

typedef struct {
    const char *architecture[FAMILY_MAX_NAMES + 1]; // architectures[0], looked at first
    const char *model_type[FAMILY_MAX_NAMES + 1];
    arch facts; // its switches, which no config tells; sizes are 0 here
    name_prefix prefix[FAMILY_MAX_PREFIXES + 1]; // the first whose embedding is there
    const config_key *key;   // replace rows of the common map, field by field
    int n_keys;
    const config_fixed *fixed;
    int n_fixed;
    const layer_rule *layers;
    int n_layers;
    role_set roles[FAMILY_MAX_SETS + 1];
    const name_rule *rules;
    int n_rules;
    // Storage of the experts: one tensor an expert and projection as in `roles`, or stacks, in each
    // layer whichever is there.
    const stack_row *stack;
    int n_stacks;
    bool stacked;            // published in stacks: where neither is there, those are missing
} family;

extern const config_key config_common[]; // in order of config_field
extern const int config_n_common;
extern const config_fixed config_common_fixed[];
extern const int config_n_common_fixed;

int family_count(void);
const family *family_at(int i);
// By architecture first, then by model type; either may be NULL. NULL where none fits.
const family *family_find(const char *architecture, const char *model_type);

// Whether a row's template has a layer in it, or stands for something outside of all layers.
bool role_row_in_layers(const role_row *r);
// Where a role of the experts is in stacks; NULL: the family knows none of it.
const stack_row *family_stack(const family *f, role r);
// Expands a template into buf and returns its length. n and e are ignored where not used.
size_t family_name(char *buf, size_t size, const char *module, const name_prefix *p, int64_t n,
                   int64_t e);
// Whether a tensor's name fits a rule's pattern; {x} takes layers [first, first + count).
bool family_rule_fits(const name_rule *r, const name_prefix *p, int64_t first, int64_t count,
                      const char *name);
// The name of the first rule, of every family's and then of the family's own, that accounts for a
// tensor without a role; NULL where there is none.
const char *family_rule(const family *f, const name_prefix *p, const arch *a, const char *name);

#endif
