// SPDX-License-Identifier: Apache-2.0
// Blocking and packing; the arithmetic is in the kernels (gemm_kernel.h).
//
// Weights are copied into panels of the kernel's width, [k][cols], inputs into strips of its
// height, [k][rows], so that a tile reads both in order whatever the strides were. Up to MAX_TOKENS
// tokens, every worker packs a panel block and uses it at once; beyond, a group of panels is packed
// by all workers together and then shared by all tiles of tokens. Neither changes a bit: each
// output sees its blocks of GEMM_BLOCK inputs in order.
#include "base/gemm.h"

#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/gemm_kernel.h"
#include "base/mem.h"

enum {
    MAX_TOKENS = 240, // a tile of tokens: a multiple of every kernel's rows
    INPUTS = MAX_TOKENS * GEMM_BLOCK, // floats of packed inputs a worker holds: they stay in L2
    PANEL_BLOCK = GEMM_BLOCK * GEMM_MAX_COLS,
    GROUP_INPUTS = 4 * GEMM_BLOCK,       // what shared panels cover at a time: 4 MiB
    GROUP_OUTPUTS = 1024,
    TASKS_A_WORKER = 4,
    LINE = 64 / sizeof(float)
};

typedef struct {
    const gemm_args *a;
    const gemm_kernel *kernel;
    float *own; // [workers][own_floats]: packed inputs, then one panel block
    int64_t own_floats, own_panel;
    float *shared; // [panels][k_end - k_begin][cols]; NULL where workers pack for themselves
    int64_t k_begin, k_end;         // inputs of this round
    int64_t panel_begin, panel_end; // panels of this round
    int64_t tokens;                 // a tile's
    int64_t panels, panel_tasks;    // a task's panels, and how many tasks cover the round's
} job;

// Memory that will be read soon, in runs of about GEMM_BLOCK floats, `row` floats apart.
typedef struct {
    const float *at;
    int64_t row, left;
} runs;

static const float *runs_take(runs *r)
{
    const float *at = r->at;
    r->at += r->row;
    r->left--;
    return at;
}

// to[i * width + r] = from[r * row + i * col] for r < rows, 0 for rows <= r < width.
static void pack(const gemm_kernel *kernel, float *to, int64_t width, const float *from,
                 int64_t rows, int64_t row, int64_t col, int64_t k)
{
    if (col == 1)
        kernel->transpose(to, width, from, rows, row, k);
    else if (row == 1)
        for (int64_t i = 0; i < k; i++)
            memcpy(to + i * width, from + i * col, (size_t)rows * sizeof *to);
    else
        for (int64_t i = 0; i < k; i++)
            for (int64_t r = 0; r < rows; r++)
                to[i * width + r] = from[r * row + i * col];
    if (rows < width)
        for (int64_t i = 0; i < k; i++)
            memset(to + i * width + rows, 0, (size_t)(width - rows) * sizeof *to);
}

static int64_t panel_width(const job *j, int64_t panel)
{
    return i64_min(j->kernel->cols, j->a->n - panel * j->kernel->cols);
}

static void pack_panel(const job *j, float *to, int64_t panel, int64_t begin, int64_t k)
{
    const gemm_args *a = j->a;
    int64_t cols = j->kernel->cols;
    pack(j->kernel, to, cols, a->w + panel * cols * a->w_row + begin * a->w_col,
         panel_width(j, panel), a->w_row, a->w_col, k);
}

// Block [i, i + k) of a shared panel.
static float *shared_block(const job *j, int64_t panel, int64_t i)
{
    int64_t depth = j->k_end - j->k_begin;
    return j->shared + ((panel - j->panel_begin) * depth + i - j->k_begin) * j->kernel->cols;
}

// Where block [i, i + k) of a panel will come from: the shared panels, or rows of w. (Columns of w
// are copied, not transposed: the processor sees by itself what is read next.)
static runs panel_source(const job *j, int64_t panel, int64_t i)
{
    const gemm_args *a = j->a;
    if (j->shared)
        return (runs){shared_block(j, panel, i), GEMM_BLOCK, j->kernel->cols};
    if (a->w_col == 1)
        return (runs){a->w + panel * j->kernel->cols * a->w_row + i, a->w_row,
                      panel_width(j, panel)};
    return (runs){0};
}

