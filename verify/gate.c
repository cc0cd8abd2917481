// SPDX-License-Identifier: Apache-2.0
#include "verify/gate.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "verify/router_parity.h"

static const struct {
    const char *name;
    double low, high;
} thresholds[GATE_COUNT] = {
    [GATE_EXACT] = {"exact", 0, 1},
    [GATE_EXACT_SAME_TYPE] = {"exact_same_type", 0, 1},
    [GATE_MIN_SQNR_DB] = {"min_sqnr_db", -1000, 1000},
    [GATE_MAX_STEPS] = {"max_steps", 0, 1e30},
    [GATE_MAX_MEAN_KLD] = {"max_mean_kld", 0, 1e30},
    [GATE_MAX_KLD_P99] = {"max_kld_p99", 0, 1e30},
    [GATE_MIN_TOP1_AGREEMENT] = {"min_top1_agreement", 0, 1},
    [GATE_MAX_NLL_INCREASE] = {"max_nll_increase", -1e30, 1e30},
    [GATE_MIN_ROUTER_AGREEMENT] = {"min_router_agreement", 0, 1},
    [GATE_MIN_ROUTER_AGREEMENT_LARGE_MARGIN] = {"min_router_agreement_large_margin", 0, 1},
};

void gate_set(gate *g, gate_threshold t, double value)
{
    g->has[t] = true;
    g->value[t] = value;
}

// ---- from a file -----------------------------------------------------------------------------

static bool is_flag(int t) { return t == GATE_EXACT || t == GATE_EXACT_SAME_TYPE; }

static bool read_number(const json *member, int t, const char *key, double *value, err *e)
{
    return (json_as_double(member, value) && *value >= thresholds[t].low &&
            *value <= thresholds[t].high) ||
           err_set(e, ERR_INPUT, "%s must be a number from %g to %g", key, thresholds[t].low,
                   thresholds[t].high);
}

static int64_t type_index(const char *name)
{
    for (int64_t i = 0; i < codec_count(); i++)
        if (strcmp(codec_at(i)->name, name) == 0)
            return i;
    return -1;
}

// {"int4-g32": 13, "fp8-block": 24}
static bool read_types(gate *g, const json *object, err *e)
{
    assert(codec_count() <= GATE_MAX_TYPES);
    for (int i = 0; i < GATE_MAX_TYPES; i++)
        g->sqnr[i] = (double)NAN;
    g->by_type = g->has[GATE_MIN_SQNR_DB] = true;
    for (const json *m = json_first(object); m; m = json_next(m)) {
        int64_t i = type_index(json_key(m));
        if (i < 0)
            return err_set(e, ERR_INPUT, "min_sqnr_db: no type is called '%s'; there is %s, say",
                           json_key(m), codec_at(0)->name);
        if (!read_number(m, GATE_MIN_SQNR_DB, json_key(m), &g->sqnr[i], e))
            return err_in(e, "min_sqnr_db");
    }
    return true;
}

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
        if (t == GATE_MIN_SQNR_DB && json_type(member) == JSON_OBJECT)
            return read_types(g, member, e);
        if (is_flag(t) && !json_as_bool(member, &flag))
            return err_set(e, ERR_INPUT, "%s must be true or false", key);
        if (!is_flag(t) && !read_number(member, t, key, &value, e))
            return false;
        gate_set(g, (gate_threshold)t, is_flag(t) ? flag : value);
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

