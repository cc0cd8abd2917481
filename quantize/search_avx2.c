// SPDX-License-Identifier: Apache-2.0
#include "quantize/search.h"

#if defined(__x86_64__)
#define KERNEL_LANES 8
#define KERNEL_TARGET __attribute__((target("avx2")))
#define KERNEL_FUNCTION search_int4_avx2
#include "quantize/search_kernel.h"
#endif
