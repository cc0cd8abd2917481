// SPDX-License-Identifier: Apache-2.0
// An imatrix file of either form.
#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "formats/imatrix.h"
#include "tests/fuzz/fuzz.h"

static void check_entry(const imatrix *m, const imatrix_entry *x, uint64_t size)
{
    err e = ERR_INIT;
    size_t len = strlen(x->name);
    int64_t unseen, part;
    bool none;
    FUZZ_CHECK(len > 0 && len <= IMATRIX_MAX_NAME && utf8_is_valid(x->name, len));
    FUZZ_CHECK(imatrix_find(m, x->name) == x);
    FUZZ_CHECK(x->n > 0 && x->n_counts > 0 && x->n % x->n_counts == 0);
    FUZZ_CHECK(x->at <= size && (uint64_t)x->n * 4 <= size - x->at);
    float *to = mem_new((uint64_t)x->n, sizeof *to, "means", &e);
    FUZZ_CHECK(to);
    FUZZ_OK(imatrix_read(m, x, 0, x->n, to, &unseen, &e), &e);
    FUZZ_CHECK(unseen % (x->n / x->n_counts) == 0);
    for (int64_t i = 0; i < x->n; i++)
        FUZZ_CHECK(to[i] >= 0 && to[i] <= FLT_MAX);
    float last = to[x->n - 1];
    FUZZ_OK(imatrix_read(m, x, x->n - 1, 1, to, &part, &e), &e);
    FUZZ_CHECK(to[0] == last && part <= 1);
    FUZZ_OK(imatrix_unseen(m, x, x->n - 1, &none, &e), &e);
    FUZZ_CHECK(none == (part == 1));
    stats_importance_of_means(to, 1);
    FUZZ_CHECK(to[0] > 0 && to[0] <= FLT_MAX);
    free(to);
}

FUZZ_TARGET(imatrix, 2 << 20)
{
    err e = ERR_INIT;
    imatrix m;
    bool is;
    fuzz_file("x", bytes, n, n);
    FUZZ_OK(imatrix_looks("x", &is, &e), &e);
    if (imatrix_open(&m, "x", &e)) {
        fuzz_accept();
        FUZZ_CHECK(is && m.n > 0);
        for (int64_t i = 0; i < m.n; i++)
            check_entry(&m, &m.entry[i], n);
    } else {
        fuzz_refused(&e);
        FUZZ_CHECK(m.n == 0 && !m.entry);
    }
    imatrix_close(&m);
}
