// SPDX-License-Identifier: Apache-2.0
// A NumPy array. What was read, written again under the same header, is read as the same.
#include <stdlib.h>
#include <string.h>

#include "formats/npy.h"
#include "tests/fuzz/fuzz.h"

static void check(const npy *a, uint64_t data_bytes)
{
    int64_t count = 1;
    FUZZ_CHECK(a->rank >= 0 && a->rank <= NPY_MAX_RANK && a->data);
    for (int i = 0; i < a->rank; i++) {
        FUZZ_CHECK(a->shape[i] >= 0);
        count = a->shape[i] == 0 ? 0 : count;
    }
    for (int i = 0; i < a->rank && count; i++)
        count *= a->shape[i];
    FUZZ_CHECK(a->n == count && (uint64_t)(count * npy_type_bytes(a->type)) == data_bytes);
}

static void check_round_trip(const npy *a, uint64_t data_bytes)
{
    err e = ERR_INIT;
    strbuf text = {0};
    npy again;
    FUZZ_OK(npy_header(&text, a->type, a->rank, a->shape, &e), &e);
    FUZZ_CHECK(text.len % 64 == 0);
    strbuf_add(&text, a->data, data_bytes);
    FUZZ_OK(strbuf_ok(&text, &e) && npy_parse(&again, text.text, text.len, "again", &e), &e);
    FUZZ_CHECK(again.type == a->type && again.rank == a->rank && again.n == a->n);
    FUZZ_CHECK(memcmp(again.shape, a->shape, sizeof a->shape) == 0);
    FUZZ_CHECK(memcmp(again.data, a->data, data_bytes) == 0);
    npy_free(&again);
    strbuf_free(&text);
}

FUZZ_TARGET(npy, 1 << 20)
{
    err e = ERR_INIT, from_file = ERR_INIT;
    npy a, b;
    bool ok = npy_parse(&a, bytes, n, "x.npy", &e);
    fuzz_file("x.npy", bytes, n, n);
    FUZZ_CHECK(npy_read(&b, "x.npy", &from_file) == ok);
    if (!ok) {
        fuzz_refused(&e);
        FUZZ_CHECK(strcmp(e.text, from_file.text) == 0 && !a.data && !a.rank && !b.data);
        return;
    }
    fuzz_accept();
    uint64_t data_bytes = (uint64_t)a.n * (uint64_t)npy_type_bytes(a.type);
    FUZZ_CHECK(data_bytes < n);
    check(&a, data_bytes);
    FUZZ_CHECK(a.n == b.n && memcmp(a.data, b.data, data_bytes) == 0);
    FUZZ_CHECK(memcmp(bytes + n - data_bytes, a.data, data_bytes) == 0);
    check_round_trip(&a, data_bytes);
    npy_free(&a);
    npy_free(&b);
}
