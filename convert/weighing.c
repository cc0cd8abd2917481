// SPDX-License-Identifier: Apache-2.0
#include "convert/weighing.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "formats/llama_names.h"

// ---- opening ---------------------------------------------------------------------------------

static bool describe_statistics(weighing *v, json_writer *w, err *e)
{
    stats_coverage *rows = NULL;
    int64_t n = 0;
    if (!stats_file_coverage(&v->file, &rows, &n, e))
        return false;
    jw_raw(w, "made_from", v->file.made_from);
    jw_array(w, "coverage");
    for (int64_t i = 0; i < n; i++) {
        jw_object(w, NULL);
        jw_int(w, "layer", rows[i].layer);
        jw_int(w, "min", rows[i].min);
        jw_int(w, "median", rows[i].median);
        jw_int(w, "never_hit", rows[i].never_hit);
        jw_object_end(w);
    }
    jw_array_end(w);
    free(rows);
    return true;
}

static void describe_imatrix(const imatrix *m, json_writer *w)
{
    jw_text(w, "imatrix", m->form == IMATRIX_GGUF ? "gguf" : "dat");
    jw_int(w, "entries", m->n);
    if (m->chunks >= 0)
        jw_int(w, "chunks", m->chunks);
}

static bool describe(weighing *v, err *e)
{
    char hex[65];
    bool ok = true;
    json_writer w = {.out = &v->description};
    jw_object(&w, NULL);
    jw_text(&w, "sha256", hex_of(v->sha.b, sizeof v->sha.b, hex));
    if (v->has_imatrix)
        describe_imatrix(&v->imatrix, &w);
    else
        ok = describe_statistics(v, &w, e);
    jw_object_end(&w);
    return ok && strbuf_ok(&v->description, e);
}

static bool read_file(weighing *w, const char *path, err *e)
{
    if (!imatrix_looks(path, &w->has_imatrix, e))
        return false;
    bool is = w->has_imatrix;
    if (!is && !stats_file_looks(path, &is, e))
        return false;
    if (!is)
        return err_set(e, ERR_INPUT, "'%s' is neither a statistics file of scruple calibrate nor "
                       "an imatrix of llama.cpp", path);
    if (!w->has_imatrix)
        return stats_file_read(&w->file, path, &w->sha, e);
    return imatrix_open(&w->imatrix, path, e) && sha256_of_file(path, &w->sha, e);
}

bool weighing_open(weighing *w, const char *path, err *e)
{
    *w = (weighing){.imatrix.in = IN_FILE_CLOSED};
    w->source.file = &w->file;
    if (read_file(w, path, e) && describe(w, e))
        return true;
    weighing_close(w);
    return false;
}

void weighing_close(weighing *w)
{
    stats_file_free(&w->file);
    if (w->has_imatrix)
        imatrix_close(&w->imatrix);
    strbuf_free(&w->description);
    *w = (weighing){.imatrix.in = IN_FILE_CLOSED};
}

// ---- an imatrix ------------------------------------------------------------------------------

static void warn(weighing *w, const char *module, const char *what, const char *name,
                 const char *then)
{
    enum { NAMED = 5 };
    const events *v = w->events ? *w->events : NULL;
    if (++w->warned <= NAMED)
        event_warn(v, "%s: the imatrix %s '%s'; %s", module, what, name, then);
    else if (w->warned == NAMED + 1)
        event_warn(v, "further weights that the imatrix knows nothing of are not named");
}

