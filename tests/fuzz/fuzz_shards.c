// SPDX-License-Identifier: Apache-2.0
// model.safetensors.index.json. What it says must be found again by name, and shards that hold
// exactly that must meet it.
#include <string.h>

#include "formats/shards.h"
#include "tests/fuzz/fuzz.h"

static void check_entry(shard_index *x, int64_t i)
{
    err e = ERR_INIT;
    int shard = x->entry[i].shard;
    FUZZ_CHECK(shard >= 0 && shard < x->n_shards && x->entry[i].name < x->texts.len);
    const char *name = x->texts.text + x->entry[i].name;
    if (x->n_shards > 1) {
        FUZZ_CHECK(!shard_index_meets(x, name, shard ? 0 : 1, &e));
        fuzz_refused(&e);
    }
    FUZZ_CHECK(!x->entry[i].seen);
    FUZZ_OK(shard_index_meets(x, name, shard, &e), &e);
    FUZZ_CHECK(x->entry[i].seen);
}

FUZZ_TARGET(shards, 1 << 20)
{
    err e = ERR_INIT;
    shard_index x;
    if (!shard_index_parse(&x, (const char *)bytes, n, &e)) {
        fuzz_refused(&e);
        FUZZ_CHECK(!x.n_shards && !x.n_entries && !x.shard && !x.entry);
        return;
    }
    int64_t expected = 0;
    fuzz_accept();
    FUZZ_CHECK(x.n_entries > 0 && x.n_shards > 0 && x.n_shards <= x.n_entries);
    for (int i = 0; i < x.n_shards; i++) {
        size_t len = strlen(x.shard[i]);
        FUZZ_CHECK(len >= 12 && strcmp(x.shard[i] + len - 12, ".safetensors") == 0);
        FUZZ_CHECK(i == 0 || strcmp(x.shard[i - 1], x.shard[i]) < 0);
        FUZZ_CHECK(shard_index_expects(&x, i) > 0);
        expected += shard_index_expects(&x, i);
    }
    FUZZ_CHECK(expected == x.n_entries);
    FUZZ_CHECK(!shard_index_all_met(&x, &e));
    for (int64_t i = 0; i < x.n_entries; i++)
        check_entry(&x, i);
    FUZZ_OK(shard_index_all_met(&x, &e), &e);
    FUZZ_CHECK(!shard_index_meets(&x, "no such \x01 name", 0, &e));
    fuzz_refused(&e);
    shard_index_free(&x);
}
