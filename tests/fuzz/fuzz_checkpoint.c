// SPDX-License-Identifier: Apache-2.0
// A folder of shards: the index, and the headers of a.safetensors and b.safetensors, separated by
// NUL bytes (an empty text: the file is not there), with as much data as their largest number says.
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "formats/checkpoint.h"
#include "formats/shards.h"
#include "tests/fuzz/fuzz.h"

static void take_line(void *ctx, const char *line)
{
    (void)ctx;
    FUZZ_CHECK(*line);
}

// A shard with that header, or nothing; free it.
static uint8_t *add_shard(const char *path, fuzz_text header)
{
    err e = ERR_INIT;
    uint64_t data = fuzz_largest_number(header.text, header.len, (uint64_t)1 << 50);
    if (header.len == 0)
        return NULL;
    uint8_t *file = mem_new(8 + header.len, 1, "a file", &e);
    FUZZ_CHECK(file);
    store_u64(file, header.len);
    memcpy(file + 8, header.text, header.len);
    fuzz_file(path, file, 8 + header.len, 8 + header.len + data);
    return file;
}

static void check(const checkpoint *c)
{
    int64_t n = 0;
    for (int f = 0; f < checkpoint_n_files(c); f++) {
        int64_t first, own;
        checkpoint_file_tensors(c, f, &first, &own);
        FUZZ_CHECK(first == n);
        n += own;
    }
    FUZZ_CHECK(n == checkpoint_count(c));
    for (int64_t i = 0; i < n; i++) {
        const tensor *t = checkpoint_at(c, i);
        FUZZ_CHECK(checkpoint_index_of(c, t->name) == i && checkpoint_find(c, t->name) == t);
        FUZZ_CHECK(t->file >= 0 && t->file < checkpoint_n_files(c));
        FUZZ_CHECK(t->offset + t->bytes <= checkpoint_file(c, t->file)->size);
    }
    FUZZ_CHECK(!checkpoint_find(c, "") && !checkpoint_find(c, "\x01"));
}

// Listed it is accepted or refused likewise, and the same.
static void check_list(const checkpoint *c, const events *v)
{
    err e = ERR_INIT;
    checkpoint *list;
    bool ok = checkpoint_list(&list, "m", v, &e);
    FUZZ_CHECK(ok == (c != NULL));
    if (!ok)
        return;
    FUZZ_CHECK(checkpoint_count(list) == checkpoint_count(c));
    for (int64_t i = 0; i < checkpoint_count(c); i++) {
        tensor t;
        const tensor *same = checkpoint_at(c, i);
        checkpoint_get(list, i, &t);
        FUZZ_CHECK(strcmp(t.name, same->name) == 0 && t.type == same->type);
        FUZZ_CHECK(t.offset == same->offset && t.bytes == same->bytes && t.file == same->file);
        FUZZ_CHECK(checkpoint_index_of(list, t.name) == i);
    }
    checkpoint_close(list);
}

FUZZ_TARGET(checkpoint, 2 << 20)
{
    err e = ERR_INIT;
    checkpoint *c;
    events v = {.warn = take_line, .note = take_line};
    fuzz_text index = fuzz_cut(&bytes, &n), a = fuzz_cut(&bytes, &n), b = fuzz_cut(&bytes, &n);
    if (index.len)
        fuzz_file("m/" SHARD_INDEX_NAME, index.text, index.len, index.len);
    uint8_t *file_a = add_shard("m/a.safetensors", a), *file_b = add_shard("m/b.safetensors", b);
    if (checkpoint_open(&c, "m", &v, &e)) {
        fuzz_accept();
        check(c);
    } else {
        fuzz_refused(&e);
        FUZZ_CHECK(!c);
    }
    check_list(c, &v);
    checkpoint_close(c);
    free(file_a);
    free(file_b);
}
