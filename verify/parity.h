// SPDX-License-Identifier: Apache-2.0
// Reference against candidate, weight by weight: is there a counterpart, what do both decode to,
// and how far apart are they. Structure first (same dimensions, nothing missing), then every
// element of every weight, streamed row block by row block. Knows no tokens; that is
// logit_parity.h's.
#ifndef SCRUPLE_VERIFY_PARITY_H
#define SCRUPLE_VERIFY_PARITY_H

#include "base/pool.h"
#include "formats/model.h"
#include "verify/findings.h"
#include "verify/metrics.h"

typedef struct {
    role role;
    int64_t layer, expert;           // -1 where it has none
    const codec *ref_codec, *cand_codec;
    matrix_sums sums;
} weight_parity;

typedef struct {
    weight_parity *weight;           // in the order of the reference's tensors
    int64_t n;
} parity;

void parity_free(parity *p);

// Dimensions and switches that decide the forward pass, and tensors that no role uses. What makes
// a comparison impossible is ERR_INPUT; what only differs is a finding.
MUST_USE bool parity_structure(const model *ref, const model *cand, findings *f, err *e);

typedef struct {
    pool *pool;
    const events *events;
} parity_options;

// Fatal findings: a value that is not finite, a zero scale over values that are not all zero, an
// expert nearer to another expert than to its own. A value of the reference that is not finite is
// ERR_INPUT. The result does not depend on threads.
MUST_USE bool parity_weights(parity *out, const model *ref, const model *cand,
                             const parity_options *o, findings *f, err *e);

// Sums of a class of roles (CLASS_COUNT: all), and its worst weight by SQNR (NULL where none).
void parity_of_class(const parity *p, role_class c, matrix_sums *sums, int64_t *n,
                     const weight_parity **worst);

#endif
