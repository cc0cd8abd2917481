// SPDX-License-Identifier: Apache-2.0
// Inside of content.h: how its two halves (values, sums) put findings into the list.
#ifndef SCRUPLE_VERIFY_CONTENT_LIST_H
#define SCRUPLE_VERIFY_CONTENT_LIST_H

#include "verify/content.h"

MUST_USE bool content_add(content_findings *f, const char *subject, err *e, const char *format,
                          ...) PRINTF_LIKE(4, 5);

#endif
