// SPDX-License-Identifier: Apache-2.0
#include "verify/parity.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/reduce.h"
#include "verify/copied.h"
#include "verify/experts_apart.h"
#include "verify/pairs.h"
#include "verify/steps.h"

// ---- weights ---------------------------------------------------------------------------------

enum {
    COMFORTABLE_VALUES = 1 << 18, // of a weight at a time, each worker
    VALUE_BYTES = 24,             // three rows of floats, stored bytes of both sides
    NAMED = 20,                   // broken weights that get a sentence of their own
    WRONG_TEXT = 400
};
static const uint64_t AHEAD = 32u << 20; // a worker at most,
static const uint64_t STORED = 96u << 20; //   and of stored rows a side of it

// Stored rows that were read on the spot, [row, end) of a weight.
typedef struct {
    held_weight held;
    int64_t end;
    scratch stored;
} some_rows;

// A worker's own.
typedef struct {
    scratch rows;              // what the three lie in
    float *ref, *cand, *steps;
    some_rows side[2];
} room;

typedef struct {
    const parity_options *options;
    int64_t values;            // at a time
    uint64_t stored;           // bytes of a side's stored rows, where these are small runs
    weight_parity *list;
    char (*wrong)[WRONG_TEXT]; // a fatal sentence for each weight of the list, or empty
    const weight_pair *pair;
    held_weight (*held)[2];    // of each
    room *room;                // [threads]
} comparing;

static bool room_for(room *r, int64_t rows, int64_t in, err *e)
{
    uint64_t n = (uint64_t)(rows * in);
    float *all = scratch_need(&r->rows, 3 * n, sizeof *all, "rows", e);
    r->ref = all;
    r->cand = all ? all + n : NULL;
    r->steps = all ? all + 2 * n : NULL;
    return all != NULL;
}

static void rooms_free(room *r, int n)
{
    for (int i = 0; r && i < n; i++) {
        scratch_free(&r[i].rows);
        for (int k = 0; k < 2; k++)
            scratch_free(&r[i].side[k].stored);
    }
    free(r);
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
    const char *what = values[at] < 0 ? "-inf" : values[at] > 0 ? "inf" : "nan"; // of no sign
    err_set(&found, ERR_INPUT, "%s: the %s has a value that is not finite (%s) in row %lld, column "
            "%lld of '%s'", role_where(p->role, p->layer, p->expert, where),
            is_ref ? "reference" : "candidate", what,
            (long long)(row + at / w->in), (long long)(at % w->in), w->module);
    if (is_ref) {
        *e = found;
        return false;
    }
    say(wrong, &found);
    return true;
}

// How many rows are read together, a multiple of n: of a weight that is stored transposed as many
// as there is room for, since a few of them are a few bytes out of each of its columns.
static int64_t rows_together(const comparing *c, const weight *w, int64_t row, int64_t n)
{
    uint64_t bytes = (uint64_t)(n * w->in * dtype_block_bytes(w->part[0]->type));
    int64_t times = w->view && w->view->transposed && bytes ? (int64_t)(c->stored / bytes) : 1;
    return i64_min(w->out - row, i64_max(times, 1) * n);
}

// Rows of one side of pair i, which may be held; *as is where their stored form is.
static bool read_rows(const comparing *c, int64_t i, int side, int64_t row, int64_t n, room *r,
                      held_weight *as, err *e)
{
    const weight *w = c->pair[i].side[side];
    some_rows *s = &r->side[side];
    *as = c->held[i][side];
    if (!as->bytes && (row == 0 || row >= s->end)) {
        int64_t together = rows_together(c, w, row, n);
        held_weight *x = &s->held;
        if (!weight_lay_out(&x->rows, w, row, together, e) ||
            !(x->bytes = scratch_need(&s->stored, x->rows.bytes, 1, "the stored bytes of rows",
                                      e)) ||
            !weight_fetch(&x->rows, x->bytes, e))
            return false;
        s->end = row + together;
    }
    if (!as->bytes)
        *as = s->held;
    return weight_decode(&as->rows, as->bytes, row, n, side ? r->cand : r->ref, e);
}

