// SPDX-License-Identifier: Apache-2.0
#include "convert/weighing.h"

#include <stdlib.h>

#include "base/json.h"

static bool describe(weighing *v, err *e)
{
    char hex[65];
    stats_coverage *rows = NULL;
    int64_t n = 0;
    if (!stats_file_coverage(&v->file, &rows, &n, e))
        return false;
    json_writer w = {.out = &v->description};
    jw_object(&w, NULL);
    jw_text(&w, "sha256", hex_of(v->sha.b, sizeof v->sha.b, hex));
    jw_raw(&w, "made_from", v->file.made_from);
    jw_array(&w, "coverage");
    for (int64_t i = 0; i < n; i++) {
        jw_object(&w, NULL);
        jw_int(&w, "layer", rows[i].layer);
        jw_int(&w, "min", rows[i].min);
        jw_int(&w, "median", rows[i].median);
        jw_int(&w, "never_hit", rows[i].never_hit);
        jw_object_end(&w);
    }
    jw_array_end(&w);
    jw_object_end(&w);
    free(rows);
    return strbuf_ok(&v->description, e);
}

bool weighing_open(weighing *w, const char *path, err *e)
{
    *w = (weighing){0};
    w->source.file = &w->file;
    if (stats_file_read(&w->file, path, &w->sha, e) && describe(w, e))
        return true;
    weighing_close(w);
    return false;
}

void weighing_close(weighing *w)
{
    stats_file_free(&w->file);
    strbuf_free(&w->description);
    *w = (weighing){0};
}

bool weighing_of(void *ctx, const model *m, const plan_tensor *t, float *to, bool *has, err *e)
{
    weighing *w = ctx;
    *has = false;
    if (!codec_is_searched(t->codec))
        return true; // importance decides none of its bytes
    w->source.model = m;
    if (!importance_of(&w->source, t->role, t->layer, t->expert, t->source->in, to, has, e))
        return false;
    if (!*has)
        return err_set(e, ERR_INPUT, "the statistics know nothing of %s of layer %lld; calibrate "
                       "this model, or leave --stats away", role_name(t->role),
                       (long long)t->layer);
    return true;
}
