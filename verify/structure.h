// SPDX-License-Identifier: Apache-2.0
// Are reference and candidate two forms of one model? Dimensions, the switches that decide what the
// forward pass computes, a counterpart for every tensor, the same tokenizer. Reads no weights.
#ifndef SCRUPLE_VERIFY_STRUCTURE_H
#define SCRUPLE_VERIFY_STRUCTURE_H

#include "formats/model.h"
#include "verify/findings.h"

// What makes a comparison impossible (families, dimensions) is ERR_INPUT. A switch that differs, a
// weight without counterpart on either side, and a missing tensor that no role uses but that
// belongs to the model (prediction layers, say) are fatal findings; derived ones are remarks.
MUST_USE bool structure_compare(const model *ref, const model *cand, findings *f, err *e);

#endif
