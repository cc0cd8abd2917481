// SPDX-License-Identifier: Apache-2.0
// Experts that changed places: an expert of the candidate that is nearer to another expert of the
// reference than to its own.
#ifndef SCRUPLE_VERIFY_EXPERTS_APART_H
#define SCRUPLE_VERIFY_EXPERTS_APART_H

#include "verify/parity.h"

// Looks only where the weight's own squared error exceeds a tenth of its energy (int4 has a
// hundredth), and then at a few rows of all experts of the layer. Adds a fatal finding that names
// both experts, and says whether it is much nearer to the other (exchanged) or to none (garbled).
MUST_USE bool experts_apart(const model *ref, const model *cand, const weight_parity *w,
                            findings *f, err *e);

#endif
