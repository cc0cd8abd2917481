// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/out.h"
#include "convert/synth_parts.h"
#include "formats/shards.h"

enum {
    PIECE = 1 << 20,        // elements that a worker makes at a time
    STAGE_BYTES = 32 << 20, // at most of one tensor, made by all workers, then written
    TABLES = 1 << 20        // more than the tables of numbers take
};

typedef struct {
    const synth *s;
    pool *pool;
    const events *events;
    const char *dir;
    synth_tables *tables;
    unsigned char *stage;
    uint64_t stage_bytes; // a multiple of 8
    uint64_t done;       // tensor bytes
    int64_t published;   // files
} writer;

// ---- one tensor ------------------------------------------------------------------------------

typedef struct {
    const writer *w;
    const synth_tensor *t;
    uint64_t key;
    int64_t first, n;    // elements on the stage
} stage_job;

static bool fill_piece(void *ctx, int64_t begin, int64_t end, int worker, err *e)
{
    const stage_job *job = ctx;
    uint64_t width = (uint64_t)dtype_bits(job->t->t.type) / 8;
    (void)worker;
    (void)e;
    for (int64_t i = begin; i < end; i++) {
        int64_t at = i * PIECE, n = i64_min(PIECE, job->n - at);
        synth_fill(job->w->tables, &job->t->recipe, &job->t->t, job->key, job->first + at, n,
                   job->w->stage + (uint64_t)at * width);
    }
    return true;
}

static bool write_tensor(writer *w, out_file *file, const synth_tensor *t, err *e)
{
    uint64_t width = (uint64_t)dtype_bits(t->t.type) / 8;
    int64_t most = (int64_t)(w->stage_bytes / width);
    stage_job job = {.w = w, .t = t, .key = synth_key(w->s->seed, t->t.name)};
    for (; job.first < t->t.n_elements; job.first += job.n) {
        job.n = i64_min(most, t->t.n_elements - job.first);
        uint64_t bytes = (uint64_t)job.n * width;
        if (!event_go_on(w->events, e) ||
            !pool_for(w->pool, i64_ceil_div(job.n, PIECE), 1, fill_piece, &job, e) ||
            !out_append(file, w->stage, bytes, e))
            return false;
        w->done += bytes;
        event_progress(w->events, "bytes", w->done, w->s->tensor_bytes);
    }
    return true;
}

// ---- files -----------------------------------------------------------------------------------

static bool write_shard(writer *w, const synth_file *f, err *e)
{
    out_file file;
    bool ok = out_open(&file, w->dir, f->name, f->bytes, f->header.text, f->header.len, e);
    for (int64_t i = f->first; ok && i < f->first + f->n; i++)
        ok = write_tensor(w, &file, &w->s->tensor[i], e);
    if (ok)
        return out_publish(&file, false, NULL, e);
    out_discard(&file);
    return false;
}

// A header and a hole. Not through out_open, which reserves the space.
static bool write_hole(writer *w, const synth_file *f, err *e)
{
    char *temp = out_temp_path(w->dir, f->name, e);
    if (!temp)
        return false;
    int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    bool ok = fd >= 0;
    for (size_t put = 0; ok && put < f->header.len;) {
        ssize_t n = write(fd, f->header.text + put, f->header.len - put);
        ok = n > 0 || (n < 0 && errno == EINTR);
        put += n > 0 ? (size_t)n : 0;
    }
    ok = ok && ftruncate(fd, (off_t)f->bytes) == 0 && fsync(fd) == 0;
    if (!ok)
        err_sys(e, "cannot write '%s'", temp);
    if (fd >= 0)
        (void)close(fd);
    if (ok)
        ok = out_publish_temp(temp, w->dir, f->name, false, e);
    else if (fd >= 0)
        (void)unlink(temp);
    free(temp);
    w->done += f->bytes;
    event_progress(w->events, "bytes", w->done, w->s->file_bytes);
    return ok;
}

static bool write_index(const writer *w, err *e)
{
    strbuf text = {0};
    json_writer j = {.out = &text, .indent = 2};
    jw_object(&j, NULL);
    jw_object(&j, "metadata");
    jw_int(&j, "total_size", (int64_t)w->s->tensor_bytes);
    jw_object_end(&j);
    jw_object(&j, "weight_map");
    for (int64_t f = 0; f < w->s->n_files; f++)
        for (int64_t i = w->s->file[f].first; i < w->s->file[f].first + w->s->file[f].n; i++)
            jw_text(&j, w->s->tensor[i].t.name, w->s->file[f].name);
    jw_object_end(&j);
    jw_object_end(&j);
    strbuf_puts(&text, "\n");
    bool ok = strbuf_ok(&text, e) &&
              out_write_file(w->dir, SHARD_INDEX_NAME, text.text, text.len, false, NULL, e);
    strbuf_free(&text);
    return ok;
}

