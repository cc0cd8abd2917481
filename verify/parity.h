// SPDX-License-Identifier: Apache-2.0
// Reference against candidate, weight by weight: what do both decode to, and how far apart are
// they. Every element of every weight, streamed row block by row block. That both are of one shape
// and nothing is missing is structure.h's to see before; tokens are logit_parity.h's.
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
    bool broken;                     // a fatal finding says how; sums may hold a part only
    matrix_sums sums;
} weight_parity;

typedef struct {
    weight_parity *weight;           // by layer (global ones first), role, expert
    int64_t n;
    int64_t n_copied;                // tensors without a role that both have
    int64_t n_copied_unequal;        // those whose types or bytes differ
    const char *copied_unequal;      // the first of them; the reference's name
} parity;

void parity_free(parity *p);

typedef struct {
    pool *pool;
    uint64_t memory;                 // ceiling
    const events *events;            // told of "weight"
} parity_options;

// Fatal findings: a value that is not finite, a zero scale over values that are not all zero, an
// expert nearer to another expert than to its own. A value of the reference that is not finite is
// ERR_INPUT, a ceiling that does not hold a row is ERR_ENV. The result depends neither on threads
// nor on memory.
MUST_USE bool parity_weights(parity *out, const model *ref, const model *cand,
                             const parity_options *o, findings *f, err *e);

// Sums of a class of roles (CLASS_COUNT: all) without its broken weights, the number of all, and
// its worst: the first broken one, else the lowest SQNR (NULL where there is none).
void parity_of_class(const parity *p, role_class c, matrix_sums *sums, int64_t *n,
                     const weight_parity **worst);

#endif
