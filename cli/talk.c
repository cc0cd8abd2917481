// SPDX-License-Identifier: Apache-2.0
#include "cli/talk.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "base/sys.h"

static const double redraw = 1.0 / 6; // seconds between two drawings
static volatile sig_atomic_t stop_requested;

void talk_request_stop(void) { stop_requested = 1; }

static bool is_overdue(const talk *t)
{
    return t->max_duration > 0 && sys_seconds() - t->opened >= (double)t->max_duration;
}

static bool asked_to_stop(void *ctx) { return stop_requested || is_overdue(ctx); }

static const char *why_stopped(void *ctx)
{
    const talk *t = ctx;
    return stop_requested ? "stopped on request" : t->overdue;
}

// Whether the descriptor takes up to PIPE_BUF bytes without a wait, sooner or later: a reader that
// sleeps is waited for once, after that its lines are lost until it wakes up. Where polling fails,
// writing says why.
static bool takes_more(talk *t)
{
    struct pollfd ready = {.fd = t->progress_fd, .events = POLLOUT};
    int n;
    do
        n = poll(&ready, 1, t->stuck ? 0 : TALK_PATIENCE);
    while (n < 0 && errno == EINTR);
    t->stuck = n == 0;
    return !t->stuck;
}

// One line in one write, so that lines of several writers do not mix. A descriptor that cannot be
// written to is no reason to fail the work, and one that nobody reads none to wait: whoever asks
// the command to stop would wait as well. Ends the line's object; t->lock is held.
static void send_line(talk *t, strbuf *line, json_writer *w)
{
    size_t at = 0;
    strbuf_printf(line, ",\"seconds\":%.3f", sys_seconds() - t->opened);
    jw_object_end(w);
    strbuf_puts(line, "\n");
    while (!line->failed && !t->torn && at < line->len && takes_more(t)) {
        size_t piece = line->len - at < PIPE_BUF ? line->len - at : PIPE_BUF;
        ssize_t n = write(t->progress_fd, line->text + at, piece);
        if (n < 0 && errno != EINTR)
            break;
        at += n > 0 ? (size_t)n : 0;
    }
    t->torn |= at > 0 && at < line->len; // nothing that follows could be read
    t->spoke = sys_seconds();
    strbuf_free(line);
}

static json_writer begin_line(strbuf *line, const char *event)
{
    json_writer w = {.out = line};
    jw_object(&w, NULL);
    jw_text(&w, "event", event);
    return w;
}

static void erase(talk *t)
{
    if (t->drawn)
        (void)fputs("\r\033[K", stderr);
    t->drawn = false;
}

static void say(talk *t, const char *label, const char *line)
{
    err printable = ERR_INIT; // names from files may hold anything
    err_set(&printable, ERR_NONE, "%s", line);
    pthread_mutex_lock(&t->lock);
    erase(t);
    (void)fprintf(stderr, "scruple %s: %s%s\n", t->command, label, printable.text);
    pthread_mutex_unlock(&t->lock);
}

static void warn(void *ctx, const char *line)
{
    talk *t = ctx;
    if (!t->quiet)
        say(t, "warning: ", line);
    if (t->progress_fd == 0)
        return;
    strbuf text = {0};
    json_writer w = begin_line(&text, "warning");
    jw_text(&w, "text", line);
    pthread_mutex_lock(&t->lock);
    send_line(t, &text, &w);
    pthread_mutex_unlock(&t->lock);
}

static void note(void *ctx, const char *line)
{
    talk *t = ctx;
    if (t->verbose)
        say(t, "", line);
}

const char *talk_progress_line(char *buf, const char *what, uint64_t done, uint64_t total,
                               uint64_t did, double seconds)
{
    enum { ROOM = 128 };
    char a[32], b[24];
    bool bytes = strcmp(what, "bytes") == 0;
    double rate = seconds > 0 ? (double)did / seconds : 0;
    int n = bytes ? snprintf(buf, ROOM, "%s of %s", str_human_bytes(done, a),
                             str_human_bytes(total, b))
                  : snprintf(buf, ROOM, "%s %llu of %llu", what, (unsigned long long)done,
                             (unsigned long long)total);
    if (!(rate > 0) || seconds < 0.5 || n < 0 || n >= ROOM)
        return buf;
    size_t at = (size_t)n;
    n = bytes ? snprintf(buf + at, ROOM - at, ", %s a second",
                         str_human_bytes((uint64_t)rate, a))
              : snprintf(buf + at, ROOM - at, ", %.3g a second", rate);
    if (n < 0 || (at += (size_t)n) >= ROOM || total < done)
        return buf;
    (void)snprintf(buf + at, ROOM - at, ", %s left",
                   str_duration((double)(total - done) / rate, a));
    return buf;
}

