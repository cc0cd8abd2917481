// SPDX-License-Identifier: Apache-2.0
// A statistics file: the text of its header, a NUL byte, the data; behind those bytes as many zeros
// as the header's largest number asks for.
#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "formats/stats_file.h"
#include "tests/fuzz/fuzz.h"

enum { LARGEST_DATA = 1 << 14 };

static void check_set(const stats_file *f, int64_t i)
{
    const stats_set *s = &f->set[i], *before = i ? &f->set[i - 1] : NULL;
    FUZZ_CHECK(s->role < ROLE_COUNT && s->layer >= 0);
    FUZZ_CHECK(!before || before->layer < s->layer ||
               (before->layer == s->layer && before->role < s->role));
    FUZZ_CHECK(stats_file_find(f, s->role, s->layer) == &s->sums);
    FUZZ_CHECK(s->sums.n_experts > 0 && s->sums.cols > 0);
    for (int64_t k = 0; k < s->sums.n_experts * s->sums.cols; k++)
        FUZZ_CHECK(s->sums.energy[k] >= 0);
    for (int64_t k = 0; k < s->sums.n_experts; k++)
        FUZZ_CHECK(s->sums.count[k] >= 0 && s->sums.weight_sum[k] >= 0 &&
                   s->sums.weight_sq_sum[k] >= 0);
}

// The importance weights that searches divide by and multiply with.
static void check_importance(const stats *s)
{
    err e = ERR_INIT;
    double *prior = mem_new((uint64_t)s->cols, sizeof *prior, "a prior", &e);
    float *importance = mem_new((uint64_t)s->cols, sizeof *importance, "importance", &e);
    FUZZ_CHECK(prior && importance);
    for (int flat = 0; flat < 2; flat++) {
        stats_prior(s, flat != 0, prior);
        stats_importance(s, 0, prior, importance);
        for (int64_t k = 0; k < s->cols; k++)
            FUZZ_CHECK(importance[k] > 0 && importance[k] <= FLT_MAX);
    }
    free(prior);
    free(importance);
}

static void check_merge(stats_file *f)
{
    err e = ERR_INIT;
    stats_file sum = {0};
    bool ok = stats_file_merge(&sum, f, &e);
    FUZZ_CHECK(ok);
    if (stats_file_merge(&sum, f, &e)) {
        FUZZ_CHECK(sum.n == f->n);
        for (int64_t i = 0; i < sum.n; i++)
            FUZZ_CHECK(sum.set[i].sums.count[0] == 2 * f->set[i].sums.count[0]);
        FUZZ_CHECK(sum.made_from[0] == '[' && sum.made_from[strlen(sum.made_from) - 1] == ']');
    } else {
        fuzz_refused(&e); // a sum too large
    }
    stats_file_free(&sum);
}

static void check_file(stats_file *f)
{
    err e = ERR_INIT;
    stats_coverage *rows;
    int64_t n;
    FUZZ_CHECK(f->made_from);
    for (int64_t i = 0; i < f->n; i++) {
        check_set(f, i);
        check_importance(&f->set[i].sums);
    }
    FUZZ_OK(stats_file_coverage(f, &rows, &n, &e), &e);
    for (int64_t i = 0; i < n; i++)
        FUZZ_CHECK(rows[i].min <= rows[i].median && rows[i].median <= rows[i].max &&
                   rows[i].never_hit >= 0 && rows[i].never_hit <= rows[i].n_experts);
    free(rows);
    check_merge(f);
}

FUZZ_TARGET(stats, 4 << 20)
{
    err e = ERR_INIT;
    stats_file f;
    fuzz_text header = fuzz_cut(&bytes, &n);
    uint64_t data = fuzz_largest_number(header.text, header.len, LARGEST_DATA);
    uint8_t *file = mem_new(8 + header.len + n, 1, "a file", &e);
    FUZZ_CHECK(file);
    store_u64(file, header.len);
    if (header.len)
        memcpy(file + 8, header.text, header.len);
    n = n < data ? n : data;
    if (n)
        memcpy(file + 8 + header.len, bytes, n);
    fuzz_file("x.safetensors", file, 8 + header.len + n, 8 + header.len + data);
    if (stats_file_read(&f, "x.safetensors", NULL, &e)) {
        fuzz_accept();
        check_file(&f);
    } else {
        fuzz_refused(&e);
        FUZZ_CHECK(!f.set && !f.n && !f.made_from);
    }
    stats_file_free(&f);
    free(file);
}
