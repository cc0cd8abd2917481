// SPDX-License-Identifier: Apache-2.0
// The parity report: the same facts as JSON (schema_version 1), as Markdown, and as text for a
// terminal. Deterministic: no times, hosts or paths. Fields: docs/verify.md.
#ifndef SCRUPLE_VERIFY_REPORT_H
#define SCRUPLE_VERIFY_REPORT_H

#include "verify/gate.h"

typedef struct {
    const char *name;            // base name of the path given
    const model *model;
    const sha256_digest *sums;   // [files]
    sha256_digest digest;        // of all tensors, whatever files hold them (scruple digest)
    char *manifest;              // scruple.json of its folder, checked JSON; or NULL
} report_side;

typedef struct {
    report_side ref, cand;
    const gate *gate;
    const findings *findings;
    const parity *parity;        // NULL: not measured
    const logit_parity *logits;  // NULL: not measured
    const windows *windows;      // with logits
    uint64_t seed;
} report;

// File bytes x 8 / parameters of all, stored bytes x 8 / parameters of the routed experts.
double report_bits(const model *m, bool experts_only);

MUST_USE bool report_json(const report *r, strbuf *out, err *e);
MUST_USE bool report_markdown(const report *r, strbuf *out, err *e);
MUST_USE bool report_text(const report *r, strbuf *out, err *e);

#endif
