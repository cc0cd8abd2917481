// SPDX-License-Identifier: Apache-2.0
// The loops of base/bitscan.c in the vectors of the compiler (gcc and clang). A template: bitscan.c
// includes it once for every CPU level, having set
//   LANES        bytes of a vector: 16, 32, 64
//   LEVEL(name)  the name of this level's form
//   TARGET       the target attribute
// No include guard on purpose.
#ifndef LEVEL
#define LANES 16
#define LEVEL(name) name##_plain
#define TARGET
#endif
#include <string.h>

#include "base/base.h"

// Vectors that are looked at before anybody asks whether something was found.
enum { LEVEL(STEP) = 16 };

#define SCAN(name, type)                                                                          \
    typedef type LEVEL(name##_vec) __attribute__((vector_size(LANES)));                           \
    static TARGET bool LEVEL(name)(const unsigned char *at, int64_t n, uint64_t all,              \
                                   uint64_t none)                                                 \
    {                                                                                             \
        enum { EACH = LANES / sizeof(type), BLOCK = EACH * LEVEL(STEP) };                         \
        const LEVEL(name##_vec) zero = {0}, v_all = zero + (type)all, v_none = zero + (type)none; \
        const LEVEL(name##_vec) want_all = all ? ~zero : zero;                                    \
        const LEVEL(name##_vec) want_none = none ? ~zero : zero;                                  \
        int64_t i = 0;                                                                            \
        for (; i + BLOCK <= n; i += BLOCK) {                                                      \
            LEVEL(name##_vec) has = zero, lacks = zero;                                           \
            for (int k = 0; k < LEVEL(STEP); k++) {                                               \
                LEVEL(name##_vec) v;                                                              \
                memcpy(&v, at + (i + k * EACH) * (int64_t)sizeof(type), sizeof v);                \
                has |= (LEVEL(name##_vec))((v & v_all) == v_all);                                 \
                lacks |= (LEVEL(name##_vec))((v & v_none) == zero);                               \
            }                                                                                     \
            has = (has & want_all) | (lacks & want_none);                                         \
            uint64_t word[LANES / 8], any = 0;                                                    \
            memcpy(word, &has, sizeof word);                                                      \
            for (int k = 0; k < LANES / 8; k++)                                                   \
                any |= word[k];                                                                   \
            if (any)                                                                              \
                return true;                                                                      \
        }                                                                                         \
        for (; i < n; i++) {                                                                      \
            type v;                                                                               \
            memcpy(&v, at + i * (int64_t)sizeof v, sizeof v);                                     \
            if ((all && (v & (type)all) == (type)all) || (none && (v & (type)none) == 0))         \
                return true;                                                                      \
        }                                                                                         \
        return false;                                                                             \
    }
SCAN(scan_1, uint8_t)
SCAN(scan_2, uint16_t)
SCAN(scan_4, uint32_t)
SCAN(scan_8, uint64_t)
#undef SCAN
