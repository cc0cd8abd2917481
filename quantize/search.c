// SPDX-License-Identifier: Apache-2.0
#include "quantize/search.h"

#include "quantize/kernels.h"

void search_int4(search_group *g) { kernels_used()->search(g); }
