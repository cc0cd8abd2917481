// SPDX-License-Identifier: Apache-2.0
#include "quantize/kernels.h"

#define KERNELS_OF(level)                                                                        \
    {                                                                                            \
        search_##level, from_bf16_##level, from_f16_##level, to_bf16_##level, to_f16_##level,    \
        from_e4m3_##level, to_e4m3_##level, from_u4_##level, from_bits_##level,                  \
        from_u8_##level, from_e2m1_##level, to_e2m1_##level, split_eights_##level,               \
        add_bias_##level, to_whole_##level, int_rows_##level, fp_rows_##level,                   \
        tool_rows_##level                                                                        \
    }

static const kernels plain = KERNELS_OF(plain);
#if defined(__x86_64__)
static const kernels avx2 = KERNELS_OF(avx2);
static const kernels avx512 = KERNELS_OF(avx512);
#endif

const kernels *kernels_at(cpu_level level)
{
#if defined(__x86_64__)
    if (level == CPU_AVX2)
        return &avx2;
    if (level == CPU_AVX512)
        return &avx512;
#endif
    (void)level; // on aarch64 the plain code's vectors are NEON's
    return &plain;
}

const kernels *kernels_used(void) { return kernels_at(cpu_used()); }
