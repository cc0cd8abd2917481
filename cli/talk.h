// SPDX-License-Identifier: Apache-2.0
// What a command says beside its facts: warnings, notes and progress, all to stderr. Progress is
// drawn only on a terminal; machines get JSON lines on a descriptor of their choice, with a
// heartbeat where nothing else is to be said and the result as the last one (docs/progress.md).
// Also what asks a running command to stop: a signal, or the time it was given.
#ifndef SCRUPLE_CLI_TALK_H
#define SCRUPLE_CLI_TALK_H

#include <pthread.h>

#include "base/event.h"
#include "base/str.h"

typedef struct {
    const char *command;  // for the prefix of lines
    bool quiet, verbose;
    int progress_fd;      // 0: none
    int64_t max_duration; // seconds from talk_open to the request to stop; 0: none
    // From here on talk.c's own.
    events sink;
    pthread_mutex_t lock; // events come from any worker
    bool terminal;        // stderr is one
    bool drawn;           // a progress line stands there
    char what[32];        // the phase that is measured
    uint64_t first;       // done when it began
    uint64_t done, total;
    double began, last;   // seconds
    double opened, spoke; // when; the last line to progress_fd
    bool stuck;           // nobody reads it
    bool torn;            // a line of it has no end
    char overdue[64];     // why it stops, where it is the duration
    bool beats;           // a thread sends heartbeats
    bool quit;
    pthread_t heart;
    pthread_cond_t wake;
} talk;

enum {
    TALK_HEARTBEAT = 5,   // seconds of silence
    TALK_PATIENCE = 1000  // milliseconds that a reader may sleep before lines are lost
};

// command, quiet, verbose, progress_fd and max_duration are set by the caller before. ERR_USAGE
// where the descriptor is none.
MUST_USE bool talk_open(talk *t, err *e);
// Clears a progress line; tells machines how it ended (`result` is NULL where all is well).
void talk_close(talk *t, const err *result);

// From a signal handler: asks the running command to stop.
void talk_request_stop(void);

// "layer 12 of 61, 3.4 a second, 0:14 left". `did` units took `seconds`; buf holds 128 bytes.
const char *talk_progress_line(char *buf, const char *what, uint64_t done, uint64_t total,
                               uint64_t did, double seconds);

#endif
