// SPDX-License-Identifier: Apache-2.0
#include "verify/structure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- config ----------------------------------------------------------------------------------

typedef enum { FIELD_INT, FIELD_REAL, FIELD_BOOL, FIELD_ENUM } field_kind;

typedef struct {
    field_kind kind;
    size_t at;
    const char *name;
} field;

#define FIELD(kind, type, member)                                                          \
    {kind, offsetof(arch, member) + 0 * sizeof(_Generic(((arch *)0)->member, type: 0)), #member}
#define INT(member) FIELD(FIELD_INT, int64_t, member)
#define REAL(member) FIELD(FIELD_REAL, double, member)
#define BOOL(member) FIELD(FIELD_BOOL, bool, member)
#define ENUM(type, member) FIELD(FIELD_ENUM, type, member)

// Without these alike there are no pairs to compare.
static const field dimensions[] = {
    ENUM(mixer_kind, mixer), INT(hidden), INT(n_layers), INT(vocab), INT(n_heads),
    INT(n_kv_heads), INT(head_dim), INT(q_lora), INT(kv_lora), INT(qk_nope), INT(qk_rope),
    INT(v_dim), INT(dense_inter), INT(moe_inter), INT(shared_inter), INT(n_experts), INT(top_k),
};

// With one of these changed the same weights compute something else.
static const field switches[] = {
    INT(n_group), INT(topk_group), BOOL(qk_norm), BOOL(attention_bias), REAL(norm_eps),
    REAL(lora_norm_eps), ENUM(rope_style, rope), ENUM(rope_scaling, scaling), REAL(rope_theta),
    REAL(yarn_factor), REAL(yarn_original), REAL(yarn_beta_fast), REAL(yarn_beta_slow),
    REAL(yarn_mscale), REAL(yarn_mscale_all_dim), REAL(yarn_attention_factor),
    ENUM(score_kind, score), ENUM(group_score_kind, group_score), BOOL(select_bias), BOOL(renorm),
    REAL(renorm_eps), REAL(route_scale),
};

static double value_of(const arch *a, const field *f)
{
    const char *at = (const char *)a + f->at;
    int64_t whole;
    double real;
    bool flag;
    int choice; // enumerations are ints
    switch (f->kind) {
    case FIELD_INT: memcpy(&whole, at, sizeof whole); return (double)whole;
    case FIELD_REAL: memcpy(&real, at, sizeof real); return real;
    case FIELD_BOOL: memcpy(&flag, at, sizeof flag); return flag;
    case FIELD_ENUM: memcpy(&choice, at, sizeof choice); return choice;
    }
    return 0;
}

static bool same_dimensions(const model *ref, const model *cand, err *e)
{
    const arch *a = model_arch(ref), *b = model_arch(cand);
    if (strcmp(a->family, b->family) != 0)
        return err_set(e, ERR_INPUT, "the reference is a %s, the candidate a %s", a->family,
                       b->family);
    for (size_t i = 0; i < COUNT_OF(dimensions); i++) {
        double x = value_of(a, &dimensions[i]), y = value_of(b, &dimensions[i]);
        if (x != y)
            return err_set(e, ERR_INPUT, "the two are not of one shape: %s is %.17g in the "
                           "reference, %.17g in the candidate", dimensions[i].name, x, y);
    }
    return true;
}

static bool same_switches(const arch *a, const arch *b, findings *f, err *e)
{
    for (size_t i = 0; i < COUNT_OF(switches); i++) {
        double x = value_of(a, &switches[i]), y = value_of(b, &switches[i]);
        if (x != y && !finding_add(f, e, FINDING_FATAL, "config.json: %s is %.17g in the "
                                   "reference, %.17g in the candidate", switches[i].name, x, y))
            return false;
    }
    return true;
}

// ---- tensors ---------------------------------------------------------------------------------

enum { NAMED = 20, NAME_BYTES = 1200 }; // a safetensors name has at most 1024

// Every weight of `a` has one in `b`.
static bool counterparts(const model *a, const model *b, const char *sentence, findings *f, err *e)
{
    int64_t n = 0;
    for (int64_t i = 0; i < model_n_weights(a); i++) {
        const bound_weight *t = model_weight_at(a, i);
        char where[MODEL_WHERE_TEXT];
        if (!model_weight(b, t->role, t->layer, t->expert) &&
            n++ < NAMED &&
            !finding_add(f, e, FINDING_FATAL, "%s is %s",
                         role_where(t->role, t->layer, t->expert, where), sentence))
            return false;
    }
    return n <= NAMED || finding_add(f, e, FINDING_FATAL, "and %lld weights more are %s",
                                     (long long)(n - NAMED), sentence);
}

// Is the weight that the tensor is a part of ("model.layers.61.mlp.up_proj.weight") there in other
// codes, or in none? Where its codes are still those of the reference, all that belongs to them has
// to be there.
static bool is_stored_otherwise(const checkpoint *ref, const checkpoint *cand, const char *name)
{
    static const char *const codes[] = {"", "_packed", "_blocks"};
    const char *dot = strrchr(name, '.');
    if (!dot || strncmp(dot, ".weight", 7) != 0)
        return false;
    for (size_t i = 0; i < COUNT_OF(codes); i++) {
        char other[NAME_BYTES];
        int len = snprintf(other, sizeof other, "%.*s.weight%s", (int)(dot - name), name, codes[i]);
        if (len < 0 || (size_t)len >= sizeof other)
            continue;
        const tensor *there = checkpoint_find(cand, other), *here = checkpoint_find(ref, other);
        if (there)
            return !here || here->type != there->type;
    }
    return false;
}

// Tensors that no role uses travel along. Buffers that follow from the config need not.
static bool copied(const model *ref, const model *cand, findings *f, err *e)
{
    const checkpoint *a = model_checkpoint(ref), *b = model_checkpoint(cand);
    int64_t n_otherwise = 0;
    for (int64_t i = 0; i < checkpoint_count(a); i++) {
        const char *name = checkpoint_at(a, i)->name, *rule = model_account(ref, i)->rule;
        if (model_account(ref, i)->used || checkpoint_find(b, name))
            continue;
        bool stored_otherwise = is_stored_otherwise(a, b, name);
        if (stored_otherwise && n_otherwise++ >= NAMED)
            continue;
        bool derived = strcmp(rule, "tied-head") == 0 || strcmp(rule, "rotary-inv-freq") == 0;
        if (!finding_add(f, e, stored_otherwise || derived ? FINDING_REMARK : FINDING_FATAL,
                         "tensor '%s' (copied by the rule '%s') is %s in the candidate", name, rule,
                         stored_otherwise ? "stored otherwise" : "missing"))
            return false;
    }
    return n_otherwise <= NAMED ||
           finding_add(f, e, FINDING_REMARK, "and %lld tensors more are stored otherwise",
                       (long long)(n_otherwise - NAMED));
}

// The digest of a folder's tokenizer.json; *there is false where it has none.
static bool tokenizer_sum(const model *m, bool *there, sha256_digest *sum, err *e)
{
    char *path = path_join(checkpoint_dir(model_checkpoint(m)), "tokenizer.json", e);
    path_kind kind = PATH_NOTHING;
    bool ok = path && path_find(path, &kind, e);
    *there = kind != PATH_NOTHING;
    if (*there)
        ok = sha256_of_file(path, sum, e);
    free(path);
    return ok;
}

// Both sides are run on the reference's ids; a candidate that makes other ids of a text is told.
static bool same_tokenizer(const model *ref, const model *cand, findings *f, err *e)
{
    bool a_there, b_there;
    sha256_digest a, b;
    if (!tokenizer_sum(ref, &a_there, &a, e) || !tokenizer_sum(cand, &b_there, &b, e))
        return false;
    if (!a_there)
        return true;
    if (!b_there)
        return finding_add(f, e, FINDING_REMARK, "the candidate has no tokenizer.json, the "
                           "reference has one");
    return memcmp(a.b, b.b, sizeof a.b) == 0 ||
           finding_add(f, e, FINDING_REMARK, "the candidate's tokenizer.json differs from the "
                       "reference's");
}

bool structure_compare(const model *ref, const model *cand, findings *f, err *e)
{
    return same_dimensions(ref, cand, e) &&
           same_switches(model_arch(ref), model_arch(cand), f, e) &&
           counterparts(ref, cand, "missing in the candidate", f, e) &&
           counterparts(cand, ref, "in the candidate, but not in the reference", f, e) &&
           copied(ref, cand, f, e) && same_tokenizer(ref, cand, f, e);
}
