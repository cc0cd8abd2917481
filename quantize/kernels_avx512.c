// SPDX-License-Identifier: Apache-2.0
#include "quantize/kernels.h"

#if defined(__x86_64__)
#define KERNEL_LANES 16
#define KERNEL_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
#define KERNEL(name) name##_avx512
#include "quantize/search_kernel.h"
#include "quantize/row_kernel.h"
#include "quantize/groups_kernel.h"
#include "quantize/tools_kernel.h"
#include "quantize/blocks_simple.h"
#include "quantize/blocks_iq4.h"
#include "quantize/blocks_fp4.h"
#include "quantize/blocks_k.h"
#endif
