// SPDX-License-Identifier: Apache-2.0
// The search in plain C: four lanes, which every compiler maps to what the machine surely has.
#define KERNEL_LANES 4
#define KERNEL_TARGET
#define KERNEL_FUNCTION search_int4_plain
#include "quantize/search_kernel.h"
