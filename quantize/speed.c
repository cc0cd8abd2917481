// SPDX-License-Identifier: Apache-2.0
#include "quantize/speed.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/sys.h"
#include "quantize/number.h"

enum {
    VALUES = SPEED_ROWS * SPEED_COLUMNS,
    CHUNK = 128,  // rows at a time: whole blocks of every codec
    LEAST_RUNS = 3,
    MOST_RUNS = 64
};

struct speed_bench {
    double seconds;
    const events *events;
    uint16_t *weights; // BF16
    float *values;     // what is decoded, or copied to
    float *other;      // what is copied
};

bool speed_open(speed_bench **out, double seconds, const events *v, err *e)
{
    rng r;
    *out = NULL;
    speed_bench *b = mem_new(1, sizeof *b, "a measurement", e);
    if (!b)
        return false;
    *b = (speed_bench){.seconds = seconds, .events = v};
    b->weights = mem_new(VALUES, sizeof *b->weights, "weights", e);
    b->values = b->weights ? mem_new(VALUES, sizeof *b->values, "values", e) : NULL;
    b->other = b->values ? mem_new(VALUES, sizeof *b->other, "values", e) : NULL;
    if (!b->other) {
        speed_close(b);
        return false;
    }
    rng_seed(&r, 1);
    for (int64_t i = 0; i < VALUES; i++)
        b->weights[i] = f32_to_bf16((float)(0.02 * rng_normal(&r)));
    memset(b->values, 0, VALUES * sizeof *b->values);
    memset(b->other, 1, VALUES * sizeof *b->other);
    *out = b;
    return true;
}

void speed_close(speed_bench *b)
{
    if (!b)
        return;
    free(b->weights);
    free(b->values);
    free(b->other);
    free(b);
}

// ---- one measurement ----

typedef struct {
    speed_bench *bench;
    const codec *codec;
    codec_search search;
    unsigned char *part[CODEC_MAX_PARTS];
    float *rows; // [threads][CHUNK][SPEED_COLUMNS]
} job;

static int by_size(const void *x, const void *y)
{
    const double *a = x, *b = y;
    return (*a > *b) - (*a < *b);
}

// The median of the runs' bytes a second. On one thread its processor time counts, so that others
// who want the processor do not.
static bool measure(job *j, pool *p, pool_fn fn, double bytes, double *out, err *e)
{
    double seconds[MOST_RUNS], began = sys_seconds();
    size_t n = 0;
    while (n < MOST_RUNS && (n < LEAST_RUNS || sys_seconds() - began < j->bench->seconds)) {
        double at = p ? sys_seconds() : sys_thread_seconds();
        if (!event_go_on(j->bench->events, e) ||
            !pool_for(p, SPEED_ROWS / CHUNK, 1, fn, j, e))
            return false;
        seconds[n++] = (p ? sys_seconds() : sys_thread_seconds()) - at;
    }
    qsort(seconds, n, sizeof *seconds, by_size);
    *out = bytes / seconds[n / 2];
    return true;
}

// An optional part is not there.
static part_view rows_of(const job *j, int64_t row, int i)
{
    const codec_part *p = &j->codec->part[i];
    uint64_t at = codec_part_offset(j->codec, i, SPEED_COLUMNS, row);
    part_view v = part_at(p->optional ? NULL : j->part[i] + at, p->type);
    v.pitch = codec_part_pitch(j->codec, i, SPEED_ROWS);
    return v;
}

static bool encode_chunk(void *ctx, int64_t begin, int64_t end, int worker, err *e)
{
    const job *j = ctx;
    float *rows = j->rows + (int64_t)worker * CHUNK * SPEED_COLUMNS;
    for (int64_t i = begin; i < end; i++) {
        void *part[CODEC_MAX_PARTS];
        encode_options o = ENCODE_DEFAULTS;
        o.search = j->search;
        o.height = SPEED_ROWS;
        for (int k = 0; k < j->codec->n_parts; k++)
            part[k] = j->part[k] + codec_part_offset(j->codec, k, SPEED_COLUMNS, i * CHUNK);
        if (!row_to_f32(rows, j->bench->weights + i * CHUNK * SPEED_COLUMNS, DT_BF16,
                        CHUNK * SPEED_COLUMNS) ||
            !j->codec->encode(j->codec, SPEED_COLUMNS, CHUNK, rows, &o, part, e))
            return false;
    }
    return true;
}

static bool decode_chunk(void *ctx, int64_t begin, int64_t end, int worker, err *e)
{
    const job *j = ctx;
    (void)worker;
    for (int64_t i = begin; i < end; i++) {
        part_view part[CODEC_MAX_PARTS];
        for (int k = 0; k < j->codec->n_parts; k++)
            part[k] = rows_of(j, i * CHUNK, k);
        if (!j->codec->decode(j->codec, SPEED_COLUMNS, CHUNK, part,
                              j->bench->values + i * CHUNK * SPEED_COLUMNS, e))
            return false;
    }
    return true;
}

static bool copy_chunk(void *ctx, int64_t begin, int64_t end, int worker, err *e)
{
    const job *j = ctx;
    (void)worker;
    (void)e;
    for (int64_t i = begin; i < end; i++)
        memcpy(j->bench->values + i * CHUNK * SPEED_COLUMNS,
               j->bench->other + i * CHUNK * SPEED_COLUMNS,
               CHUNK * SPEED_COLUMNS * sizeof(float));
    return true;
}

// ---- codecs ----

// What is decoded where this version cannot encode: bytes that are small numbers in every type.
enum { ANY_BYTE = 0x3c };

static bool open_parts(job *j, err *e)
{
    for (int i = 0; i < j->codec->n_parts; i++) {
        uint64_t bytes = codec_part_bytes(j->codec, i, SPEED_ROWS, SPEED_COLUMNS);
        j->part[i] = mem_new(bytes, 1, "encoded rows", e);
        if (!j->part[i])
            return false;
        memset(j->part[i], ANY_BYTE, bytes);
        (void)codec_fixed_part(j->codec, i, SPEED_ROWS, SPEED_COLUMNS, j->part[i]);
    }
    return true;
}

bool speed_of(speed_bench *b, const codec *c, codec_search search, pool *p, codec_speed *out,
              err *e)
{
    job j = {.bench = b, .codec = c, .search = search};
    *out = (codec_speed){0};
    j.rows = mem_new((uint64_t)pool_threads(p) * CHUNK * SPEED_COLUMNS, sizeof *j.rows, "rows", e);
    bool ok = j.rows && open_parts(&j, e) &&
              (!c->encode || measure(&j, p, encode_chunk, 2.0 * VALUES, &out->encode, e)) &&
              measure(&j, p, decode_chunk, 4.0 * VALUES, &out->decode, e);
    for (int i = 0; i < c->n_parts; i++)
        free(j.part[i]);
    free(j.rows);
    return ok;
}

bool speed_of_copy(speed_bench *b, pool *p, double *out, err *e)
{
    job j = {.bench = b};
    return measure(&j, p, copy_chunk, 4.0 * VALUES, out, e);
}
