// SPDX-License-Identifier: Apache-2.0
// Super-blocks that a K-quant holds exactly, found from the common divisors of their values: what
// was decoded from the type, and anything else that happens to lie on its grid. The searches, which
// follow the error, would mostly end beside the grid they came from.
#ifndef SCRUPLE_QUANTIZE_BLOCKS_GRID_H
#define SCRUPLE_QUANTIZE_BLOCKS_GRID_H

#include "quantize/blocks.h"

// Whether the type has such grids: Q2_K to Q6_K.
bool block_has_grid(dtype type);
// x[256] finite. True, and the block in `to`, where one was found that decodes to just these
// values; `to` is left alone otherwise. What the type's own decoding gave is found unless
// binary32 had to round it.
bool block_on_grid(dtype type, const float *x, uint8_t *to);

#endif
