// SPDX-License-Identifier: Apache-2.0
// A checkpoint bound to its family: config.json, the header of its one shard, and the shard's data,
// which go on with zeros, separated by NUL bytes. Every tensor is accounted for once, every weight
// can be read.
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "formats/model.h"
#include "tests/fuzz/fuzz.h"

enum { LARGEST_DATA = 1 << 20, LARGEST_ROW = 4096 };

static void read_weight(const weight *w, scratch *s)
{
    static float row[2 * LARGEST_ROW];
    err e = ERR_INIT;
    FUZZ_CHECK(w->codec && w->out > 0 && w->in > 0 && weight_stored_bytes(w) > 0);
    if (w->in > LARGEST_ROW)
        return;
    int64_t n = w->out < 2 ? w->out : 2;
    if (!weight_read_rows(w, w->out - n, n, row, s, &e))
        fuzz_refused(&e); // no scale is zero, say
}

static void check_model(const model *m, const checkpoint *c)
{
    scratch s = {0};
    char where[MODEL_WHERE_TEXT];
    for (int64_t i = 0; i < checkpoint_count(c); i++) {
        const tensor_account *a = model_account(m, i);
        FUZZ_CHECK(a->used == (a->rule == NULL));
        FUZZ_CHECK(strlen(model_where(a, where)) > 0);
        if (!a->used)
            continue;
        FUZZ_CHECK(a->n >= 1 && a->first >= 0 && a->first + a->n <= model_n_weights(m));
        FUZZ_CHECK(a->stacked || a->n == 1);
        FUZZ_CHECK(a->weight == model_weight_at(m, a->first)->weight);
        for (int64_t k = a->first; k < a->first + a->n; k++) {
            const weight *w = model_weight_at(m, k)->weight;
            FUZZ_CHECK(a->part >= 0 && a->part < w->n_parts &&
                       w->part[a->part] == checkpoint_at(c, i));
        }
    }
    for (int64_t k = 0; k < model_n_weights(m); k++) {
        const bound_weight *b = model_weight_at(m, k);
        FUZZ_CHECK(b->weight == model_weight(m, b->role, b->layer, b->expert));
        read_weight(b->weight, &s);
    }
    FUZZ_CHECK(model_parameters(m, true) <= model_parameters(m, false));
    FUZZ_CHECK(model_parameters(m, true) >= 0);
    scratch_free(&s);
}

static void open_model(const checkpoint *c)
{
    err e = ERR_INIT;
    model *m;
    if (model_open(&m, c, NULL, &e)) {
        fuzz_accept();
        check_model(m, c);
        model_close(m);
    } else {
        fuzz_refused(&e);
        FUZZ_CHECK(!m);
    }
}

FUZZ_TARGET(model, 16 << 20)
{
    err e = ERR_INIT;
    checkpoint *c;
    fuzz_text config = fuzz_cut(&bytes, &n);
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
    fuzz_file("m/config.json", config.text, config.len, config.len);
    fuzz_file("m/model.safetensors", file, 8 + header.len + n, 8 + header.len + data);
    if (checkpoint_open(&c, "m", NULL, &e)) {
        open_model(c);
        checkpoint_close(c);
    } else {
        fuzz_refused(&e);
        FUZZ_CHECK(!c);
    }
    free(file);
}
