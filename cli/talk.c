// SPDX-License-Identifier: Apache-2.0
#include "cli/talk.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"

static const double redraw = 1.0 / 6; // seconds between two drawings
static volatile sig_atomic_t stop_requested;

void talk_request_stop(void) { stop_requested = 1; }

static bool asked_to_stop(void *ctx)
{
    (void)ctx;
    return stop_requested;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

// One line in one write, so that lines of several writers do not mix. A descriptor that cannot be
// written to is no reason to fail the work.
static void send_line(int fd, const strbuf *line)
{
    size_t at = 0;
    while (!line->failed && at < line->len) {
        ssize_t n = write(fd, line->text + at, line->len - at);
        if (n < 0 && errno != EINTR)
            return;
        at += n > 0 ? (size_t)n : 0;
    }
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
    json_writer w = {.out = &text};
    jw_object(&w, NULL);
    jw_text(&w, "event", "warning");
    jw_text(&w, "text", line);
    jw_object_end(&w);
    strbuf_puts(&text, "\n");
    send_line(t->progress_fd, &text);
    strbuf_free(&text);
}

static void note(void *ctx, const char *line)
{
    talk *t = ctx;
    if (t->verbose)
        say(t, "", line);
}

static const char *duration(char buf[32], double seconds)
{
    uint64_t s = seconds < 1e9 ? (uint64_t)(seconds + 0.5) : 1000000000;
    if (s < 3600)
        (void)snprintf(buf, 32, "%u:%02u", (unsigned)(s / 60), (unsigned)(s % 60));
    else
        (void)snprintf(buf, 32, "%llu:%02u:%02u", (unsigned long long)(s / 3600),
                       (unsigned)(s / 60 % 60), (unsigned)(s % 60));
    return buf;
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
    (void)snprintf(buf + at, ROOM - at, ", %s left", duration(a, (double)(total - done) / rate));
    return buf;
}

static void send_progress(const talk *t, uint64_t done, uint64_t total, double seconds)
{
    strbuf text = {0};
    json_writer w = {.out = &text};
    jw_object(&w, NULL);
    jw_text(&w, "event", "progress");
    jw_text(&w, "what", t->what);
    jw_int(&w, "done", (int64_t)done);
    jw_int(&w, "total", (int64_t)total);
    strbuf_printf(&text, ",\"seconds\":%.3f", seconds);
    jw_object_end(&w);
    strbuf_puts(&text, "\n");
    send_line(t->progress_fd, &text);
    strbuf_free(&text);
}

static void progress(void *ctx, const char *what, uint64_t done, uint64_t total)
{
    talk *t = ctx;
    if (!t->terminal && t->progress_fd == 0)
        return;
    pthread_mutex_lock(&t->lock);
    double time = now();
    if (strncmp(t->what, what, sizeof t->what - 1) != 0 || done < t->first) {
        (void)snprintf(t->what, sizeof t->what, "%s", what);
        t->first = done;
        t->began = time;
        t->last = 0;
    }
    if (time - t->last >= redraw || done == total) {
        t->last = time;
        if (t->progress_fd > 0)
            send_progress(t, done, total, time - t->began);
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

bool talk_open(talk *t, err *e)
{
    if (t->progress_fd > 0 && fcntl(t->progress_fd, F_GETFL) < 0)
        return err_set(e, ERR_USAGE, "--progress-fd %d is no open file descriptor",
                       t->progress_fd);
    (void)pthread_mutex_init(&t->lock, NULL);
    t->terminal = !t->quiet && isatty(STDERR_FILENO) == 1;
    t->sink = (events){.warn = warn, .note = note, .progress = progress, .stop = asked_to_stop,
                       .ctx = t};
    return true;
}

void talk_close(talk *t)
{
    erase(t);
    (void)pthread_mutex_destroy(&t->lock);
}
