// SPDX-License-Identifier: Apache-2.0
#include "base/bitscan.h"

#include <assert.h>

#include "base/cpu.h"

typedef bool (*kernel)(const unsigned char *at, int64_t n, uint64_t all, uint64_t none);

#define KERNELS(level) {scan_1_##level, scan_2_##level, scan_4_##level, scan_8_##level}

#define LANES 16
#define LEVEL(name) name##_plain
#define TARGET
#include "base/bitscan_lanes.h"
#undef LANES
#undef LEVEL
#undef TARGET

#if defined(__x86_64__)
#define LANES 32
#define LEVEL(name) name##_avx2
#define TARGET __attribute__((target("avx2,fma,f16c")))
#include "base/bitscan_lanes.h"
#undef LANES
#undef LEVEL
#undef TARGET

#define LANES 64
#define LEVEL(name) name##_avx512
#define TARGET __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")))
#include "base/bitscan_lanes.h"
#undef LANES
#undef LEVEL
#undef TARGET
#endif

// One a width: 1, 2, 4, 8.
static const kernel *used(void)
{
    static const kernel plain[] = KERNELS(plain);
#if defined(__x86_64__)
    static const kernel avx2[] = KERNELS(avx2), avx512[] = KERNELS(avx512);
    switch (cpu_used()) {
    case CPU_AVX512:
        return avx512;
    case CPU_AVX2:
        return avx2;
    default:
        return plain;
    }
#else
    return plain; // on aarch64 its vectors are NEON's
#endif
}

bool bitscan(const bit_pattern *p, const void *elements, int64_t n)
{
    int kind = p->width == 1 ? 0 : p->width == 2 ? 1 : p->width == 4 ? 2 : 3;
    assert(p->width == 1 << kind);
    return used()[kind](elements, n, p->all, p->none);
}