static bool compare_rows(const comparing *c, const weight *a, const weight *b, int64_t i,
                         int64_t rows, room *r, err *e)
{
    weight_parity *p = &c->list[i];
    char where[MODEL_WHERE_TEXT];
    for (int64_t row = 0; row < a->out; row += rows) {
        int64_t n = i64_min(rows, a->out - row), values = n * a->in;
        held_weight of_a, of_b;
        int64_t zero_row, zero_col;
        if (!read_rows(c, i, 0, row, n, r, &of_a, e) || !read_rows(c, i, 1, row, n, r, &of_b, e) ||
            !look_finite(a, true, p, row, r->ref, values, c->wrong[i], e) ||
            !look_finite(b, false, p, row, r->cand, values, c->wrong[i], e))
            return false;
        if (c->wrong[i][0])
            break;
        steps_args with = {.w = b, .row = row, .n = n, .values = r->cand, .reference = r->ref,
                           .held = &of_b.rows, .stored = of_b.bytes};
        if (!steps_fill(&with, r->steps, &zero_row, &zero_col, e))
            return false;
        if (zero_row >= 0) {
            err found = ERR_INIT;
            err_set(&found, ERR_INPUT, "%s: a scale is zero over values that are not (row %lld, "
                    "columns from %lld of '%s')", role_where(p->role, p->layer, p->expert, where),
                    (long long)zero_row, (long long)zero_col, b->module);
            say(c->wrong[i], &found);
        }
        // Row by row, so that no bit depends on how many rows are held.
        for (int64_t i0 = 0; i0 < values; i0 += a->in)
            metrics_add(&p->sums, r->ref + i0, r->cand + i0, r->steps + i0, a->in);
    }
    p->broken = c->wrong[i][0] != 0;
    return true;
}

