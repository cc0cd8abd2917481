// SPDX-License-Identifier: Apache-2.0
#include "convert/calibrate.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/version.h"
#include "formats/source_sums.h"
#include "verify/passes.h"

typedef struct {
    stats_file *to;
    const model *model;
} observer;

static bool add_activation(void *ctx, int which, const activation *a, err *e)
{
    observer *o = ctx;
    stats_set *set;
    (void)which;
    int64_t n_experts = a->expert < 0 ? 1 : model_arch(o->model)->n_experts;
    if (!stats_file_set(o->to, a->role, a->layer, n_experts, a->cols, &set, e))
        return false;
    stats_add(&set->sums, a->expert < 0 ? 0 : a->expert, a->x, a->route, a->rows);
    return true;
}

// Bytes of all sums that the run will have in the end.
static uint64_t sums_bytes(const model *m)
{
    const arch *a = model_arch(m);
    uint64_t bytes = 0;
    for (int64_t layer = 0; layer < a->n_layers; layer++) {
        for (int r = 0; r < ROLE_COUNT; r++) {
            bool expert = role_is_expert((role)r);
            const weight *w = model_weight(m, (role)r, layer, expert ? 0 : -1);
            if (!w || !role_is_linear((role)r) || forward_announced_as(a, (role)r) != (role)r)
                continue;
            enum { COUNTS = 3 };
            bytes += (uint64_t)(expert ? a->n_experts : 1) * (uint64_t)(w->in + COUNTS) * 8;
        }
    }
    return bytes;
}

// One object: the model's files, the tokens, how they were cut.
static bool describe_run(stats_file *f, const calibrate_options *o, err *e)
{
    const checkpoint *c = model_checkpoint(o->model);
    strbuf text = {0};
    char hex[65];
    json_writer w = {.out = &text};
    sha256_digest *sums = mem_new((uint64_t)checkpoint_n_files(c), sizeof *sums, "digests", e);
    bool ok = sums && source_sums(c, o->pool, o->events, sums, e);
    if (ok) {
        jw_array(&w, NULL);
        jw_object(&w, NULL);
        jw_text(&w, "version", SCRUPLE_VERSION);
        jw_text(&w, "family", model_arch(o->model)->family);
        jw_object(&w, "model");
        source_sums_write(&w, c, sums);
        jw_object_end(&w);
        jw_text(&w, "tokens_sha256", hex_of(o->windows->sha.b, sizeof o->windows->sha.b, hex));
        jw_int(&w, "windows", o->windows->n);
        jw_int(&w, "context", o->windows->len);
        jw_int(&w, "dropped_tokens", o->windows->dropped);
        jw_bool(&w, "bos", o->windows->with_bos);
        jw_object_end(&w);
        jw_array_end(&w);
        ok = strbuf_ok(&text, e);
    }
    free(sums);
    if (!ok) {
        strbuf_free(&text);
        return false;
    }
    f->made_from = text.text;
    return true;
}

static passes passes_of(const calibrate_options *o)
{
    return (passes){.n_models = 1,
                    .model = {o->model},
                    .tokens = o->windows->tokens,
                    .n = o->windows->n,
                    .len = o->windows->len,
                    .pool = o->pool,
                    .memory = o->memory,
                    .held = sums_bytes(o->model),
                    .events = o->events,
                    .on_activation = add_activation};
}

bool calibrate_check(const calibrate_options *o, uint64_t *bytes, err *e)
{
    passes run = passes_of(o);
    *bytes = run.held;
    return passes_check(&run, e);
}

bool calibrate(stats_file *out, const calibrate_options *o, err *e)
{
    stats_file f = {0};
    observer watch = {&f, o->model};
    passes run = passes_of(o);
    run.ctx = &watch;
    *out = (stats_file){0};
    if (!passes_run(&run, e) || !describe_run(&f, o, e)) {
        stats_file_free(&f);
        return false;
    }
    *out = f;
    return true;
}

// The sums that a matrix' input adds up to; NULL in *sums where there are none.
static bool find_sums(const importance_source *s, role r, int64_t layer, int64_t expert, int64_t in,
                      const stats **sums, err *e)
{
    const arch *a = model_arch(s->model);
    int64_t n_experts = expert < 0 ? 1 : a->n_experts;
    *sums = stats_file_find(s->file, forward_announced_as(a, r), layer);
    if (!*sums || ((*sums)->cols == in && (*sums)->n_experts == n_experts))
        return true;
    return err_set(e, ERR_INPUT, "the statistics are of another model: layer %lld %s has %lld x "
                   "%lld input columns there, %lld x %lld here", (long long)layer, role_name(r),
                   (long long)(*sums)->n_experts, (long long)(*sums)->cols, (long long)n_experts,
                   (long long)in);
}

bool importance_has(const importance_source *s, role r, int64_t layer, int64_t expert, int64_t in,
                    bool *has, err *e)
{
    const stats *sums;
    bool ok = find_sums(s, r, layer, expert, in, &sums, e);
    *has = ok && sums;
    return ok;
}

bool importance_of(const importance_source *s, role r, int64_t layer, int64_t expert, int64_t in,
                   float *to, bool *has, err *e)
{
    const stats *sums;
    *has = false;
    if (!find_sums(s, r, layer, expert, in, &sums, e))
        return false;
    if (!sums)
        return true;
    double *prior = mem_new((uint64_t)in, sizeof *prior, "importance", e);
    if (!prior)
        return false;
    // Inputs of gate and up have the layer's column energies as prior; those of down, which other
    // experts' neurons tell nothing about, the layer's mean energy in every column.
    stats_prior(sums, r == ROLE_EXPERT_DOWN, prior);
    stats_importance(sums, expert < 0 ? 0 : expert, prior, to);
    free(prior);
    *has = true;
    return true;
}
