// SPDX-License-Identifier: Apache-2.0
// experts.idx. Its digests are put right first, unless the input ends in an odd byte, for no
// mutation would hit them; the shards it names are files of zeros of the sizes it says.
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/mem.h"
#include "formats/pack_index.h"
#include "tests/fuzz/fuzz.h"

enum {
    HEADER = 96, FILE_ROW = 48, SUM_AT = 64, HEADER_SUM_AT = 80,
    MOST_FILES = 4, MOST_LAYERS = 16, MOST_COMPONENTS = 64, MOST_RECORDS = 256,
    LARGEST_START = 1 << 16, LARGEST_SHARD = 1 << 18
};

// The digest of a file's first data_start bytes, which are zeros.
static void header_sum(uint64_t data_start, uint8_t *to)
{
    static uint8_t zeros[LARGEST_START];
    static xxh128_digest kept[LARGEST_START / 4096 + 1];
    static bool have[LARGEST_START / 4096 + 1];
    uint64_t i = data_start / 4096;
    if (data_start > LARGEST_START || data_start % 4096 != 0)
        return;
    if (!have[i])
        xxh128_of(zeros, data_start, &kept[i]);
    have[i] = true;
    memcpy(to, kept[i].b, sizeof kept[i].b);
}

static void mend(uint8_t *x, size_t n)
{
    xxh128_digest sum;
    uint64_t n_files = load_u32(x + 32);
    memcpy(x, "SCRUPLEX", 8);
    store_u32(x + 8, 1);
    store_u32(x + 12, HEADER);
    store_u64(x + 16, n);
    for (uint64_t i = 0; i < n_files && HEADER + (i + 1) * FILE_ROW <= n; i++) {
        uint8_t *row = x + HEADER + i * FILE_ROW;
        header_sum(load_u64(row + 16), row + 24);
    }
    xxh128_of(x + HEADER, n - HEADER, &sum);
    memcpy(x + SUM_AT, sum.b, sizeof sum.b);
    xxh128_of(x, HEADER_SUM_AT, &sum);
    memcpy(x + HEADER_SUM_AT, sum.b, sizeof sum.b);
}

// Where the index says names are: behind its tables.
static void make_shards(const uint8_t *x, size_t n, char name[MOST_FILES][272])
{
    uint64_t n_files = load_u32(x + 32), strings = load_u64(x + 56);
    if (strings > n)
        return;
    for (uint64_t i = 0; i < n_files && i < MOST_FILES && HEADER + (i + 1) * FILE_ROW <= n; i++) {
        const uint8_t *row = x + HEADER + i * FILE_ROW;
        uint64_t at = load_u32(row), len = load_u32(row + 4), size = load_u64(row + 8);
        if (at > strings || len > strings - at || len > 255 || size > LARGEST_SHARD)
            continue;
        memcpy(name[i], "p/", 2);
        memcpy(name[i] + 2, x + n - strings + at, len);
        name[i][2 + len] = 0;
        fuzz_file(name[i], NULL, 0, size);
    }
}

typedef struct {
    pack_index_file file[MOST_FILES];
    pack_index_layer layer[MOST_LAYERS];
    pack_index_component component[MOST_COMPONENTS];
    xxh128_digest digest[MOST_RECORDS];
} copy;