static int64_t peak_bytes(void)
{
    struct rusage u;
    return getrusage(RUSAGE_SELF, &u) == 0 ? (int64_t)u.ru_maxrss * 1024 : 0;
}

// Where it stands. t->lock is held.
static void send_progress(talk *t, const char *event)
{
    strbuf text = {0};
    json_writer w = begin_line(&text, event);
    if (t->what[0]) {
        jw_text(&w, "what", t->what);
        jw_int(&w, "done", (int64_t)t->done);
        jw_int(&w, "total", (int64_t)t->total);
    }
    jw_int(&w, "peak_memory", peak_bytes());
    send_line(t, &text, &w);
}

static void send_result(talk *t, const err *result)
{
    strbuf text = {0};
    json_writer w = begin_line(&text, "result");
    jw_text(&w, "command", t->command);
    jw_int(&w, "status", result ? (int64_t)result->kind : 0);
    if (result)
        jw_text(&w, "text", result->text);
    jw_int(&w, "peak_memory", peak_bytes());
    send_line(t, &text, &w);
}

// A scheduler takes a silent process for a dead one.
static void *beat(void *arg)
{
    talk *t = arg;
    pthread_mutex_lock(&t->lock);
    while (!t->quit) {
        double due = t->spoke + TALK_HEARTBEAT, time = sys_seconds();
        if (time >= due) {
            send_progress(t, "heartbeat");
            continue;
        }
        struct timespec until = {.tv_sec = (time_t)due,
                                 .tv_nsec = (long)((due - (double)(time_t)due) * 1e9)};
        (void)pthread_cond_timedwait(&t->wake, &t->lock, &until);
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

static void progress(void *ctx, const char *what, uint64_t done, uint64_t total)
{
    talk *t = ctx;
    if (!t->terminal && t->progress_fd == 0)
        return;
    pthread_mutex_lock(&t->lock);
    double time = sys_seconds();
    if (strncmp(t->what, what, sizeof t->what - 1) != 0 || done < t->first) {
        (void)snprintf(t->what, sizeof t->what, "%s", what);
        t->first = done;
        t->began = time;
        t->last = 0;
    }
    t->done = done;
    t->total = total;
    if (time - t->last >= redraw || done == total) {
        t->last = time;
        if (t->progress_fd > 0)
            send_progress(t, "progress");
        if (t->terminal) {
            char line[128];
            (void)fprintf(stderr, "\r\033[Kscruple %s: %s", t->command,
                          talk_progress_line(line, t->what, done, total, done - t->first,
                                             time - t->began));
            t->drawn = true;
        }
    }
    pthread_mutex_unlock(&t->lock);
}

static void init_clock(pthread_cond_t *c)
{
    pthread_condattr_t steady;
    (void)pthread_condattr_init(&steady); // these cannot fail on Linux
    (void)pthread_condattr_setclock(&steady, CLOCK_MONOTONIC);
    (void)pthread_cond_init(c, &steady);
    (void)pthread_condattr_destroy(&steady);
}

// Signals are for the thread that the command runs in. Without a thread there are no heartbeats.
static bool start_heart(talk *t)
{
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    bool ok = pthread_create(&t->heart, NULL, beat, t) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return ok;
}

bool talk_open(talk *t, err *e)
{
    if (t->progress_fd > 0 && fcntl(t->progress_fd, F_GETFL) < 0)
        return err_set(e, ERR_USAGE, "--progress-fd %d is no open file descriptor",
                       t->progress_fd);
    (void)pthread_mutex_init(&t->lock, NULL);
    init_clock(&t->wake);
    t->opened = t->spoke = sys_seconds();
    (void)snprintf(t->overdue, sizeof t->overdue, "stopped after --max-duration (%lld s)",
                   (long long)t->max_duration);
    t->terminal = !t->quiet && isatty(STDERR_FILENO) == 1;
    t->sink = (events){.warn = warn, .note = note, .progress = progress, .stop = asked_to_stop,
                       .why = why_stopped, .ctx = t};
    t->beats = t->progress_fd > 0 && start_heart(t);
    return true;
}

void talk_close(talk *t, const err *result)
{
    pthread_mutex_lock(&t->lock);
    t->quit = true;
    (void)pthread_cond_signal(&t->wake);
    erase(t);
    pthread_mutex_unlock(&t->lock);
    if (t->beats)
        (void)pthread_join(t->heart, NULL);
    t->stuck = false;
    if (t->progress_fd > 0)
        send_result(t, result);
    (void)pthread_cond_destroy(&t->wake);
    (void)pthread_mutex_destroy(&t->lock);
}
