// SPDX-License-Identifier: Apache-2.0
// What a command says beside its facts: warnings, notes and progress, all to stderr. Progress is
// drawn only on a terminal; machines get JSON lines on a descriptor of their choice. Also the flag
// that asks a running command to stop.
#ifndef SCRUPLE_CLI_TALK_H
#define SCRUPLE_CLI_TALK_H

#include <pthread.h>

#include "base/event.h"
#include "base/str.h"

typedef struct {
    const char *command;  // for the prefix of lines
    bool quiet, verbose;
    int progress_fd;      // 0: none
    // From here on talk.c's own.
    events sink;
    pthread_mutex_t lock; // events come from any worker
    bool terminal;        // stderr is one
    bool drawn;           // a progress line stands there
    char what[32];        // the phase that is measured
    uint64_t first;       // done when it began
    double began, last;   // seconds
} talk;

// command, quiet, verbose and progress_fd are set by the caller before. ERR_USAGE where the
// descriptor is none.
MUST_USE bool talk_open(talk *t, err *e);
void talk_close(talk *t); // clears a progress line

// From a signal handler: asks the running command to stop.
void talk_request_stop(void);

// "layer 12 of 61, 3.4 a second, 0:14 left". `did` units took `seconds`; buf holds 128 bytes.
const char *talk_progress_line(char *buf, const char *what, uint64_t done, uint64_t total,
                               uint64_t did, double seconds);

#endif