// Tokens [t, t + n), inputs [begin, end), block after block, in a block strip after strip: block b
// starts at to + b * GEMM_BLOCK * n, its strip that begins with token s at s * (the block's k).
static void pack_inputs(const job *j, float *to, int64_t t, int64_t n, int64_t begin, int64_t end)
{
    const gemm_args *a = j->a;
    int64_t rows = j->kernel->rows;
    for (int64_t i = begin; i < end; i += GEMM_BLOCK) {
        int64_t k = i64_min(GEMM_BLOCK, end - i);
        for (int64_t s = 0; s < n; s += rows) {
            int64_t r = i64_min(rows, n - s);
            pack(j->kernel, to, r, a->x + (t + s) * a->x_row + i, r, a->x_row, 1, k);
            to += r * k;
        }
    }
}

// What a worker computes in one go: one panel, one block of k inputs, n tokens.
typedef struct {
    float *y;       // of the first token and the panel's first output
    const float *x; // strips
    const float *w; // panel block
    int64_t n, width, k;
    bool first;     // block of the sum: what is in y does not count
} step;

// A tile that sticks out over the right edge of y.
static void edge_tile(const job *j, const step *b, int64_t s, int64_t r, const float *ahead[2])
{
    int64_t cols = j->kernel->cols, y_row = j->a->y_row;
    float *y = b->y + s * y_row;
    size_t bytes = (size_t)b->width * sizeof *y;
    float full[GEMM_MAX_ROWS * GEMM_MAX_COLS] = {0};
    for (int64_t i = 0; i < r && !b->first; i++)
        memcpy(full + i * cols, y + i * y_row, bytes);
    j->kernel->tile[r - 1](full, cols, b->x + s * b->k, b->w, b->k, b->first, ahead);
    for (int64_t i = 0; i < r; i++)
        memcpy(y + i * y_row, full + i * cols, bytes);
}

// Meanwhile the next panel block and the next inputs are asked for: else the first strip of every
// panel waits for memory as long as four strips take to compute. A tile can ask for two runs; where
// strips are too few for the panel, the rest is asked for before.
static void multiply_step(const job *j, const step *b, runs *next_w, runs *next_x)
{
    int64_t rows = j->kernel->rows;
    for (int64_t s = 0; s < b->n; s += rows) {
        int64_t r = i64_min(rows, b->n - s);
        const float *x = b->x + s * b->k, *ahead[2] = {x, x};
        int64_t share = i64_ceil_div(next_w->left, i64_ceil_div(b->n - s, rows));
        for (; share > 2; share--) {
            const float *at = runs_take(next_w);
            for (int64_t i = 0; i < GEMM_BLOCK; i += LINE)
                __builtin_prefetch(at + i, 0, 2);
        }
        for (int i = 0; i < 2; i++)
            if (next_w->left)
                ahead[i] = runs_take(next_w);
            else if (next_x->left)
                ahead[i] = runs_take(next_x);
        if (b->width == j->kernel->cols)
            j->kernel->tile[r - 1](b->y + s * j->a->y_row, j->a->y_row, x, b->w, b->k, b->first,
                                   ahead);
        else
            edge_tile(j, b, s, r, ahead);
    }
}

// One task: a tile of tokens times some panels of the round. As many inputs are packed at a time
// as fit; few tokens walk along the rows of w, many tokens down its columns.
static void multiply(const job *j, int64_t task, int worker)
{
    const gemm_args *a = j->a;
    int64_t t = task / j->panel_tasks * j->tokens, n = i64_min(j->tokens, a->m - t);
    int64_t from = j->panel_begin + task % j->panel_tasks * j->panels;
    int64_t to = i64_min(from + j->panels, j->panel_end);
    float *x = j->own + worker * j->own_floats, *panel = x + j->own_panel;
    int64_t piece = i64_max(1, INPUTS / n / GEMM_BLOCK) * GEMM_BLOCK;

    for (int64_t begin = j->k_begin; begin < j->k_end; begin += piece) {
        int64_t end = i64_min(begin + piece, j->k_end);
        pack_inputs(j, x, t, n, begin, end);
        runs next_x = {a->x + t * a->x_row + end, a->x_row, end < j->k_end ? n : 0};
        for (int64_t p = from; p < to; p++)
            for (int64_t i = begin; i < end; i += GEMM_BLOCK) {
                step b = {a->y + t * a->y_row + p * j->kernel->cols, x + (i - begin) * n, panel, n,
                          panel_width(j, p), i64_min(GEMM_BLOCK, end - i), i == 0};
                runs next_w = {0};
                if (i + GEMM_BLOCK < end)
                    next_w = panel_source(j, p, i + GEMM_BLOCK);
                else if (p + 1 < to)
                    next_w = panel_source(j, p + 1, begin);
                if (j->shared)
                    b.w = shared_block(j, p, i);
                else
                    pack_panel(j, panel, p, i, b.k);
                multiply_step(j, &b, &next_w, &next_x);
            }
    }
}