static bool write_all(writer *w, err *e)
{
    const synth *s = w->s;
    for (; w->published < s->n_files; w->published++) {
        const synth_file *f = &s->file[w->published];
        if (!event_go_on(w->events, e) || !(s->sparse ? write_hole : write_shard)(w, f, e))
            return false;
    }
    return (s->n_files < 2 || write_index(w, e)) &&
           out_write_file(w->dir, "config.json", s->config_text.text, s->config_text.len, false,
                          NULL, e);
}

// ---- the folder ------------------------------------------------------------------------------

static void remove_in(const char *dir, const char *name)
{
    err ignored = ERR_INIT;
    char *path = path_join(dir, name, &ignored);
    if (path)
        (void)unlink(path);
    free(path);
}

static bool is_ours(const char *name)
{
    return strcmp(name, SHARD_INDEX_NAME) == 0 || strcmp(name, "config.json") == 0 ||
           (str_starts(name, "model") && str_ends(name, ".safetensors"));
}

static bool says_synthetic(const char *dir)
{
    err ignored = ERR_INIT;
    char *text = NULL;
    size_t len;
    json *tree = NULL;
    bool yes = file_read_beneath(dir, "config.json", CONFIG_MAX_BYTES, &text, &len, &ignored) &&
               json_parse(&tree, text, len, "config.json", &ignored) &&
               json_get(tree, "scruple_synth") != NULL;
    json_free(tree);
    free(text);
    return yes;
}

// Nothing is removed before all that is there is known to be an earlier synthetic checkpoint.
static bool clear_folder(const char *dir, bool replace, err *e)
{
    dir_entry *entry;
    int64_t n;
    if (!dir_list(dir, &entry, &n, e))
        return false;
    bool ok = true;
    if (n > 0 && !replace)
        ok = err_set(e, ERR_ENV, "'%s' is not empty; --force replaces an earlier synthetic "
                     "checkpoint", dir);
    for (int64_t i = 0; ok && i < n; i++)
        if (!is_ours(entry[i].name))
            ok = err_set(e, ERR_ENV, "'%s/%s' is no part of a synthetic checkpoint: nothing is "
                         "replaced", dir, entry[i].name);
    if (ok && n > 0 && !says_synthetic(dir))
        ok = err_set(e, ERR_ENV, "'%s' holds a checkpoint whose config.json does not say that it "
                     "is synthetic: nothing is replaced", dir);
    // config.json goes first: without it nobody takes the rest for a model.
    if (ok && n > 0)
        remove_in(dir, "config.json");
    for (int64_t i = 0; ok && i < n; i++)
        remove_in(dir, entry[i].name);
    dir_list_free(entry, n);
    return ok;
}

bool synth_write(const synth *s, const char *dir, bool replace, pool *p, uint64_t memory,
                 const events *v, err *e)
{
    writer w = {.s = s, .pool = p, .events = v, .dir = dir};
    bool there = path_exists(dir);
    if (memory < SYNTH_LEAST)
        return err_set(e, ERR_ENV, "this needs %d MiB, --memory allows %llu; --memory %dMiB would "
                       "do", SYNTH_LEAST >> 20, (unsigned long long)(memory >> 20),
                       SYNTH_LEAST >> 20);
    memory = (memory - TABLES) / 2 & ~(uint64_t)7; // the other half for the output file's own
    w.stage_bytes = memory < STAGE_BYTES ? memory : STAGE_BYTES;
    if (!out_make_dir(dir, e) || !clear_folder(dir, replace, e) ||
        (!s->sparse && !out_has_space(dir, s->file_bytes, e)))
        goto failed;
    w.tables = mem_new(1, sizeof *w.tables, "tables of numbers", e);
    w.stage = w.tables ? mem_new_aligned(w.stage_bytes, 1, "a stage", e) : NULL;
    if (w.tables)
        synth_tables_fill(w.tables);
    bool ok = w.stage && write_all(&w, e);
    free(w.stage);
    free(w.tables);
    if (ok)
        return true;
    for (int64_t i = 0; i < w.published; i++)
        remove_in(dir, s->file[i].name);
    if (w.published == s->n_files)
        remove_in(dir, SHARD_INDEX_NAME);
failed:
    if (!there)
        (void)rmdir(dir);
    return false;
}
