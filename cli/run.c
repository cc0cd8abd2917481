// SPDX-License-Identifier: Apache-2.0
// One command from its words to its exit status.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cgroup.h"
#include "base/cpu.h"
#include "base/mem.h"
#include "cli/help.h"
#include "cli/shared.h"
#include "cli/talk.h"

void command_complain(const char *name, const err *e)
{
    static const char *const labels[] = {[ERR_NO] = "failed", [ERR_USAGE] = "error",
                                         [ERR_INPUT] = "error", [ERR_ENV] = "error",
                                         [ERR_INTERRUPTED] = "interrupted",
                                         [ERR_INTERNAL] = "internal error"};
    (void)fprintf(stderr, "scruple%s%s: %s: %s\n", name ? " " : "", name ? name : "",
                  labels[e->kind], e->text);
    if (e->kind == ERR_USAGE)
        (void)fprintf(stderr, "see: scruple help%s%s\n", name ? " " : "", name ? name : "");
}

bool command_close_stdout(err *e)
{
    bool bad = ferror(stdout) != 0;
    errno = 0;
    if (fflush(stdout) != 0)
        bad = true;
    if (fclose(stdout) != 0 && errno != EINTR) // interrupted, it is closed all the same
        bad = true;
    if (!bad)
        return true;
    // An earlier write may have failed and left no reason behind.
    return errno ? err_sys(e, "cannot write to stdout")
                 : err_set(e, ERR_ENV, "cannot write to stdout");
}

static bool print_help(const command *c, err *e)
{
    strbuf text = {0};
    help_command(c, &text);
    bool ok = strbuf_ok(&text, e);
    if (ok)
        (void)fputs(text.text, stdout);
    strbuf_free(&text);
    return ok;
}

// A container's memory limit kills without a word, so it bounds the ceiling: an eighth is left for
// the page cache that counts against it.
static uint64_t memory_ceiling(uint64_t asked, const events *v)
{
    uint64_t limit = cgroup_memory(CGROUP_SELF, CGROUP_MOUNT);
    char a[24], b[24];
    if (limit == UINT64_MAX || asked <= limit - limit / 8)
        return asked;
    event_note(v, "the control group allows %s of memory; the ceiling is %s",
               str_human_bytes(limit, a), str_human_bytes(limit - limit / 8, b));
    return limit - limit / 8;
}

// Shared options carried out, then the command itself.
static bool carry_out(const command *c, const shared_options *s, const void *own, context *ctx,
                      err *e)
{
    ctx->json = s->json.json;
    ctx->quiet = s->common.quiet;
    ctx->verbose = s->common.verbose;
    ctx->force = s->output.force;
    ctx->dry_run = s->output.dry_run;
    if (ctx->quiet && ctx->verbose)
        return err_set(e, ERR_USAGE, "--quiet and --verbose exclude each other");
    if (s->common.cpu && !cpu_use((cpu_level)(s->common.cpu - 1), e))
        return false;
    talk t = {.command = c->name, .quiet = ctx->quiet, .verbose = ctx->verbose,
              .progress_fd = (int)s->common.progress_fd,
              .max_duration = s->common.max_duration};
    if (!talk_open(&t, e))
        return false;
    ctx->events = &t.sink;
    ctx->memory = memory_ceiling(s->common.memory, ctx->events);
    bool ok = !(c->flags & COMMAND_POOL) || pool_open(&ctx->pool, (int)s->common.threads, e);
    pool_watch(ctx->pool, ctx->events);
    ok = ok && c->run(ctx, own, e);
    pool_close(ctx->pool);
    talk_close(&t, ok ? NULL : e);
    return ok;
}

int command_main(const command *c, int argc, char *const *argv)
{
    err e = ERR_INIT, late = ERR_INIT;
    shared_options shared = {0};
    option_set sets[SHARED_SETS];
    context ctx = {.argc = argc, .argv = argv};
    void *own = mem_new(1, c->options_size, "options", &e);
    size_t n = own ? shared_sets(c, own, &shared, sets) : 0;
    bool ok = own && options_parse(sets, n, argc - 1, argv + 1, &e);
    if (ok)
        ok = shared.common.help ? print_help(c, &e) : carry_out(c, &shared, own, &ctx, &e);
    options_free(sets, n);
    free(own);
    if (!ok)
        command_complain(c->name, &e);
    if (!command_close_stdout(&late)) {
        if (ok) {
            command_complain(c->name, &late);
            e = late;
        }
        ok = false;
    }
    return ok ? 0 : (int)e.kind;
}
