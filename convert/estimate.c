// SPDX-License-Identifier: Apache-2.0
#include "convert/estimate.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/out.h"
#include "base/stream.h"
#include "base/sys.h"

// Enough to see a disk's rate, little enough to be done at once.
enum { SAMPLE = 64 << 20, SAMPLE_VALUES = 1 << 19, BLOCK = 1 << 20 };

static double rate_of(double done, double began)
{
    double seconds = sys_seconds() - began;
    return done / (seconds > 1e-6 ? seconds : 1e-6);
}

// The tensors of the slice: files follow each other in them.
typedef struct {
    int64_t first, end;
} range;

static range tensors_of(const plan *p, run_slice s)
{
    if (s.n == 0)
        return (range){0, 0};
    const plan_file *last = &p->file[s.first + s.n - 1];
    return (range){p->file[s.first].first, last->first + last->n};
}

// ---- reading ---------------------------------------------------------------------------------

// The plan's source tensors in the order of the output, until there are enough for a sample.
typedef struct {
    const plan *plan;
    int64_t tensor, end;
    int part;
    uint64_t left;
} sample;

static const tensor *next_source(sample *s)
{
    while (s->tensor < s->end) {
        const plan_tensor *t = &s->plan->tensor[s->tensor];
        if (t->from && s->part == 0) {
            s->part = 1;
            return t->from;
        }
        if (t->source && t->opens && s->part < t->source->n_parts)
            return t->source->part[s->part++];
        s->tensor++;
        s->part = 0;
    }
    return NULL;
}

static bool next_range(void *ctx, stream_range *out, bool *end, err *e)
{
    sample *s = ctx;
    const tensor *t = s->left ? next_source(s) : NULL;
    (void)e;
    *end = !t;
    if (!t)
        return true;
    uint64_t bytes = t->bytes < s->left ? t->bytes : s->left;
    s->left -= bytes;
    *out = (stream_range){checkpoint_file(s->plan->source, t->file),
                          t->offset, bytes};
    return true;
}

static bool try_reading(estimate *x, const plan *p, range tensors, const events *v, err *e)
{
    sample s = {.plan = p, .tensor = tensors.first, .end = tensors.end, .left = SAMPLE};
    const stream_options with = {.memory = STREAM_ENOUGH};
    stream *in;
    uint64_t done = 0, n = 1;
    const void *bytes;
    double began = sys_seconds();
    if (!stream_open(&in, next_range, &s, &with, e))
        return false;
    bool ok = true;
    while (ok && n > 0) {
        ok = event_go_on(v, e) && stream_take(in, UINT64_MAX, &bytes, &n, e);
        done += n;
    }
    stream_close(in);
    if (done)
        x->read_rate = rate_of((double)done, began);
    return ok;
}

// ---- writing ---------------------------------------------------------------------------------

// The nearest folder on the way there that exists.
static char *folder_that_is(const char *where, err *e)
{
    char *dir = path_resolve(where, e);
    while (dir && *dir && !path_is_dir(dir))
        *strrchr(dir, '/') = 0;
    if (dir && !*dir) {
        free(dir);
        dir = strdup("/");
        if (!dir)
            err_set(e, ERR_ENV, "no memory for a path");
    }
    return dir;
}

static bool try_writing(estimate *x, const char *dir, const events *v, err *e)
{
    uint64_t size = x->written < SAMPLE ? x->written : SAMPLE;
    void *block = mem_new(BLOCK, 1, "a block", e);
    out_file f = OUT_FILE_CLOSED;
    double began = sys_seconds();
    bool ok = block && out_open(&f, dir, ESTIMATE_NAME, size, NULL, 0, e) &&
              out_write_behind(&f, OUT_BEHIND_MOST, false, e);
    for (uint64_t at = 0; ok && at < size; at += BLOCK)
        ok = event_go_on(v, e) &&
             out_append(&f, block, size - at < BLOCK ? size - at : BLOCK, e);
    ok = ok && out_settle(&f, e);
    if (ok && sys_fdatasync(f.fd) != 0)
        ok = err_sys(e, "cannot sync a file in '%s'", dir);
    if (ok && size)
        x->write_rate = rate_of((double)size, began);
    out_discard(&f);
    free(block);
    return ok;
}

static bool same_device(const plan *p, const char *dir)
{
    struct stat to;
    if (stat(dir, &to) != 0)
        return true;
    for (int f = 0; f < checkpoint_n_files(p->source); f++)
        if (checkpoint_file(p->source, f)->dev == (uint64_t)to.st_dev)
            return true;
    return false;
}

// ---- coding ----------------------------------------------------------------------------------

