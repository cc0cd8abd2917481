// SPDX-License-Identifier: Apache-2.0
#include "tests/block_case.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "tests/quantize/goldens.h"

void block_golden_input(float *x, int64_t n)
{
    uint32_t s = 1;
    for (int64_t i = 0; i < n; i++) {
        s = 1664525u * s + 1013904223u;
        x[i] = ((float)(int32_t)(s >> 8) - 8388608.0f) / 8388608.0f;
    }
}

static void check_digest(dtype type, const char *what, const void *bytes, uint64_t n,
                         const char *expected)
{
    sha256_digest digest;
    char hex[65];
    err e = ERR_INIT;
    ck_assert_msg(sha256_of(bytes, n, &digest, &e), "%s", e.text);
    hex_of(digest.b, sizeof digest.b, hex);
    ck_assert_msg(strncmp(hex, expected, strlen(expected)) == 0, "%s, %s: %s, ggml has %s",
                  dtype_name(type), what, hex, expected);
}

static uint64_t bytes_of(dtype type, int64_t n)
{
    uint64_t bytes;
    ck_assert(dtype_bytes(type, (uint64_t)n, &bytes));
    return bytes;
}

void block_check_golden(dtype type, const char *plain, const char *weighted, const char *decoded)
{
    static float x[GOLDEN_VALUES], back[GOLDEN_VALUES], importance[GOLDEN_VALUES];
    static uint8_t to[4 * GOLDEN_VALUES];
    uint64_t bytes = bytes_of(type, GOLDEN_VALUES);
    block_golden_input(x, GOLDEN_VALUES);
    check_digest(type, "input", x, sizeof x, "1f3209499f457885");
    for (int i = 0; i < GOLDEN_VALUES; i++)
        importance[i] = (float)(1 + i % 7);
    for (int level = 0; level < CPU_LEVELS; level++) {
        if (!cpu_has((cpu_level)level))
            continue;
        const block_ops *ops = block_ops_at(type, (cpu_level)level);
        block_rows r = {.from = x, .n = 1, .in = GOLDEN_VALUES, .search = SEARCH_COMPAT, .to = to};
        memset(to, 0xaa, sizeof to);
        ops->encode(&r);
        check_digest(type, "plain", to, bytes, plain);
        ops->decode(back, to, GOLDEN_VALUES / dtype_block(type));
        check_digest(type, "decoded", back, sizeof back, decoded);
        r.importance = importance;
        memset(to, 0xaa, sizeof to);
        ops->encode(&r);
        check_digest(type, "weighted", to, bytes, weighted ? weighted : plain);
    }
}

static void check_level(const block_ops *plain, const block_ops *ops, const block_rows *r,
                        uint8_t *expected, float *decoded, float *back)
{
    block_rows other = *r;
    int64_t values = r->n * r->in, block = dtype_block(plain->type);
    uint64_t bytes = bytes_of(plain->type, values);
    plain->encode(r);
    other.to = expected;
    ops->encode(&other);
    ck_assert_msg(memcmp(r->to, expected, bytes) == 0, "%s encodes otherwise at another level",
                  dtype_name(plain->type));
    plain->decode(decoded, r->to, values / block);
    ops->decode(back, r->to, values / block);
    ck_assert_msg(memcmp(decoded, back, (size_t)values * sizeof *back) == 0,
                  "%s decodes otherwise at another level", dtype_name(plain->type));
}

void block_check_levels(dtype type, const float *x, int64_t n, int64_t in)
{
    const block_ops *plain = block_ops_at(type, CPU_PLAIN);
    uint64_t bytes = bytes_of(type, n * in);
    float *importance = malloc((size_t)in * sizeof *importance);
    float *values = malloc(2 * (size_t)(n * in) * sizeof *values);
    uint8_t *to = malloc(2 * bytes);
    ck_assert(importance && values && to);
    for (int64_t i = 0; i < in; i++)
        importance[i] = 0.1f + (float)(i * 7919 % 101);
    for (int level = CPU_PLAIN + 1; level < CPU_LEVELS; level++)
        for (int how = 0; how < 4 && cpu_has((cpu_level)level); how++) {
            block_rows r = {.from = x, .n = n, .in = in, .to = to,
                            .importance = how & 1 ? importance : NULL,
                            .search = how & 2 ? SEARCH_BEST : SEARCH_COMPAT};
            check_level(plain, block_ops_at(type, (cpu_level)level), &r, to + bytes, values,
                        values + n * in);
        }
    free(importance);
    free(values);
    free(to);
}

void block_fill_rows(float *x, float largest, float step, int steps)
{
    for (uint32_t i = 0; i < BLOCK_VALUES; i++) {
        uint32_t hash = mix(i + 99), row = i / BLOCK_COLUMNS;
        float bell = golden_weight(i, 17);
        uint32_t exponent = (hash >> 9) % (f32_bits(largest) >> 23);
        float any = f32_from_bits((hash & 0x807fffff) | exponent << 23);
        float tie = (float)((int32_t)(hash % (uint32_t)(2 * steps + 1)) - steps) * step;
        float few = hash % 40 == 0 ? bell : 0;
        float tiny = f32_from_bits(hash & 0x80ffffff);
        x[i] = row == 0 ? bell : row == 1 ? any : row == 2 ? tie : row == 3 ? few : tiny;
    }
    memset(x + 3 * BLOCK_COLUMNS, 0, 256 * sizeof *x); // a whole block
    x[BLOCK_COLUMNS] = -largest;
}