static bool compare_weights(void *ctx, int64_t begin, int64_t end, int worker, err *e)
{
    const comparing *c = ctx;
    room *r = &c->room[worker];
    for (int64_t i = begin; i < end; i++) {
        const weight *a = c->pair[i].side[0], *b = c->pair[i].side[1];
        if (!event_go_on(c->options->events, e))
            return false;
        if (a->out != b->out || a->in != b->in)
            return err_set(e, ERR_INPUT, "'%s' is %lld x %lld in the reference, %lld x %lld in the "
                           "candidate", a->module, (long long)a->out, (long long)a->in,
                           (long long)b->out, (long long)b->in);
        int64_t rows = i64_max(1, i64_min(a->out, c->values / i64_max(1, a->in)));
        if (!room_for(r, rows, a->in, e) || !compare_rows(c, a, b, i, rows, r, e))
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
    int64_t n = model_n_weights(ref);
    p->weight = mem_new((uint64_t)n + 1, sizeof *p->weight, "weights", e);
    if (!p->weight)
        return false;
    for (int64_t i = 0; i < n; i++) {
        const bound_weight *b = model_weight_at(ref, i);
        list_weight(p, ref, cand, b->role, b->layer, b->expert);
    }
    // The head of a tied reference has no tensor of its own, but may have one in the candidate.
    if (model_arch(ref)->tied_head && !model_arch(cand)->tied_head)
        list_weight(p, ref, cand, ROLE_HEAD, -1, -1);
    return true;
}

// How the memory is cut: values a worker may hold at a time, at least the widest row, and of what
// is left half for reading ahead; what then is left is for stored rows that did not come ahead.
static bool plan_memory(const parity *p, const model *ref, comparing *c, uint64_t *ahead, err *e)
{
    const parity_options *o = c->options;
    int64_t widest = 1;
    for (int64_t i = 0; i < p->n; i++)
        widest = i64_max(widest, model_weight(ref, p->weight[i].role, p->weight[i].layer,
                                              p->weight[i].expert)->in);
    uint64_t threads = (uint64_t)pool_threads(o->pool);
    uint64_t list = (uint64_t)p->n * sizeof *p->weight + PAIRS_AT_ONCE * WRONG_TEXT +
                    pairs_bytes(p->n);
    uint64_t rows = threads * (uint64_t)widest * VALUE_BYTES;
    uint64_t least = list + (rows > experts_apart_bytes(ref) ? rows : experts_apart_bytes(ref));
    if (least > o->memory)
        return err_set(e, ERR_ENV, "%llu bytes of memory do not hold what comparing weights takes: "
                       "the smallest ceiling that does is %llu", (unsigned long long)o->memory,
                       (unsigned long long)least);
    *ahead = (o->memory - least) / 2;
    *ahead = *ahead < threads * AHEAD ? *ahead : threads * AHEAD;
    uint64_t fit = (o->memory - list - *ahead) / threads / VALUE_BYTES;
    c->values = fit < COMFORTABLE_VALUES ? (int64_t)fit : COMFORTABLE_VALUES;
    c->stored = (fit - (uint64_t)c->values) * VALUE_BYTES / 3; // two, and some to spare
    c->stored = c->stored < STORED ? c->stored : STORED;
    return true;
}

static bool compare_batches(comparing *c, parity *p, pairs *ahead, int64_t *n_broken, findings *f,
                            err *e)
{
    const parity_options *o = c->options;
    int64_t n;
    bool ok = pairs_next(ahead, &n, e);
    while (ok && n > 0) {
        c->list = p->weight + ahead->first;
        c->pair = ahead->pair + ahead->first;
        c->held = ahead->held;
        memset(c->wrong, 0, PAIRS_AT_ONCE * sizeof *c->wrong);
        ok = pool_for(o->pool, n, 1, compare_weights, c, e);
        for (int64_t k = 0; ok && k < n; k++)
            if (c->wrong[k][0] && (*n_broken)++ < NAMED)
                ok = finding_add(f, e, FINDING_FATAL, "%s", c->wrong[k]);
        event_progress(o->events, "weight", (uint64_t)ahead->at, (uint64_t)p->n);
        ok = ok && pairs_next(ahead, &n, e);
    }
    return ok;
}

static bool compare_all(parity *p, const model *ref, const model *cand, const parity_options *o,
                        findings *f, err *e)
{
    comparing c = {.options = o};
    pairs ahead = {0};
    uint64_t memory = 0;
    int64_t n_broken = 0;
    if (!plan_memory(p, ref, &c, &memory, e))
        return false;
    weight_pair *pair = mem_new((uint64_t)p->n, sizeof *pair, "weights", e);
    c.room = mem_new((uint64_t)pool_threads(o->pool), sizeof *c.room, "rows", e);
    c.wrong = mem_new(PAIRS_AT_ONCE, sizeof *c.wrong, "sentences", e);
    for (int64_t i = 0; pair && i < p->n; i++) {
        const weight_parity *w = &p->weight[i];
        pair[i].side[0] = model_weight(ref, w->role, w->layer, w->expert);
        pair[i].side[1] = model_weight(cand, w->role, w->layer, w->expert);
    }
    bool ok = pair && c.room && c.wrong && pairs_open(&ahead, pair, p->n, memory, e) &&
              compare_batches(&c, p, &ahead, &n_broken, f, e);
    pairs_close(&ahead);
    rooms_free(c.room, pool_threads(o->pool));
    free(pair);
    free(c.wrong);
    return ok && (n_broken <= NAMED ||
                  finding_add(f, e, FINDING_FATAL, "and %lld weights more with values that are not "
                              "finite or scales of zero", (long long)(n_broken - NAMED)));
}

// By layer, role, expert: the same order whatever files the reference lies in.
static int in_order(const void *x, const void *y)
{
    const weight_parity *a = x, *b = y;
    if (a->layer != b->layer)
        return a->layer < b->layer ? -1 : 1;
    if (a->role != b->role)
        return a->role < b->role ? -1 : 1;
    return (a->expert > b->expert) - (a->expert < b->expert);
}

static bool look_for_exchanged(const parity *p, const model *ref, const model *cand, findings *f,
                               err *e)
{
    int64_t said = 0;
    for (int64_t i = 0, n; i < p->n; i += n) {
        const weight_parity *w = &p->weight[i];
        for (n = 1; i + n < p->n && w[n].layer == w->layer && w[n].role == w->role;)
            n++;
        if (role_is_expert(w->role) && role_is_linear(w->role) &&
            !experts_apart(ref, cand, w, n, &said, f, e))
            return false;
    }
    return true;
}

// Tensors that no role uses: the same, or a count and the first that is not.
static bool compare_copied(parity *p, const model *ref, const model *cand, const events *v, err *e)
{
    const checkpoint *a = model_checkpoint(ref), *b = model_checkpoint(cand);
    for (int64_t i = 0; i < checkpoint_count(a); i++) {
        const tensor *t = checkpoint_at(a, i), *other;
        bool same;
        if (model_account(ref, i)->used || !(other = checkpoint_find(b, t->name)))
            continue;
        p->n_copied++;
        if (!copied_same(a, t, b, other, v, &same, e))
            return false;
        if (!same && p->n_copied_unequal++ == 0)
            p->copied_unequal = t->name;
    }
    return true;
}

bool parity_weights(parity *out, const model *ref, const model *cand, const parity_options *o,
                    findings *f, err *e)
{
    parity p = {0};
    *out = p;
    bool ok = list_weights(&p, ref, cand, e) && compare_all(&p, ref, cand, o, f, e);
    if (ok) {
        qsort(p.weight, (size_t)p.n, sizeof *p.weight, in_order);
        ok = look_for_exchanged(&p, ref, cand, f, e) && compare_copied(&p, ref, cand, o->events, e);
    }
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
        if (w->broken) {
            if (!*worst || !(*worst)->broken)
                *worst = w;
            continue;
        }
        sums->error += w->sums.error;
        sums->ref += w->sums.ref;
        sums->cand += w->sums.cand;
        sums->dot += w->sums.dot;
        sums->n += w->sums.n;
        sums->n_equal += w->sums.n_equal;
        sums->max_abs = fmax(sums->max_abs, w->sums.max_abs);
        sums->max_steps = fmax(sums->max_steps, w->sums.max_steps);
        if (!*worst || (!(*worst)->broken &&
                        metrics_sqnr_db(&w->sums) < metrics_sqnr_db(&(*worst)->sums)))
            *worst = w;
    }
}
