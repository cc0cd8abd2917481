// SPDX-License-Identifier: Apache-2.0
// Thresholds that make measurements a verdict: from a gate file (JSON), or built in by the types
// that the candidate is stored in (gate_builtin.c). Every threshold is optional; an unknown name is
// an error, and so is a threshold on something that is not measured. What no gate can lift is not
// here: those findings arise where they are seen. Derivations: docs/verify.md.
#ifndef SCRUPLE_VERIFY_GATE_H
#define SCRUPLE_VERIFY_GATE_H

#include "base/json.h"
#include "verify/logit_parity.h"
#include "verify/parity.h"

typedef enum {
    GATE_EXACT,                  // 1: every weight is bit-equal
    GATE_EXACT_SAME_TYPE,        // 1: every weight that both store in one type is bit-equal
    GATE_MIN_SQNR_DB,            // of every weight that is stored in another type than in the
                                 // reference; one number, or one for each type of the candidate
    GATE_MAX_STEPS,              // largest error of such a weight, in steps of its grid
    GATE_MAX_MEAN_KLD,           // nats
    GATE_MAX_KLD_P99,
    GATE_MIN_TOP1_AGREEMENT,     // 0 .. 1
    GATE_MAX_NLL_INCREASE,       // nats a token
    GATE_MIN_ROUTER_AGREEMENT,   // 0 .. 1: equal sets, over all layers
    GATE_MIN_ROUTER_AGREEMENT_LARGE_MARGIN, // the same in the third of the largest margins
    GATE_COUNT
} gate_threshold;

enum { GATE_MAX_TYPES = 192 };   // at least codec_count()

typedef struct {
    const char *name;            // "built-in: int4-g32", or the file's base name
    bool has[GATE_COUNT];
    double value[GATE_COUNT];
    // GATE_MIN_SQNR_DB by type, in the order of the codec registry: NaN where there is none.
    bool by_type;
    double sqnr[GATE_MAX_TYPES];
    arena texts;
} gate;

// What the built-in gate wants of a type: least SQNR in dB, most KLD, least top-1 agreement. It
// follows from what is stored, not from a name: element, bits and group, or the type of blocks.
typedef struct {
    double sqnr, kld, top1;
} gate_floors;
gate_floors gate_floors_of(const codec *c);

// Floors of SQNR by type, the rest by the coarsest type that replaces another one.
MUST_USE bool gate_builtin(gate *g, const model *ref, const model *cand, err *e);
MUST_USE bool gate_read(gate *g, const char *path, err *e);
void gate_free(gate *g);
void gate_set(gate *g, gate_threshold t, double value);
// ERR_USAGE for a threshold on what is not measured: a verdict must not pass over it in silence.
MUST_USE bool gate_is_measured(const gate *g, bool weights, bool routers, bool logits, err *e);
// Adds a finding for every threshold that is missed. Either part may be NULL: not measured.
MUST_USE bool gate_judge(const gate *g, const parity *p, const logit_parity *l, findings *f,
                         err *e);
void gate_write(const gate *g, json_writer *w, const char *key);

#endif
