// SPDX-License-Identifier: Apache-2.0
// How the rooms below cli/ talk without printing: a sink that the command owns. Every member may
// be NULL, and so may the sink.
#ifndef SCRUPLE_BASE_EVENT_H
#define SCRUPLE_BASE_EVENT_H

#include "base/err.h"

typedef struct {
    // A line for people: a warning (shown unless -q) or a note (shown with -v).
    void (*warn)(void *ctx, const char *line);
    void (*note)(void *ctx, const char *line);
    // done of total units of `what` ("layer", "bytes"); called often, the sink throttles.
    void (*progress)(void *ctx, const char *what, uint64_t done, uint64_t total);
    // True once somebody asked to stop; long loops ask between units. why: the sentence's
    // beginning ("stopped on request" where it is NULL).
    bool (*stop)(void *ctx);
    const char *(*why)(void *ctx);
    void *ctx;
} events;

void event_warn(const events *v, const char *format, ...) PRINTF_LIKE(2, 3);
void event_note(const events *v, const char *format, ...) PRINTF_LIKE(2, 3);
void event_progress(const events *v, const char *what, uint64_t done, uint64_t total);
// ERR_INTERRUPTED and a sentence where a stop was asked for.
MUST_USE bool event_go_on(const events *v, err *e);

#endif