static bool multiply_tasks(void *ctx, int64_t begin, int64_t end, int worker, err *e)
{
    (void)e;
    for (int64_t task = begin; task < end; task++)
        multiply(ctx, task, worker);
    return true;
}

static bool pack_tasks(void *ctx, int64_t begin, int64_t end, int worker, err *e)
{
    (void)worker;
    (void)e;
    const job *j = ctx;
    for (int64_t p = j->panel_begin + begin; p < j->panel_begin + end; p++)
        pack_panel(j, shared_block(j, p, j->k_begin), p, j->k_begin, j->k_end - j->k_begin);
    return true;
}

// Cuts the round's panels so that there are some tasks for every worker, but no more of them than
// that: each packs its tokens' inputs anew.
static bool multiply_round(job *j, pool *p, err *e)
{
    int64_t tiles = i64_ceil_div(j->a->m, j->tokens), panels = j->panel_end - j->panel_begin;
    int64_t workers = pool_threads(p);
    int64_t want = workers == 1 ? 1 : i64_ceil_div(workers * TASKS_A_WORKER, tiles);
    j->panels = i64_ceil_div(panels, i64_min(want, panels));
    j->panel_tasks = i64_ceil_div(panels, j->panels);
    return pool_for(p, tiles * j->panel_tasks, 1, multiply_tasks, j, e);
}

static bool multiply_shared(job *j, int64_t panels, pool *p, err *e)
{
    int64_t depth = i64_min(j->a->k, GROUP_INPUTS);
    int64_t group = i64_min(panels, GROUP_OUTPUTS / j->kernel->cols);
    j->shared = mem_new_aligned((uint64_t)(group * depth * j->kernel->cols), sizeof *j->shared,
                                "packed weights", e);
    bool ok = j->shared != NULL;
    for (j->k_begin = 0; ok && j->k_begin < j->a->k; j->k_begin = j->k_end) {
        j->k_end = i64_min(j->k_begin + depth, j->a->k);
        for (j->panel_begin = 0; ok && j->panel_begin < panels; j->panel_begin = j->panel_end) {
            j->panel_end = i64_min(j->panel_begin + group, panels);
            ok = pool_for(p, j->panel_end - j->panel_begin, 1, pack_tasks, j, e) &&
                 multiply_round(j, p, e);
        }
    }
    free(j->shared);
    return ok;
}

static const gemm_kernel *kernel_used(void)
{
    switch (cpu_used()) {
#if defined(__x86_64__)
    case CPU_AVX512:
        return &GEMM_AVX512;
    case CPU_AVX2:
        return &GEMM_AVX2;
#endif
#if defined(__aarch64__)
    case CPU_NEON:
        return &GEMM_NEON;
#endif
    default:
        return &GEMM_PLAIN;
    }
}

bool gemm(const gemm_args *a, pool *p, err *e)
{
    if (a->m <= 0 || a->n <= 0)
        return true;
    if (a->k <= 0) {
        for (int64_t t = 0; t < a->m; t++)
            memset(a->y + t * a->y_row, 0, (size_t)a->n * sizeof *a->y);
        return true;
    }
    job j = {.a = a, .kernel = kernel_used()};
    int64_t panels = i64_ceil_div(a->n, j.kernel->cols);
    int64_t tiles = i64_ceil_div(a->m, MAX_TOKENS);
    j.tokens = i64_ceil_div(i64_ceil_div(a->m, tiles), j.kernel->rows) * j.kernel->rows;
    j.own_panel = i64_min(INPUTS, i64_ceil_div(a->k, GEMM_BLOCK) * GEMM_BLOCK * j.tokens);
    j.own_floats = j.own_panel + PANEL_BLOCK;
    j.own = mem_new_aligned((uint64_t)(j.own_floats * pool_threads(p)), sizeof *j.own,
                            "packed matrices", e);
    if (!j.own)
        return false;
    bool ok;
    if (tiles == 1) {
        j.k_end = a->k;
        j.panel_end = panels;
        ok = multiply_round(&j, p, e);
    } else {
        ok = multiply_shared(&j, panels, p, e);
    }
    free(j.own);
    return ok;
}

uint64_t gemm_scratch_bytes(uint64_t elements, int64_t k, int threads)
{
    const uint64_t most = (uint64_t)GROUP_INPUTS * GROUP_OUTPUTS;
    uint64_t own = (uint64_t)threads * (INPUTS + PANEL_BLOCK) * sizeof(float);
    uint64_t edge = GEMM_MAX_COLS * (uint64_t)i64_min(k, GROUP_INPUTS); // of a panel not full
    uint64_t shared = elements < most - edge ? elements + edge : most;
    return own + shared * sizeof(float);
}
