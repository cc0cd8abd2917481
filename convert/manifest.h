// SPDX-License-Identifier: Apache-2.0
// scruple.json: what an output folder was made from and how. The same bytes everywhere: no times,
// hosts or paths. verify repeats it in its report. Fields: docs/manifest.md.
#ifndef SCRUPLE_CONVERT_MANIFEST_H
#define SCRUPLE_CONVERT_MANIFEST_H

#include "convert/companions.h"
#include "convert/plan.h"

typedef struct {
    const char *command;            // "quantize"
    const char *options;            // JSON object text: the options that decide bytes
    const plan *plan;
    const sha256_digest *source;    // [source files]
    const char *statistics;         // JSON object text with sha256 and coverage, or NULL
    const companions *companions;
} manifest;

MUST_USE bool manifest_write(const manifest *m, strbuf *out, err *e);
// Bits a weight: bytes x 8 / parameters, of the routed experts and of all tensor files.
double manifest_bits(const plan *p, bool experts_only);

#endif
