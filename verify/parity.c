// SPDX-License-Identifier: Apache-2.0
#include "verify/parity.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/reduce.h"
#include "verify/experts_apart.h"
#include "verify/steps.h"

// ---- structure -------------------------------------------------------------------------------

// The facts that decide what the forward pass computes, in the order of arch.
static bool same_arch(const arch *a, const arch *b, err *e)
{
#define SAME(field, format)                                                                  \
    if (a->field != b->field)                                                                \
        return err_set(e, ERR_INPUT, "the two are not of one shape: " #field " is " format   \
                       " in the reference, " format " in the candidate", a->field, b->field)
#define SAME_INT(field)                                                                      \
    if (a->field != b->field)                                                                \
        return err_set(e, ERR_INPUT, "the two are not of one shape: " #field                 \
                       " is %lld in the reference, %lld in the candidate",                   \
                       (long long)a->field, (long long)b->field)
    if (strcmp(a->family, b->family) != 0)
        return err_set(e, ERR_INPUT, "the reference is a %s, the candidate a %s", a->family,
                       b->family);
    SAME_INT(hidden);
    SAME_INT(n_layers);
    SAME_INT(vocab);
    SAME_INT(n_heads);
    SAME_INT(n_kv_heads);
    SAME_INT(head_dim);
    SAME_INT(q_lora);
    SAME_INT(kv_lora);
    SAME_INT(qk_nope);
    SAME_INT(qk_rope);
    SAME_INT(v_dim);
    SAME_INT(dense_inter);
    SAME_INT(moe_inter);
    SAME_INT(shared_inter);
    SAME_INT(n_experts);
    SAME_INT(top_k);
    SAME_INT(n_group);
    SAME_INT(topk_group);
    SAME_INT(renorm);
    SAME(norm_eps, "%g");
    SAME(lora_norm_eps, "%g");
    SAME(rope_theta, "%g");
    SAME_INT(scaling);
    SAME(yarn_factor, "%g");
    SAME(yarn_original, "%g");
    SAME(yarn_beta_fast, "%g");
    SAME(yarn_beta_slow, "%g");
    SAME(yarn_attention_factor, "%g");
    SAME(yarn_mscale, "%g");
    SAME(yarn_mscale_all_dim, "%g");
    SAME(renorm_eps, "%g");
    SAME(route_scale, "%g");
#undef SAME
#undef SAME_INT
    return true;
}

// Tensors that no role uses (MTP layers ...) travel along and should be there, byte for byte.
static bool copied_tensor(const model *ref, const model *cand, int64_t i, findings *f, err *e)
{
    const tensor *t = checkpoint_at(model_checkpoint(ref), i);
    const tensor *other = checkpoint_find(model_checkpoint(cand), t->name);
    const char *rule = model_account(ref, i)->rule;
    xxh128_digest a, b;
    if (!other)
        return finding_add(f, e, FINDING_FATAL, "'%s' (copied by the rule '%s') is missing in the "
                           "candidate", t->name, rule);
    if (other->type != t->type || other->bytes != t->bytes)
        return finding_add(f, e, FINDING_REMARK, "'%s' (copied by the rule '%s') is %s in the "
                           "candidate, %s in the reference", t->name, rule,
                           dtype_name(other->type), dtype_name(t->type));
    if (!checkpoint_tensor_digest(model_checkpoint(ref), t, &a, e) ||
        !checkpoint_tensor_digest(model_checkpoint(cand), other, &b, e))
        return false;
    return memcmp(a.b, b.b, sizeof a.b) == 0 ||
           finding_add(f, e, FINDING_REMARK, "'%s' (copied by the rule '%s') has other bytes in "
                       "the candidate", t->name, rule);
}

// A weight (a bias, say) that takes part in the candidate's forward pass alone.
static bool only_in_candidate(const model *ref, const model *cand, findings *f, err *e)
{
    for (int64_t i = 0; i < checkpoint_count(model_checkpoint(cand)); i++) {
        const tensor_account *a = model_account(cand, i);
        char where[MODEL_WHERE_TEXT];
        if (a->used && a->part == 0 && !model_weight(ref, a->role, a->layer, a->expert) &&
            !finding_add(f, e, FINDING_FATAL, "%s is in the candidate, but not in the reference",
                         role_where(a->role, a->layer, a->expert, where)))
            return false;
    }
    return true;
}

