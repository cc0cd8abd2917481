// SPDX-License-Identifier: Apache-2.0
// What a verification found: sentences in a fixed order, each either fatal (no gate lifts it), a
// missed threshold, or a remark.
#ifndef SCRUPLE_VERIFY_FINDINGS_H
#define SCRUPLE_VERIFY_FINDINGS_H

#include "base/mem.h"

typedef enum { FINDING_FATAL, FINDING_GATE, FINDING_REMARK } finding_kind;

typedef struct {
    finding_kind kind;
    const char *text;
} finding;

// Zero-initialised is a valid empty list.
typedef struct {
    finding *item;
    uint64_t n, cap;
    arena texts;
} findings;

MUST_USE bool finding_add(findings *f, err *e, finding_kind kind, const char *format, ...)
    PRINTF_LIKE(4, 5);
bool findings_pass(const findings *f); // nothing fatal, no missed threshold
const char *finding_kind_name(finding_kind k); // "fatal", "gate", "remark"
void findings_free(findings *f);

#endif
