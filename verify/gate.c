// SPDX-License-Identifier: Apache-2.0
#include "verify/gate.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "verify/router_parity.h"

static const struct {
    const char *name;
    double low, high;
} thresholds[GATE_COUNT] = {
    [GATE_EXACT] = {"exact", 0, 1},
    [GATE_MIN_SQNR_DB] = {"min_sqnr_db", -1000, 1000},
    [GATE_MAX_STEPS] = {"max_steps", 0, 1e30},
    [GATE_MAX_MEAN_KLD] = {"max_mean_kld", 0, 1e30},
    [GATE_MAX_KLD_P99] = {"max_kld_p99", 0, 1e30},
    [GATE_MIN_TOP1_AGREEMENT] = {"min_top1_agreement", 0, 1},
    [GATE_MAX_NLL_INCREASE] = {"max_nll_increase", -1e30, 1e30},
    [GATE_MIN_ROUTER_AGREEMENT] = {"min_router_agreement", 0, 1},
    [GATE_MIN_ROUTER_AGREEMENT_LARGE_MARGIN] = {"min_router_agreement_large_margin", 0, 1},
};

const char *gate_threshold_name(gate_threshold t) { return thresholds[t].name; }

// ---- built in --------------------------------------------------------------------------------

static void set(gate *g, gate_threshold t, double value)
{
    g->has[t] = true;
    g->value[t] = value;
}

// The pair of codecs that decides: of the first expert whose codec the candidate changed, else of
// the first such weight; NULL where it changed none.
static void deciding(const model *ref, const model *cand, const codec **a, const codec **b)
{
    const checkpoint *c = model_checkpoint(ref);
    *a = *b = NULL;
    for (int64_t i = 0; i < checkpoint_count(c); i++) {
        const tensor_account *t = model_account(ref, i);
        const weight *other = t->used ? model_weight(cand, t->role, t->layer, t->expert) : NULL;
        if (!other || other->codec == t->weight->codec)
            continue;
        if (!*a || role_is_expert(t->role)) {
            *a = t->weight->codec;
            *b = other->codec;
        }
        if (role_is_expert(t->role))
            return;
    }
}

bool gate_builtin(gate *g, const model *ref, const model *cand, err *e)
{
    const codec *a, *b;
    *g = (gate){0};
    deciding(ref, cand, &a, &b);
    if (!a) {
        g->name = "built-in: same types, identical";
        set(g, GATE_EXACT, 1);
        set(g, GATE_MAX_MEAN_KLD, 0);
        return true;
    }
    strbuf name = {0};
    strbuf_printf(&name, "built-in: %s", b->name);
    g->name = strbuf_ok(&name, e) ? arena_text(&g->texts, name.text, name.len, e) : NULL;
    strbuf_free(&name);
    if (!g->name)
        return false;
    switch (b->form) {
    case CODEC_FLOAT: // half a unit of 8 significant bits (bf16; of f16 11, subnormals fewer) or 24
        set(g, GATE_MIN_SQNR_DB, strcmp(b->name, "f32") == 0 ? 144 : 48);
        set(g, GATE_MAX_MEAN_KLD, 0.001);
        set(g, GATE_MIN_TOP1_AGREEMENT, 0.98);
        break;
    case CODEC_FP8_BLOCK:
    case CODEC_FP8_CHANNEL: // half a unit of 4 significant bits
        set(g, GATE_MIN_SQNR_DB, 24);
        set(g, GATE_MAX_MEAN_KLD, 0.01);
        set(g, GATE_MIN_TOP1_AGREEMENT, 0.95);
        break;
    case CODEC_INT4_GROUP: // 10 log10(12 x 7.5^2 / group)
        set(g, GATE_MIN_SQNR_DB, b->group == 32 ? 13 : b->group == 64 ? 10 : 7);
        set(g, GATE_MAX_MEAN_KLD, 0.05);
        set(g, GATE_MIN_TOP1_AGREEMENT, 0.9);
        break;
    }
    return true;
}

// ---- from a file -----------------------------------------------------------------------------

