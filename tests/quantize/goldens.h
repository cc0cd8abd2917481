// SPDX-License-Identifier: Apache-2.0
// The inputs of tests/data/codecs (make.py has the same formulas), digests of outputs, and a loop
// over the CPU levels that this machine has.
#ifndef SCRUPLE_TESTS_GOLDENS_H
#define SCRUPLE_TESTS_GOLDENS_H

#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cpu.h"

#define EACH_LEVEL(level)                                                                         \
    for (cpu_level level = CPU_PLAIN; level < CPU_LEVELS; level = (cpu_level)(level + 1))         \
        if (cpu_has(level))

// MurmurHash3's finaliser.
static inline uint32_t mix(uint32_t i)
{
    i ^= i >> 16;
    i *= 0x85EBCA6B;
    i ^= i >> 13;
    i *= 0xC2B2AE35;
    return i ^ i >> 16;
}

static inline void digest_add(uint64_t *digest, uint64_t i, uint32_t value)
{
    *digest += (uint64_t)mix(value ^ mix((uint32_t)i)) * (2 * i + 1);
}

// Bell-shaped, one in a thousand eight times as large.
static inline float golden_weight(uint32_t i, uint32_t seed)
{
    uint32_t at = i * 3 + seed;
    uint32_t a = mix(at), b = mix(at + 1), c = mix(at + 2);
    int32_t sum = (int32_t)((a & 0xffff) + (a >> 16) + (b & 0xffff) + (b >> 16)) - 131070;
    return (float)(c % 1000 == 0 ? sum * 8 : sum) * 0x1p-21f;
}

// written.py's weight of 24 x 1024, before it is rounded to a type.
static inline float written_weight(uint32_t i)
{
    uint32_t row = i / 1024, col = i % 1024;
    float w = golden_weight(i, 41), magnitude = w < 0 ? -w : w;
    switch (row) {
    case 0: return 0;
    case 1: return 0.5f;
    case 2: return (float)((int)(col % 16) - 8) * 0.125f;
    case 3: return magnitude;
    case 4: return -magnitude;
    case 5: return w * 0x1p-14f;
    case 6: return w * 0x1p12f;
    case 7: return col % 64 < 48 ? 0 : w;
    default: return w;
    }
}

static inline uint64_t golden_digest_in(const char *path, const char *name)
{
    FILE *f = fopen(path, "r");
    ck_assert_ptr_nonnull(f);
    char found[64];
    uint64_t value;
    while (fscanf(f, "%63s %" SCNu64, found, &value) == 2)
        if (strcmp(found, name) == 0) {
            fclose(f);
            return value;
        }
    fclose(f);
    ck_abort_msg("no golden '%s'", name);
    return 0;
}

// Of n little-endian values of that many bytes.
static inline void check_written(const char *name, const char *part, const void *values, int64_t n,
                                 int width)
{
    char key[96];
    uint64_t digest = 0;
    const unsigned char *p = values;
    for (int64_t i = 0; i < n; i++, p += width) {
        uint32_t value = 0;
        memcpy(&value, p, (size_t)width);
        digest_add(&digest, (uint64_t)i, value);
    }
    (void)snprintf(key, sizeof key, "%s_%s", name, part);
    ck_assert_msg(digest == golden_digest_in("tests/data/codecs/written.txt", key), "%s differs",
                  key);
}

static inline uint64_t golden_digest(const char *name)
{
    return golden_digest_in("tests/data/codecs/digests.txt", name);
}

static inline void golden_bytes(const char *name, void *to, size_t size)
{
    char path[128];
    snprintf(path, sizeof path, "tests/data/codecs/%s", name);
    FILE *f = fopen(path, "rb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fread(to, 1, size, f), size);
    ck_assert_int_eq(fgetc(f), EOF);
    fclose(f);
}

#endif
