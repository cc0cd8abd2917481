// SPDX-License-Identifier: Apache-2.0
// Thresholds that make measurements a verdict: from a gate file (JSON), or built in by the type
// that the candidate's experts are stored in. Every threshold is optional; an unknown name is an
// error.
// Derivations: docs/verify.md.
#ifndef SCRUPLE_VERIFY_GATE_H
#define SCRUPLE_VERIFY_GATE_H

#include "base/json.h"
#include "verify/logit_parity.h"
#include "verify/parity.h"

typedef enum {
    GATE_EXACT,                  // 1: every weight is bit-equal
    GATE_MIN_SQNR_DB,            // of every matrix that is coded otherwise than the reference's
    GATE_MAX_STEPS,              // largest error in steps of the candidate's grid
    GATE_MAX_MEAN_KLD,           // nats
    GATE_MAX_KLD_P99,
    GATE_MIN_TOP1_AGREEMENT,     // 0 .. 1
    GATE_MAX_NLL_INCREASE,       // nats a token
    GATE_MIN_ROUTER_AGREEMENT,   // 0 .. 1: equal sets, over all layers
    GATE_MIN_ROUTER_AGREEMENT_LARGE_MARGIN, // the same in the third of the largest margins
    GATE_COUNT
} gate_threshold;

typedef struct {
    const char *name;            // "built-in int4-g32", or the file's base name
    bool has[GATE_COUNT];
    double value[GATE_COUNT];
    arena texts;
} gate;

MUST_USE bool gate_builtin(gate *g, const model *ref, const model *cand, err *e);
MUST_USE bool gate_read(gate *g, const char *path, err *e);
void gate_free(gate *g);
const char *gate_threshold_name(gate_threshold t); // "max_mean_kld"
// Adds a finding for every threshold that is missed. Either part may be NULL: not measured.
MUST_USE bool gate_judge(const gate *g, const parity *p, const logit_parity *l, findings *f,
                         err *e);
void gate_write(const gate *g, json_writer *w, const char *key);

#endif
