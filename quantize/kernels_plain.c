// SPDX-License-Identifier: Apache-2.0
// Four lanes, which every compiler maps to what the machine surely has.
#define KERNEL_LANES 4
#define KERNEL_TARGET
#define KERNEL(name) name##_plain
#include "quantize/search_kernel.h"
#include "quantize/row_kernel.h"
#include "quantize/groups_kernel.h"
#include "quantize/tools_kernel.h"
#include "quantize/blocks_simple.h"
#include "quantize/blocks_iq4.h"
#include "quantize/blocks_fp4.h"
#include "quantize/blocks_k.h"
