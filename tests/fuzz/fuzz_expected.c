// SPDX-License-Identifier: Apache-2.0
// SHA256SUMS beside a checkpoint of two shards, or a list that the user names (inputs of odd
// length).
#include <string.h>

#include "base/bytes.h"
#include "formats/expected.h"
#include "tests/fuzz/fuzz.h"

static const checkpoint *source(void)
{
    static checkpoint *kept;
    static const char index[] =
        "{\"weight_map\":{\"a\":\"a.safetensors\",\"b\":\"b.safetensors\"}}";
    static const char a[] = "{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}";
    static const char b[] = "{\"b\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}";
    char file[2][8 + sizeof a - 1];
    err e = ERR_INIT;
    if (kept)
        return kept;
    for (int i = 0; i < 2; i++) {
        store_u64(file[i], sizeof a - 1);
        memcpy(file[i] + 8, i ? b : a, sizeof a - 1);
    }
    fuzz_file("m/model.safetensors.index.json", index, sizeof index - 1, sizeof index - 1);
    fuzz_file("m/a.safetensors", file[0], sizeof file[0], sizeof file[0]);
    fuzz_file("m/b.safetensors", file[1], sizeof file[1], sizeof file[1]);
    FUZZ_OK(checkpoint_open(&kept, "m", NULL, &e), &e);
    fuzz_files_clear();
    return kept;
}

static void take_line(void *ctx, const char *line)
{
    ++*(int *)ctx;
    FUZZ_CHECK(*line);
}

static void check(const expected *x, const checkpoint *c, bool named)
{
    err e = ERR_INIT;
    int64_t known = 0;
    FUZZ_CHECK(x->list);
    for (int i = 0; i < checkpoint_n_files(c); i++) {
        sha256_digest d = x->file[i].digest;
        known += x->file[i].by != NULL;
        FUZZ_CHECK(expected_same(x, i, &d) && expected_holds(x, c, i, &d, &e));
        d.b[7] ^= 1;
        FUZZ_CHECK(expected_same(x, i, &d) == !x->file[i].by);
        if (x->file[i].by) {
            FUZZ_CHECK(!expected_holds(x, c, i, &d, &e));
            fuzz_refused(&e);
        }
    }
    FUZZ_CHECK(known == x->n_known && (!named || known == checkpoint_n_files(c)));
    for (uint64_t i = 0; i < x->n_other; i++) {
        FUZZ_CHECK(*x->other[i].name && !strchr(x->other[i].name, '/'));
        for (uint64_t k = 0; k < i; k++)
            FUZZ_CHECK(strcmp(x->other[i].name, x->other[k].name) != 0);
    }
}

FUZZ_TARGET(expected, 1 << 20)
{
    err e = ERR_INIT;
    expected x;
    int warned = 0;
    events v = {.warn = take_line, .ctx = &warned};
    const checkpoint *c = source();
    bool named = n % 2 != 0;
    fuzz_file(named ? "list" : "m/SHA256SUMS", bytes, n, n);
    if (expected_find(&x, c, named ? "list" : NULL, &v, &e)) {
        fuzz_accept();
        check(&x, c, named);
    } else {
        fuzz_refused(&e);
        FUZZ_CHECK(!x.file && !x.other && !x.n_known && !x.n_other);
    }
    expected_free(&x);
}