bool parity_structure(const model *ref, const model *cand, findings *f, err *e)
{
    if (!same_arch(model_arch(ref), model_arch(cand), e))
        return false;
    for (int64_t i = 0; i < checkpoint_count(model_checkpoint(ref)); i++) {
        const tensor_account *a = model_account(ref, i);
        char where[MODEL_WHERE_TEXT];
        if (!a->used) {
            if (!copied_tensor(ref, cand, i, f, e))
                return false;
        } else if (a->part == 0 && !model_weight(cand, a->role, a->layer, a->expert)) {
            if (!finding_add(f, e, FINDING_FATAL, "%s is missing in the candidate",
                             role_where(a->role, a->layer, a->expert, where)))
                return false;
        }
    }
    return only_in_candidate(ref, cand, f, e);
}

// ---- weights ---------------------------------------------------------------------------------

enum { BLOCK_VALUES = 1 << 18, WRONG_TEXT = 400 };

typedef struct {
    const model *ref, *cand;
    const parity_options *options;
    weight_parity *list;
    char (*wrong)[WRONG_TEXT]; // a fatal sentence for each weight, or empty
} comparing;

typedef struct {
    float *ref, *cand, *steps;
    scratch a, b, scales;
} room;

static bool room_for(room *r, int64_t rows, int64_t in, err *e)
{
    uint64_t n = (uint64_t)(rows * in);
    r->ref = mem_new_aligned(n, sizeof *r->ref, "rows", e);
    r->cand = mem_new_aligned(n, sizeof *r->cand, "rows", e);
    r->steps = mem_new_aligned(n, sizeof *r->steps, "rows", e);
    return r->ref && r->cand && r->steps;
}

static void room_free(room *r)
{
    free(r->ref);
    free(r->cand);
    free(r->steps);
    scratch_free(&r->a);
    scratch_free(&r->b);
    scratch_free(&r->scales);
}

static void say(char wrong[WRONG_TEXT], const err *e)
{
    if (!wrong[0]) {
        size_t n = strnlen(e->text, WRONG_TEXT - 1);
        memcpy(wrong, e->text, n);
        wrong[n] = 0;
    }
}

// The first value that is not finite: the reference's is an error, the candidate's a finding.
static bool look_finite(const weight *w, bool is_ref, const weight_parity *p, int64_t row,
                        const float *values, int64_t n, char wrong[WRONG_TEXT], err *e)
{
    int64_t at = reduce_first_nonfinite(values, n);
    char where[MODEL_WHERE_TEXT];
    err found = ERR_INIT;
    if (at < 0)
        return true;
    err_set(&found, ERR_INPUT, "%s: the %s has a value that is not finite (%g) in row %lld, column "
            "%lld of '%s'", role_where(p->role, p->layer, p->expert, where),
            is_ref ? "reference" : "candidate", (double)values[at],
            (long long)(row + at / w->in), (long long)(at % w->in), w->module);
    if (is_ref) {
        *e = found;
        return false;
    }
    say(wrong, &found);
    return true;
}

static bool compare_rows(const comparing *c, const weight *a, const weight *b, int64_t i,
                         int64_t rows, room *r, err *e)
{
    weight_parity *p = &c->list[i];
    char where[MODEL_WHERE_TEXT];
    for (int64_t row = 0; row < a->out; row += rows) {
        int64_t n = i64_min(rows, a->out - row), values = n * a->in;
        steps_args with = {b, row, n, r->cand, r->ref};
        int64_t zero_row, zero_col;
        if (!weight_read_rows(a, row, n, r->ref, &r->a, e) ||
            !weight_read_rows(b, row, n, r->cand, &r->b, e) ||
            !look_finite(a, true, p, row, r->ref, values, c->wrong[i], e) ||
            !look_finite(b, false, p, row, r->cand, values, c->wrong[i], e))
            return false;
        if (c->wrong[i][0])
            return true;
        if (!steps_fill(&with, r->steps, &r->scales, &zero_row, &zero_col, e))
            return false;
        if (zero_row >= 0) {
            err found = ERR_INIT;
            err_set(&found, ERR_INPUT, "%s: a scale is zero over values that are not (row %lld, "
                    "columns from %lld of '%s')", role_where(p->role, p->layer, p->expert, where),
                    (long long)zero_row, (long long)zero_col, b->module);
            say(c->wrong[i], &found);
        }
        metrics_add(&p->sums, r->ref, r->cand, r->steps, values);
    }
    return true;
}