// One layer of an open pack as the writer wants it; checks all that can be asked about it.
static void read_layer(const pack *p, int64_t i, pack_index_layer *to, pack_index_component *c,
                       xxh128_digest *digest)
{
    err e = ERR_INIT;
    const pack_layer *l = pack_layer_at(p, i);
    pack_record r = {0};
    uint64_t inside = 0, first = 0;
    int file = 0;
    for (int64_t x = 0; x < l->n_experts; x++) {
        FUZZ_OK(pack_find(p, l->layer, x, &r, &e), &e);
        FUZZ_CHECK(r.bytes == l->record_bytes);
        first = x ? first : r.offset;
        FUZZ_CHECK(x == 0 || r.file == file);
        file = r.file;
        FUZZ_CHECK(r.offset == first + (uint64_t)x * r.bytes);
        digest[x] = r.digest;
        for (int64_t k = 0; k < l->n_components; k++) {
            pack_component one;
            FUZZ_OK(pack_component_at(p, l->layer, x, k, &one, &e), &e);
            FUZZ_CHECK(one.file == r.file && one.offset + one.bytes >= one.offset);
            FUZZ_CHECK(!one.in_record || (one.offset >= r.offset && one.offset + one.bytes <=
                                                                        r.offset + r.bytes));
            FUZZ_CHECK(one.in_record || one.offset >= first + (uint64_t)l->n_experts * r.bytes);
            inside += x == 0 && one.in_record ? one.bytes : 0;
            if (x == 0)
                c[k] = (pack_index_component){one.projection, one.suffix, one.type, one.rank,
                                              {one.shape[0], one.shape[1]}, one.in_record,
                                              one.offset, 0, one.bytes};
            else
                c[k].stride = x == 1 ? one.offset - c[k].offset : c[k].stride;
        }
    }
    FUZZ_CHECK(inside == l->record_bytes);
    FUZZ_CHECK(!pack_find(p, l->layer, l->n_experts, &r, &e));
    fuzz_refused(&e);
    *to = (pack_index_layer){l->layer, file, l->n_experts, first, l->record_bytes, c,
                             l->n_components, digest};
}

static void read_files(const uint8_t *x, const pack *p, int64_t n, pack_index_file *to)
{
    for (int64_t i = 0; i < n; i++) {
        const uint8_t *row = x + HEADER + i * FILE_ROW;
        to[i] = (pack_index_file){pack_file_name(p, (int)i), load_u64(row + 8),
                                  load_u64(row + 16), {{0}}};
        memcpy(to[i].header.b, row + 24, sizeof to[i].header.b);
    }
}

// What was read, written and read again, is the same: shown by writing it once more.
static void check_round_trip(const uint8_t *x, const pack *p)
{
    static copy a;
    err e = ERR_INIT;
    strbuf text = {0};
    int64_t n_files = load_u32(x + 32), component = 0, record = 0;
    if (n_files > MOST_FILES || pack_n_layers(p) > MOST_LAYERS)
        return;
    read_files(x, p, n_files, a.file);
    for (int64_t i = 0; i < pack_n_layers(p); i++) {
        const pack_layer *l = pack_layer_at(p, i);
        if (l->n_components > MOST_COMPONENTS - component || l->n_experts > MOST_RECORDS - record)
            return;
        read_layer(p, i, &a.layer[i], a.component + component, a.digest + record);
        component += l->n_components;
        record += l->n_experts;
    }
    pack_index again = {pack_page(p), a.file, n_files, a.layer, pack_n_layers(p)};
    FUZZ_OK(pack_index_write(&text, &again, &e), &e);
    fuzz_file("q/experts.idx", text.text, text.len, text.len);
    static char name[MOST_FILES][272];
    for (int64_t i = 0; i < n_files; i++) {
        size_t len = strlen(a.file[i].name);
        memcpy(name[i], "q/", 2);
        memcpy(name[i] + 2, a.file[i].name, len + 1);
        fuzz_file(name[i], NULL, 0, a.file[i].bytes);
    }
    pack *q;
    FUZZ_OK(pack_open(&q, "q", &e), &e);
    FUZZ_CHECK(pack_n_layers(q) == pack_n_layers(p));
    pack_close(q);
    strbuf_free(&text);
}

FUZZ_TARGET(pack, 4 << 20)
{
    char name[MOST_FILES][272];
    err e = ERR_INIT;
    pack *p;
    uint8_t *x = mem_new(n, 1, "an index", &e);
    if (!x)
        return;
    if (n)
        memcpy(x, bytes, n);
    if (n >= HEADER && n % 2 == 0)
        mend(x, n);
    fuzz_file("p/experts.idx", x, n, n);
    if (n >= HEADER)
        make_shards(x, n, name);
    if (pack_open(&p, "p", &e)) {
        fuzz_accept();
        check_round_trip(x, p);
        pack_close(p);
    } else {
        fuzz_refused(&e);
        FUZZ_CHECK(!p);
    }
    free(x);
}