// Weights that are coded alike take the same time a value.
static bool coded_alike(const plan_tensor *a, const plan_tensor *b)
{
    return a->codec == b->codec && a->source->codec == b->source->codec &&
           a->search == b->search && a->positive_scales == b->positive_scales;
}

static bool encode_sample(const plan_tensor *t, int64_t rows, const float *values, err *e)
{
    const codec *k = t->codec;
    // Moving blocks takes about as long as encoding without a search.
    const encode_options with = {.search = t->exact ? SEARCH_COMPAT : t->search,
                                 .positive_scales = t->positive_scales,
                                 .source = weight_plain_type(t->source),
                                 .whole_scale = codec_whole_scale(k, 1, DT_F32)};
    void *part[CODEC_MAX_PARTS] = {0};
    bool ok = true;
    for (int i = 0; ok && i < codec_written(k); i++) {
        part[i] = mem_new(codec_part_bytes(k, i, rows, t->source->in), 1, "encoded rows", e);
        ok = part[i] != NULL;
    }
    ok = ok && k->encode(k, t->source->in, rows, values, &with, part, e);
    for (int i = 0; i < codec_written(k); i++)
        free(part[i]);
    return ok;
}

// Seconds a value of weights like this one, on one thread.
static bool try_coding(const plan_tensor *t, double *seconds, err *e)
{
    const weight *w = t->source;
    scratch stored = {0};
    int64_t rows = SAMPLE_VALUES / w->in / t->codec->row_quantum * t->codec->row_quantum;
    rows = i64_min(rows > 0 ? rows : t->codec->row_quantum, w->out);
    float *values = mem_new((uint64_t)(rows * w->in), sizeof *values, "a block of rows", e);
    // Read twice: the first time pays for the disk, which the rate of reading has in it already.
    bool ok = values && weight_read_rows(w, 0, rows, values, &stored, e);
    double began = sys_seconds();
    ok = ok && weight_read_rows(w, 0, rows, values, &stored, e) &&
         encode_sample(t, rows, values, e);
    *seconds = (sys_seconds() - began) / (double)(rows * w->in);
    scratch_free(&stored);
    free(values);
    return ok;
}

static bool code_all(estimate *x, const plan *p, double *seconds, const estimate_options *o,
                     err *e)
{
    range tensors = tensors_of(p, o->slice);
    enum { KINDS = 32 }; // more of them go by the last one's pace
    const plan_tensor *kind[KINDS];
    double pace[KINDS];
    int n = 0;
    *seconds = 0;
    for (int64_t i = tensors.first; i < tensors.end; i++) {
        const plan_tensor *t = &p->tensor[i];
        int k = 0;
        if (!t->source || !t->starts || t->cut)
            continue;
        while (k < n && !coded_alike(kind[k], t))
            k++;
        if (k == n && n < KINDS) {
            if (!event_go_on(o->events, e) || !try_coding(t, &pace[n], e))
                return false;
            kind[n++] = t;
        }
        x->coded += weight_elements(t->source);
        *seconds += pace[k < n ? k : n - 1] * (double)weight_elements(t->source);
    }
    *seconds /= pool_threads(o->pool);
    if (*seconds > 0)
        x->code_rate = (double)x->coded / *seconds;
    return true;
}

// ---- all together ----------------------------------------------------------------------------

static void count_bytes(estimate *x, const plan *p, run_slice s)
{
    range tensors = tensors_of(p, s);
    for (int64_t i = tensors.first; i < tensors.end; i++) {
        const plan_tensor *t = &p->tensor[i];
        if (t->from)
            x->read += t->from->bytes;
        else if (t->starts)
            x->read += weight_stored_bytes(t->source);
    }
    for (int64_t f = s.first; f < s.first + s.n; f++)
        x->written += p->file[f].bytes;
}

// Reading, coding and writing overlap; on one device reading and writing share it.
static double combine(const estimate *x, double code)
{
    double read = x->read_rate > 0 ? (double)x->read / x->read_rate : 0;
    double write = x->write_rate > 0 ? (double)x->written / x->write_rate : 0;
    double disk = x->shared ? read + write : (read > write ? read : write);
    return disk > code ? disk : code;
}

bool estimate_plan(estimate *out, const plan *p, const estimate_options *o, err *e)
{
    estimate x = {0};
    double code = 0;
    *out = (estimate){0};
    char *dir = folder_that_is(o->output, e);
    if (!dir)
        return false;
    count_bytes(&x, p, o->slice);
    x.shared = same_device(p, dir);
    bool ok = try_reading(&x, p, tensors_of(p, o->slice), o->events, e) &&
              try_writing(&x, dir, o->events, e) && code_all(&x, p, &code, o, e);
    free(dir);
    if (!ok)
        return false;
    x.seconds = combine(&x, code);
    *out = x;
    return true;
}
