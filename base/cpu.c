// SPDX-License-Identifier: Apache-2.0
// cpuid and xgetbv are read here, not through the compiler's __builtin_cpu_supports: clang 14 does
// not know "f16c", and a processor's word is worth nothing unless the operating system saves the
// wide registers (Intel SDM volume 1, 13.3; volume 2, CPUID and XGETBV).
#include "base/cpu.h"

#include <stdatomic.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

static const char *const NAMES[CPU_LEVELS] = {"plain", "avx2", "avx512", "neon"};

// 0: nobody has asked yet; else level + 1. Atomic because the first question may come from two
// threads at once; both then store the same answer.
static atomic_int chosen;

const char *cpu_name(cpu_level level)
{
    return level >= 0 && level < CPU_LEVELS ? NAMES[level] : "unknown";
}

bool cpu_from_name(const char *name, cpu_level *out)
{
    for (int i = 0; i < CPU_LEVELS; i++)
        if (strcmp(name, NAMES[i]) == 0) {
            *out = (cpu_level)i;
            return true;
        }
    *out = CPU_PLAIN;
    return false;
}

#if defined(__x86_64__)
// The state components the operating system saves: bit 1 SSE, 2 AVX, 5-7 AVX-512.
static uint32_t saved_registers(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static bool all(uint32_t have, uint32_t want)
{
    return (have & want) == want;
}

static bool x86_has(cpu_level level)
{
    const uint32_t avx2_1c = 1u << 12 | 1u << 27 | 1u << 28 | 1u << 29; // FMA OSXSAVE AVX F16C
    const uint32_t avx2_7b = 1u << 5;
    const uint32_t avx512_7b = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31; // F DQ BW VL
    uint32_t a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !all(c, avx2_1c) || !all(saved_registers(), 0x06))
        return false;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !all(b, avx2_7b))
        return false;
    return level == CPU_AVX2 || (all(b, avx512_7b) && all(saved_registers(), 0xe6));
}
#endif

bool cpu_has(cpu_level level)
{
    switch (level) {
    case CPU_PLAIN:
        return true;
#if defined(__x86_64__)
    case CPU_AVX2:
    case CPU_AVX512:
        return x86_has(level);
#endif
#if defined(__aarch64__)
    case CPU_NEON: // part of the architecture
        return true;
#endif
    default:
        return false;
    }
}

cpu_level cpu_best(void)
{
    static const cpu_level order[] = {CPU_AVX512, CPU_AVX2, CPU_NEON};
    for (size_t i = 0; i < COUNT_OF(order); i++)
        if (cpu_has(order[i]))
            return order[i];
    return CPU_PLAIN;
}

bool cpu_use(cpu_level level, err *e)
{
    if (!cpu_has(level))
        return err_set(e, ERR_USAGE, "this machine has no %s: its best level is %s",
                       cpu_name(level), cpu_name(cpu_best()));
    atomic_store_explicit(&chosen, (int)level + 1, memory_order_relaxed);
    return true;
}

cpu_level cpu_used(void)
{
    int now = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (now == 0) {
        now = (int)cpu_best() + 1;
        atomic_store_explicit(&chosen, now, memory_order_relaxed);
    }
    return (cpu_level)(now - 1);
}
