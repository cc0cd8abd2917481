// SPDX-License-Identifier: Apache-2.0
// Which instructions the hot loops may use. One process-wide choice, made once at start (before
// threads); every level gives the same bits (docs/numerics.md), tests compare them by memcmp.
#ifndef SCRUPLE_BASE_CPU_H
#define SCRUPLE_BASE_CPU_H

#include "base/err.h"

typedef enum { CPU_PLAIN, CPU_AVX2, CPU_AVX512, CPU_NEON, CPU_LEVELS } cpu_level;
// AVX2 means AVX2 + FMA + F16C; AVX512 means F, BW, DQ, VL beside those.

const char *cpu_name(cpu_level level);              // "avx2"
bool cpu_from_name(const char *name, cpu_level *out);
bool cpu_has(cpu_level level);                      // processor and operating system
cpu_level cpu_best(void);
MUST_USE bool cpu_use(cpu_level level, err *e);     // ERR_USAGE where the machine lacks it
cpu_level cpu_used(void);                           // best until cpu_use was called

#endif