void block_check_decoded(dtype type, const char *name, const uint8_t *from, int64_t blocks)
{
    int64_t n = blocks * dtype_block(type);
    float *to = malloc((size_t)n * sizeof *to);
    ck_assert_ptr_nonnull(to);
    EACH_LEVEL(level) {
        block_ops_at(type, level)->decode(to, from, blocks);
        uint64_t digest = 0;
        for (int64_t i = 0; i < n; i++)
            digest_add(&digest, (uint64_t)i, to[i] != to[i] ? UINT32_MAX : f32_bits(to[i]));
        ck_assert_uint_eq(digest, golden_digest_in("tests/data/codecs/fourbit.txt", name));
    }
    free(to);
}

static void errors(const block_ops *ops, const block_rows *r, int64_t part, double *error)
{
    float *back = malloc((size_t)r->in * sizeof *back);
    ck_assert_ptr_nonnull(back);
    ops->encode(r);
    ops->decode(back, r->to, r->in / dtype_block(ops->type));
    for (int64_t i = 0; i < r->in; i++) {
        double d = (double)back[i] - (double)r->from[i];
        if (i % part == 0)
            error[i / part] = 0;
        error[i / part] += (r->importance ? (double)r->importance[i] : 1) * d * d;
    }
    free(back);
}

void block_check_best(dtype type, int64_t part, const float *x, int64_t in, const double ratio[2])
{
    const block_ops *ops = block_ops_used(type);
    float *importance = malloc((size_t)in * sizeof *importance);
    double *error = malloc(2 * (size_t)(in / part) * sizeof *error);
    uint8_t *to = malloc(bytes_of(type, in));
    ck_assert(importance && error && to);
    for (int64_t i = 0; i < in; i++)
        importance[i] = 0.01f + (float)(i * i * 7919 % 101) * (i % 7 ? 0.01f : 1);
    for (int weighted = 0; weighted < 2; weighted++) {
        block_rows r = {.from = x, .n = 1, .in = in, .to = to, .search = SEARCH_COMPAT,
                        .importance = weighted ? importance : NULL};
        double sum = 0, *better = error + in / part;
        errors(ops, &r, part, error);
        r.search = SEARCH_BEST;
        errors(ops, &r, part, better);
        for (int64_t i = 0; i < in / part; i++) {
            ck_assert_msg(better[i] <= error[i], "%s, part %lld: %.9g, compat %.9g",
                          dtype_name(type), (long long)i, better[i], error[i]);
            sum += error[i] > 0 ? better[i] / error[i] : 1;
        }
        double mean = sum / (double)(in / part);
        ck_assert_msg(mean <= ratio[weighted], "%s: %.4f of compat's error", dtype_name(type),
                      mean);
    }
    free(importance);
    free(error);
    free(to);
}

void block_check_again(dtype type, const uint8_t *from, int64_t blocks)
{
    const block_ops *ops = block_ops_used(type);
    int64_t block = dtype_block(type), n = blocks * block;
    float *x = malloc(2 * (size_t)n * sizeof *x), *again = x + n;
    uint8_t *to = malloc(bytes_of(type, n));
    ck_assert(x && to);
    ops->decode(x, from, blocks);
    ops->encode(&(block_rows){.from = x, .n = 1, .in = n, .search = SEARCH_BEST, .to = to});
    ops->decode(again, to, blocks);
    for (int64_t i = 0; i < n; i++)
        ck_assert_msg(again[i] == x[i], "%s, block %lld, element %lld: %a, was %a",
                      dtype_name(type), (long long)(i / block), (long long)(i % block),
                      (double)again[i], (double)x[i]);
    free(x);
    free(to);
}

void block_check_own(dtype type, const float *x, int64_t in)
{
    const block_ops *ops = block_ops_used(type);
    uint64_t bytes = bytes_of(type, in);
    float *back = malloc(2 * (size_t)in * sizeof *back), *importance = back + in;
    uint8_t *to = malloc(2 * bytes);
    ck_assert(back && to);
    for (int64_t i = 0; i < in; i++)
        importance[i] = 0.1f + (float)(i * 7919 % 101);
    for (int weighted = 0; weighted < 2; weighted++) {
        block_rows r = {.from = x, .n = 1, .in = in, .search = SEARCH_BEST, .to = to,
                        .importance = weighted ? importance : NULL};
        ops->encode(&r);
        ops->decode(back, to, in / dtype_block(type));
        r.from = back;
        r.to = to + bytes;
        ops->encode(&r);
        ck_assert_msg(memcmp(to, to + bytes, bytes) == 0, "%s writes its own otherwise",
                      dtype_name(type));
    }
    free(back);
    free(to);
}