// The entry of a weight by its own name, or by llama.cpp's, of all experts or of one; *first: where
// its numbers begin.
static bool find_entry(const weighing *w, const weighed *t, const imatrix_entry **x,
                       int64_t *first, char name[LLAMA_NAME_TEXT], err *e)
{
    strbuf own = {0};
    char single[LLAMA_NAME_TEXT];
    int64_t slices = 1;
    *first = 0;
    strbuf_printf(&own, "%s.weight", t->weight->module);
    bool ok = strbuf_ok(&own, e);
    *x = ok ? imatrix_find(&w->imatrix, own.text) : NULL;
    strbuf_free(&own);
    const char *theirs = llama_weight_name(t->role, t->layer, name);
    if (ok && !*x && theirs) {
        *x = imatrix_find(&w->imatrix, theirs);
        slices = t->expert < 0 ? 1 : model_arch(w->source.model)->n_experts;
        *first = t->expert < 0 ? 0 : t->expert * t->weight->in;
    }
    if (ok && !*x && llama_expert_name(t->role, t->layer, t->expert, single)) {
        *x = imatrix_find(&w->imatrix, single);
        slices = 1;
        *first = 0;
    }
    if (*x && (*x)->n != slices * t->weight->in)
        return err_set(e, ERR_INPUT, "the imatrix is of another model: '%s' has %lld numbers "
                       "there, %lld x %lld input columns here", (*x)->name, (long long)(*x)->n,
                       (long long)slices, (long long)t->weight->in);
    return ok;
}

// What will be missed is said before anything is made.
static bool look_into_imatrix(weighing *w, const weighed *t, err *e)
{
    char name[LLAMA_NAME_TEXT] = "";
    const imatrix_entry *x;
    int64_t first;
    bool unseen;
    if (!find_entry(w, t, &x, &first, name, e))
        return false;
    if (!x) {
        warn(w, t->weight->module, "has no entry", *name ? name : t->weight->module,
             "it is searched unweighted");
        return true;
    }
    if (!imatrix_unseen(&w->imatrix, x, first, &unseen, e))
        return false;
    if (unseen)
        warn(w, t->weight->module, "counts no tokens for it in", x->name,
             "all its columns weigh the same");
    return true;
}

static bool weigh_by_imatrix(weighing *w, const weighed *t, float *to, bool *has, err *e)
{
    char name[LLAMA_NAME_TEXT];
    const imatrix_entry *x;
    int64_t first, unseen;
    if (!find_entry(w, t, &x, &first, name, e))
        return false;
    if (!x)
        return true;
    if (!imatrix_read(&w->imatrix, x, first, t->weight->in, to, &unseen, e))
        return false;
    stats_importance_of_means(to, t->weight->in);
    *has = true;
    return true;
}

// ---- doors -----------------------------------------------------------------------------------

static bool knows_nothing(const weighed *t, err *e)
{
    return err_set(e, ERR_INPUT, "the statistics know nothing of %s of layer %lld; calibrate "
                   "this model, or leave --stats away", role_name(t->role), (long long)t->layer);
}

bool weighing_at(weighing *w, const weighed *t, float *to, bool *has, err *e)
{
    *has = false;
    if (w->has_imatrix)
        return weigh_by_imatrix(w, t, to, has, e);
    return importance_of(&w->source, t->role, t->layer, t->expert, t->weight->in, to, has, e) &&
           (*has || knows_nothing(t, e));
}

static weighed weighed_of(const plan_tensor *t)
{
    return (weighed){t->source, t->role, t->layer, t->expert};
}

bool weighing_of(void *ctx, const model *m, const plan_tensor *t, float *to, bool *has, err *e)
{
    weighing *w = ctx;
    const weighed what = weighed_of(t);
    *has = false;
    w->source.model = m;
    return !codec_is_searched(t->codec) || weighing_at(w, &what, to, has, e);
}

bool weighing_check(void *ctx, const model *m, const plan_tensor *t, err *e)
{
    weighing *w = ctx;
    const weighed what = weighed_of(t);
    bool has;
    w->source.model = m;
    if (!codec_is_searched(t->codec))
        return true;
    if (w->has_imatrix)
        return look_into_imatrix(w, &what, e);
    return importance_has(&w->source, t->role, t->layer, t->expert, t->source->in, &has, e) &&
           (has || knows_nothing(&what, e));
}
