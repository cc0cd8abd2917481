// SPDX-License-Identifier: Apache-2.0
#include "quantize/search.h"

#if defined(__x86_64__)
#define KERNEL_LANES 16
#define KERNEL_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
#define KERNEL_FUNCTION search_int4_avx512
#include "quantize/search_kernel.h"
#endif