static bool compare_weights(void *ctx, int64_t begin, int64_t end, int worker, err *e)
{
    const comparing *c = ctx;
    (void)worker;
    for (int64_t i = begin; i < end; i++) {
        weight_parity *p = &c->list[i];
        const weight *a = model_weight(c->ref, p->role, p->layer, p->expert);
        const weight *b = model_weight(c->cand, p->role, p->layer, p->expert);
        room r = {0};
        if (!event_go_on(c->options->events, e))
            return false;
        if (a->out != b->out || a->in != b->in)
            return err_set(e, ERR_INPUT, "'%s' is %lld x %lld in the reference, %lld x %lld in the "
                           "candidate", a->module, (long long)a->out, (long long)a->in,
                           (long long)b->out, (long long)b->in);
        int64_t rows = i64_max(1, i64_min(a->out, BLOCK_VALUES / i64_max(1, a->in)));
        bool ok = room_for(&r, rows, a->in, e) && compare_rows(c, a, b, i, rows, &r, e);
        room_free(&r);
        if (!ok)
            return false;
    }
    return true;
}

static void list_weight(parity *p, const model *ref, const model *cand, role r, int64_t layer,
                        int64_t expert)
{
    const weight *a = model_weight(ref, r, layer, expert);
    const weight *b = model_weight(cand, r, layer, expert);
    if (a && b)
        p->weight[p->n++] = (weight_parity){.role = r,
                                            .layer = layer,
                                            .expert = expert,
                                            .ref_codec = a->codec,
                                            .cand_codec = b->codec};
}

static bool list_weights(parity *p, const model *ref, const model *cand, err *e)
{
    const checkpoint *c = model_checkpoint(ref);
    p->weight = mem_new((uint64_t)checkpoint_count(c) + 1, sizeof *p->weight, "weights", e);
    if (!p->weight)
        return false;
    for (int64_t i = 0; i < checkpoint_count(c); i++) {
        const tensor_account *a = model_account(ref, i);
        if (a->used && a->part == 0)
            list_weight(p, ref, cand, a->role, a->layer, a->expert);
    }
    // The head of a tied reference has no tensor of its own, but may have one in the candidate.
    if (model_arch(ref)->tied_head && !model_arch(cand)->tied_head)
        list_weight(p, ref, cand, ROLE_HEAD, -1, -1);
    return true;
}

bool parity_weights(parity *out, const model *ref, const model *cand, const parity_options *o,
                    findings *f, err *e)
{
    parity p = {0};
    *out = p;
    bool ok = list_weights(&p, ref, cand, e);
    char(*wrong)[WRONG_TEXT] = ok ? mem_new((uint64_t)p.n, sizeof *wrong, "sentences", e) : NULL;
    comparing c = {ref, cand, o, p.weight, wrong};
    enum { AT_ONCE = 64 };
    for (int64_t i = 0; wrong && ok && i < p.n; i += AT_ONCE) {
        comparing part = c;
        part.list += i;
        part.wrong += i;
        ok = pool_for(o->pool, i64_min(AT_ONCE, p.n - i), 1, compare_weights, &part, e);
        event_progress(o->events, "weight", (uint64_t)i64_min(i + AT_ONCE, p.n), (uint64_t)p.n);
    }
    ok = ok && wrong;
    for (int64_t i = 0; ok && i < p.n; i++)
        if (wrong[i][0])
            ok = finding_add(f, e, FINDING_FATAL, "%s", wrong[i]);
    for (int64_t i = 0; ok && i < p.n; i++)
        if (role_is_expert(p.weight[i].role) && !wrong[i][0])
            ok = experts_apart(ref, cand, &p.weight[i], f, e);
    free(wrong);
    if (!ok) {
        parity_free(&p);
        return false;
    }
    *out = p;
    return true;
}

void parity_free(parity *p)
{
    free(p->weight);
    *p = (parity){0};
}

void parity_of_class(const parity *p, role_class c, matrix_sums *sums, int64_t *n,
                     const weight_parity **worst)
{
    *sums = (matrix_sums){0};
    *n = 0;
    *worst = NULL;
    for (int64_t i = 0; i < p->n; i++) {
        const weight_parity *w = &p->weight[i];
        if (c != CLASS_COUNT && role_class_of(w->role) != c)
            continue;
        ++*n;
        sums->error += w->sums.error;
        sums->ref += w->sums.ref;
        sums->cand += w->sums.cand;
        sums->dot += w->sums.dot;
        sums->n += w->sums.n;
        sums->n_equal += w->sums.n_equal;
        sums->max_abs = fmax(sums->max_abs, w->sums.max_abs);
        sums->max_steps = fmax(sums->max_steps, w->sums.max_steps);
        if (!*worst || metrics_sqnr_db(&w->sums) < metrics_sqnr_db(&(*worst)->sums))
            *worst = w;
    }
}