static bool read_member(gate *g, const json *member, err *e)
{
    const char *names[GATE_COUNT];
    const char *key = json_key(member);
    int64_t version;
    if (strcmp(key, "schema_version") == 0)
        return (json_as_int(member, &version) && version == 1) ||
               err_set(e, ERR_INPUT, "schema_version must be 1");
    for (int t = 0; t < GATE_COUNT; t++) {
        bool flag = false;
        double value = 0;
        names[t] = thresholds[t].name;
        if (strcmp(key, names[t]) != 0)
            continue;
        if (t == GATE_EXACT) {
            if (!json_as_bool(member, &flag))
                return err_set(e, ERR_INPUT, "%s must be true or false", key);
            value = flag;
        } else if (!json_as_double(member, &value) || !(value >= thresholds[t].low) ||
                   !(value <= thresholds[t].high)) {
            return err_set(e, ERR_INPUT, "%s must be a number from %g to %g", key,
                           thresholds[t].low, thresholds[t].high);
        }
        set(g, (gate_threshold)t, value);
        return true;
    }
    const char *near = str_nearest(key, names, GATE_COUNT);
    return err_set(e, ERR_INPUT, "no threshold is called '%s'%s%s%s", key,
                   near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

bool gate_read(gate *g, const char *path, err *e)
{
    enum { LARGEST = 1 << 20 };
    char *text = NULL;
    size_t len = 0;
    json *j = NULL;
    *g = (gate){0};
    bool ok = file_read_all(path, LARGEST, &text, &len, e) && json_parse(&j, text, len, path, e);
    if (ok && json_type(j) != JSON_OBJECT)
        ok = err_set(e, ERR_INPUT, "a gate file is one JSON object");
    for (const json *m = ok ? json_first(j) : NULL; ok && m; m = json_next(m))
        ok = read_member(g, m, e);
    if (!ok)
        err_in(e, "gate '%s'", path);
    const char *base = path_base(path);
    ok = ok && (g->name = arena_text(&g->texts, base, strlen(base), e)) != NULL;
    json_free(j);
    free(text);
    if (!ok)
        gate_free(g);
    return ok;
}

void gate_free(gate *g)
{
    arena_free(&g->texts);
    *g = (gate){0};
}

// ---- judging ---------------------------------------------------------------------------------

static bool missed(findings *f, err *e, const char *what, double found, const gate *g,
                   gate_threshold t)
{
    return finding_add(f, e, FINDING_GATE, "%s is %.6g, the gate wants %s %.6g", what, found,
                       str_starts(thresholds[t].name, "min") ? "at least" : "at most", g->value[t]);
}

static bool below(const gate *g, gate_threshold t, double found)
{
    return g->has[t] && !(found >= g->value[t]);
}

static bool above(const gate *g, gate_threshold t, double found)
{
    return g->has[t] && !(found <= g->value[t]);
}

enum { WEIGHTS_NAMED = 10 };

static bool judge_weight(const gate *g, const weight_parity *w, int64_t *n, findings *f, err *e)
{
    char where[MODEL_WHERE_TEXT];
    const char *place = role_where(w->role, w->layer, w->expert, where);
    bool coded = w->cand_codec != w->ref_codec;
    double sqnr = metrics_sqnr_db(&w->sums);
    bool unequal = g->has[GATE_EXACT] && g->value[GATE_EXACT] != 0 && w->sums.n_equal != w->sums.n;
    bool noisy = coded && below(g, GATE_MIN_SQNR_DB, sqnr);
    bool far = coded && above(g, GATE_MAX_STEPS, w->sums.max_steps);
    if (!unequal && !noisy && !far)
        return true;
    if (++*n > WEIGHTS_NAMED)
        return true;
    bool ok = true;
    if (unequal)
        ok = finding_add(f, e, FINDING_GATE, "%s: %lld of %lld values differ, the gate wants them "
                         "equal", place, (long long)(w->sums.n - w->sums.n_equal),
                         (long long)w->sums.n);
    if (ok && noisy)
        ok = finding_add(f, e, FINDING_GATE, "%s: SQNR is %.2f dB, the gate wants at least %g",
                         place, sqnr, g->value[GATE_MIN_SQNR_DB]);
    if (ok && far)
        ok = finding_add(f, e, FINDING_GATE, "%s: the largest error is %.3g steps, the gate wants "
                         "at most %g", place, w->sums.max_steps, g->value[GATE_MAX_STEPS]);
    return ok;
}

static bool judge_weights(const gate *g, const parity *p, findings *f, err *e)
{
    int64_t n = 0;
    for (int64_t i = 0; i < p->n; i++)
        if (!judge_weight(g, &p->weight[i], &n, f, e))
            return false;
    return n <= WEIGHTS_NAMED ||
           finding_add(f, e, FINDING_GATE, "and %lld weights more", (long long)(n - WEIGHTS_NAMED));
}

static bool judge_routers(const gate *g, const logit_parity *l, findings *f, err *e)
{
    router_parity total = router_parity_total(l);
    if (total.n == 0)
        return true;
    double all = (double)total.n_same / (double)total.n;
    double sure = (double)total.third_same[2] / (double)total.third_n[2];
    if (below(g, GATE_MIN_ROUTER_AGREEMENT, all) &&
        !missed(f, e, "router agreement", all, g, GATE_MIN_ROUTER_AGREEMENT))
        return false;
    return !below(g, GATE_MIN_ROUTER_AGREEMENT_LARGE_MARGIN, sure) ||
           missed(f, e, "router agreement at large margins", sure, g,
                  GATE_MIN_ROUTER_AGREEMENT_LARGE_MARGIN);
}

bool gate_judge(const gate *g, const parity *p, const logit_parity *l, findings *f, err *e)
{
    if (p && !judge_weights(g, p, f, e))
        return false;
    if (!l)
        return true;
    if (!judge_routers(g, l, f, e))
        return false;
    if (l->n_scored == 0)
        return true;
    double top = (double)l->n_same_top / (double)l->n_scored;
    double nll = l->nll_difference.mean;
    return (!above(g, GATE_MAX_MEAN_KLD, l->kld.mean) ||
            missed(f, e, "mean KLD", l->kld.mean, g, GATE_MAX_MEAN_KLD)) &&
           (!above(g, GATE_MAX_KLD_P99, l->kld_p99) ||
            missed(f, e, "the 99th percentile of KLD", l->kld_p99, g, GATE_MAX_KLD_P99)) &&
           (!below(g, GATE_MIN_TOP1_AGREEMENT, top) ||
            missed(f, e, "top-1 agreement", top, g, GATE_MIN_TOP1_AGREEMENT)) &&
           (!above(g, GATE_MAX_NLL_INCREASE, nll) ||
            missed(f, e, "the increase of NLL", nll, g, GATE_MAX_NLL_INCREASE));
}

void gate_write(const gate *g, json_writer *w, const char *key)
{
    jw_object(w, key);
    jw_text(w, "name", g->name);
    for (int t = 0; t < GATE_COUNT; t++) {
        if (!g->has[t])
            continue;
        if (t == GATE_EXACT)
            jw_bool(w, thresholds[t].name, g->value[t] != 0);
        else
            jw_double(w, thresholds[t].name, g->value[t]);
    }
    jw_object_end(w);
}