bool gate_is_measured(const gate *g, bool weights, bool routers, bool logits, err *e)
{
    for (int t = 0; t < GATE_COUNT; t++) {
        bool of_routers = t == GATE_MIN_ROUTER_AGREEMENT ||
                          t == GATE_MIN_ROUTER_AGREEMENT_LARGE_MARGIN;
        bool measured = t <= GATE_MAX_STEPS ? weights : of_routers ? routers : logits;
        if (g->has[t] && !measured)
            return err_set(e, ERR_USAGE, "gate '%s' has %s, which is not measured here: that takes "
                           "%s", g->name, thresholds[t].name,
                           t <= GATE_MAX_STEPS ? "--level weights or deeper"
                                               : "--text FILE or --tokens FILE, and a --level that "
                                                 "runs them");
    }
    return true;
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

static bool sqnr_floor(const gate *g, const weight_parity *w, double *floor)
{
    *floor = g->value[GATE_MIN_SQNR_DB];
    if (g->by_type)
        *floor = g->sqnr[type_index(w->cand_codec->name)];
    return g->has[GATE_MIN_SQNR_DB] && !isnan(*floor);
}

static bool wants_equal(const gate *g, bool same_type)
{
    return g->value[GATE_EXACT] != 0 || (same_type && g->value[GATE_EXACT_SAME_TYPE] != 0);
}

// One sentence for a weight, about the first threshold it misses.
static bool judge_weight(const gate *g, const weight_parity *w, strbuf *sentence)
{
    char where[MODEL_WHERE_TEXT];
    const char *place = role_where(w->role, w->layer, w->expert, where);
    bool coded = w->cand_codec != w->ref_codec;
    double sqnr = metrics_sqnr_db(&w->sums), floor;
    strbuf_clear(sentence);
    if (w->broken)
        return false; // its sentence is there already
    if (wants_equal(g, !coded) && w->sums.n_equal != w->sums.n)
        strbuf_printf(sentence, "%s: %lld of %lld values differ, the gate wants them equal", place,
                      (long long)(w->sums.n - w->sums.n_equal), (long long)w->sums.n);
    else if (coded && sqnr_floor(g, w, &floor) && !(sqnr >= floor))
        strbuf_printf(sentence, "%s: SQNR is %.2f dB, the gate wants at least %g as %s", place,
                      sqnr, floor, w->cand_codec->name);
    else if (coded && g->has[GATE_MAX_STEPS] && !metrics_has_steps(&w->sums))
        strbuf_printf(sentence, "%s: %s has no steps to count, and the gate limits them", place,
                      w->cand_codec->name);
    else if (coded && above(g, GATE_MAX_STEPS, w->sums.max_steps))
        strbuf_printf(sentence, "%s: the largest error is %.3g steps, the gate wants at most %g",
                      place, w->sums.max_steps, g->value[GATE_MAX_STEPS]);
    return sentence->len > 0;
}

static bool judge_weights(const gate *g, const parity *p, findings *f, err *e)
{
    int64_t n = 0;
    strbuf sentence = {0};
    bool ok = true;
    for (int64_t i = 0; ok && i < p->n; i++)
        if (judge_weight(g, &p->weight[i], &sentence) && n++ < WEIGHTS_NAMED)
            ok = strbuf_ok(&sentence, e) && finding_add(f, e, FINDING_GATE, "%s", sentence.text);
    strbuf_free(&sentence);
    if (ok && p->n_copied_unequal && wants_equal(g, true))
        ok = finding_add(f, e, FINDING_GATE, "'%s' and %lld more of the tensors without a role "
                         "have other bytes in the candidate, the gate wants them equal",
                         p->copied_unequal, (long long)p->n_copied_unequal - 1);
    return ok && (n <= WEIGHTS_NAMED || finding_add(f, e, FINDING_GATE, "and %lld weights more",
                                                    (long long)(n - WEIGHTS_NAMED)));
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
        if (t == GATE_MIN_SQNR_DB && g->by_type) {
            jw_object(w, thresholds[t].name);
            for (int64_t i = 0; i < codec_count(); i++)
                if (!isnan(g->sqnr[i]))
                    jw_double(w, codec_at(i)->name, g->sqnr[i]);
            jw_object_end(w);
        } else if (is_flag(t))
            jw_bool(w, thresholds[t].name, g->value[t] != 0);
        else
            jw_double(w, thresholds[t].name, g->value[t]);
    }
    jw_object_end(w);
}
