// SPDX-License-Identifier: Apache-2.0
// Tensors that no role uses travel along with a model. Did one arrive as it was? Knows bytes, and
// weights in codes that had to be decoded on the way, since the other container has no type for
// them (FP8 into a GGUF).
#ifndef SCRUPLE_VERIFY_COPIED_H
#define SCRUPLE_VERIFY_COPIED_H

#include "base/event.h"
#include "formats/checkpoint.h"

// Tensor t of a and its namesake of b: *same = the same type and bytes; or t is the codes of a
// matrix, what stands beside it in `a` decodes it, and b's plain numbers are these values, rounded
// to their type.
MUST_USE bool copied_same(const checkpoint *a, const tensor *t, const checkpoint *b,
                          const tensor *other, const events *v, bool *same, err *e);

#endif
