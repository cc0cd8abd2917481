// SPDX-License-Identifier: Apache-2.0
#include "verify/linear.h"

#include <stdlib.h>

#include "base/gemm.h"
#include "base/reduce.h"

enum { ROWS_OF_A_CHUNK = 8 }; // decode chunks are multiples of it

bool linear_init(linear *l, pool *p, uint64_t budget, err *e)
{
    *l = (linear){.pool = p, .budget = budget};
    l->stored = mem_new((uint64_t)pool_threads(p), sizeof *l->stored, "scratch of workers", e);
    return l->stored != NULL;
}

void linear_free(linear *l)
{
    for (int i = 0; l->stored && i < pool_threads(l->pool); i++)
        scratch_free(&l->stored[i]);
    free(l->stored);
    scratch_free(&l->rows);
    scratch_free(&l->bias);
    scratch_free(&l->held);
    weight_ahead_close(l->ahead);
    free(l->order);
    *l = (linear){0};
}

typedef struct {
    linear *l;
    const weight *w;
    const int32_t *ids;  // NULL: the rows are row, row + 1 ...
    int64_t row;
    float *to;
    const stored_rows *held; // their stored form is in memory; NULL: it is not
} decode_job;

static bool read_finite(const decode_job *j, int64_t row, int64_t n, float *to, int worker, err *e)
{
    const weight *w = j->w;
    if (j->held ? !weight_decode(j->held, j->l->held.bytes, row, n, to, e)
                : !weight_read_rows(w, row, n, to, &j->l->stored[worker], e))
        return false;
    int64_t bad = reduce_first_nonfinite(to, n * w->in);
    if (bad >= 0)
        return err_set(e, ERR_INPUT, "%s: the value in row %lld, column %lld is not finite",
                       w->module, (long long)(row + bad / w->in), (long long)(bad % w->in));
    return true;
}

static bool decode_range(void *ctx, int64_t begin, int64_t end, int worker, err *e)
{
    const decode_job *j = ctx;
    if (!j->ids)
        return read_finite(j, j->row + begin, end - begin, j->to + begin * j->w->in, worker, e);
    for (int64_t t = begin; t < end; t++)
        if (!read_finite(j, j->ids[t], 1, j->to + t * j->w->in, worker, e))
            return false;
    return true;
}

static bool decode(linear *l, decode_job *j, int64_t n, err *e)
{
    int64_t chunk = i64_ceil_div(n, 2 * pool_threads(l->pool));
    chunk = i64_ceil_div(chunk, ROWS_OF_A_CHUNK) * ROWS_OF_A_CHUNK;
    return pool_for(l->pool, n, chunk, decode_range, j, e);
}

bool linear_rows(linear *l, const weight *w, int64_t row, int64_t n, float *to, err *e)
{
    decode_job j = {.l = l, .w = w, .row = row, .to = to};
    return decode(l, &j, n, e);
}

bool linear_gather(linear *l, const weight *w, const int32_t *ids, int64_t n, float *to, err *e)
{
    decode_job j = {.l = l, .w = w, .ids = ids, .to = to};
    return pool_for(l->pool, n, 64, decode_range, &j, e);
}

typedef struct {
    float *y;
    const float *bias;
    int64_t out;
} bias_job;

static bool add_bias(void *ctx, int64_t begin, int64_t end, int worker, err *e)
{
    const bias_job *j = ctx;
    (void)worker;
    (void)e;
    for (int64_t t = begin; t < end; t++)
        for (int64_t o = 0; o < j->out; o++)
            j->y[t * j->out + o] += j->bias[o];
    return true;
}

static int64_t rows_of_a_block(const linear *l, const weight *w)
{
    uint64_t row_bytes = (uint64_t)w->in * sizeof(float);
    int64_t rows = (int64_t)(l->budget / row_bytes);
    int64_t quantum = weight_quantum(w);
    if (rows >= quantum)
        rows -= rows % quantum;
    return i64_min(i64_max(rows, 1), w->out);
}

bool linear_expect(linear *l, const weight *const *w, int64_t n, uint64_t memory, err *e)
{
    uint64_t blocks = 0;
    weight_ahead_close(l->ahead);
    l->ahead = NULL;
    for (int64_t i = 0; i < n; i++) {
        int64_t step = rows_of_a_block(l, w[i]);
        for (int64_t row = 0; row < w[i]->out; row += step) {
            if (!mem_grow((void **)&l->order, &l->order_cap, blocks + 1, sizeof *l->order,
                          "what to read ahead", e))
                return false;
            l->order[blocks++] = (weight_rows){w[i], row, i64_min(step, w[i]->out - row)};
        }
    }
    return blocks == 0 || weight_ahead_open(&l->ahead, l->order, (int64_t)blocks, memory, e);
}

// Rows [row, row + n) of w, decoded, out of what came ahead where it is their turn.
static bool block_of_rows(linear *l, const weight *w, int64_t row, int64_t n, float *to, err *e)
{
    const stored_rows *next = l->ahead ? weight_ahead_next(l->ahead) : NULL;
    decode_job j = {.l = l, .w = w, .row = row, .to = to};
    stored_rows held;
    if (next && next->w == w && next->row == row && next->n == n) {
        held = *next;
        j.held = &held;
        void *bytes = scratch_need(&l->held, held.bytes, 1, "the stored bytes of rows", e);
        if (!bytes || !weight_ahead_take(l->ahead, bytes, e))
            return false;
    } else {
        l->unforeseen++;
    }
    return decode(l, &j, n, e);
}

bool linear_apply(linear *l, const linear_args *a, err *e)
{
    const weight *w = a->w;
    if (a->m == 0)
        return true;
    int64_t step = rows_of_a_block(l, w);
    float *rows = scratch_need(&l->rows, (uint64_t)(step * w->in), sizeof *rows,
                               "decoded rows", e);
    if (!rows)
        return false;
    for (int64_t row = 0; row < w->out; row += step) {
        int64_t n = i64_min(step, w->out - row);
        gemm_args g = {.y = a->y + row, .y_row = w->out, .x = a->x, .x_row = w->in,
                       .w = rows, .w_row = w->in, .w_col = 1, .m = a->m, .n = n, .k = w->in};
        if (!block_of_rows(l, w, row, n, rows, e) || !gemm(&g, l->pool, e))
            return false;
    }
    if (!a->bias)
        return true;
    float *bias = scratch_need(&l->bias, (uint64_t)w->out, sizeof *bias, "bias", e);
    bias_job j = {a->y, bias, w->out};
    return bias && linear_rows(l, a->bias, 0, 1, bias, e) &&
           pool_for(l->pool, a->m, 64, add_bias, &j, e);
}

uint64_t linear_bytes(uint64_t budget, int64_t widest_row, int threads)
{
    // Stored rows are spread over the workers; none is wider than binary32, chunks are rounded up.
    uint64_t row = (uint64_t)widest_row * sizeof(float);
    uint64_t block = budget > row ? budget : row;
    uint64_t rounding = (uint64_t)threads * ROWS_OF_A_CHUNK * row;
    return 2 * block + rounding +
           gemm_scratch_bytes(block / sizeof(float), widest_row, threads);
}

uint64_t linear_ahead_bytes(uint64_t budget, int64_t widest_row, uint64_t memory)
{
    uint64_t row = (uint64_t)widest_row * sizeof(float);
    return memory ? memory + (budget > row ? budget : row) : 0;
}
