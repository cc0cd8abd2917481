// SPDX-License-Identifier: Apache-2.0
#include "verify/report.h"

#include "base/version.h"
#include "formats/source_sums.h"
#include "verify/router_parity.h"

double report_bits(const model *m, bool experts_only)
{
    const checkpoint *c = model_checkpoint(m);
    uint64_t bytes = 0;
    if (experts_only) {
        for (int64_t i = 0; i < checkpoint_count(c); i++) {
            const tensor_account *a = model_account(m, i);
            if (a->used && role_is_expert(a->role))
                bytes += checkpoint_at(c, i)->bytes;
        }
    } else {
        for (int f = 0; f < checkpoint_n_files(c); f++)
            bytes += checkpoint_file(c, f)->size;
    }
    int64_t n = model_parameters(m, experts_only);
    return n > 0 ? (double)bytes * 8 / (double)n : 0;
}

// ---- JSON ------------------------------------------------------------------------------------

static void side_json(const report_side *s, const char *key, json_writer *w)
{
    jw_object(w, key);
    jw_text(w, "name", s->name);
    jw_text(w, "family", model_arch(s->model)->family);
    jw_int(w, "parameters", model_parameters(s->model, false));
    jw_int(w, "expert_parameters", model_parameters(s->model, true));
    jw_double(w, "bits_per_weight", report_bits(s->model, false));
    jw_double(w, "expert_bits_per_weight", report_bits(s->model, true));
    char hex[65];
    jw_text(w, "digest", hex_of(s->digest.b, sizeof s->digest.b, hex));
    source_sums_write(w, model_checkpoint(s->model), s->sums);
    if (s->manifest)
        jw_raw(w, "made_by", s->manifest);
    else
        jw_null(w, "made_by");
    jw_object_end(w);
}

static void sums_json(const matrix_sums *s, json_writer *w)
{
    jw_int(w, "values", s->n);
    jw_int(w, "equal", s->n_equal);
    jw_double(w, "relative_error", metrics_relative_error(s));
    jw_double(w, "sqnr_db", metrics_sqnr_db(s));
    jw_double(w, "cosine", metrics_cosine(s));
    jw_double(w, "max_error", s->max_abs);
}

static void steps_json(const matrix_sums *s, json_writer *w)
{
    if (metrics_has_steps(s))
        jw_double(w, "max_error_steps", s->max_steps);
    else
        jw_null(w, "max_error_steps");
}

static void weights_json(const parity *p, json_writer *w)
{
    jw_array(w, "weights");
    for (int64_t i = 0; i < p->n; i++) {
        const weight_parity *x = &p->weight[i];
        jw_object(w, NULL);
        jw_text(w, "role", role_name(x->role));
        if (x->layer >= 0)
            jw_int(w, "layer", x->layer);
        if (x->expert >= 0)
            jw_int(w, "expert", x->expert);
        jw_text(w, "reference_type", x->ref_codec->name);
        jw_text(w, "candidate_type", x->cand_codec->name);
        sums_json(&x->sums, w);
        steps_json(&x->sums, w);
        if (x->broken)
            jw_bool(w, "broken", true);
        jw_object_end(w);
    }
    jw_array_end(w);
}

static void classes_json(const parity *p, json_writer *w)
{
    jw_array(w, "classes");
    for (int c = 0; c < CLASS_COUNT; c++) {
        matrix_sums s;
        int64_t n;
        const weight_parity *worst;
        parity_of_class(p, (role_class)c, &s, &n, &worst);
        if (n == 0)
            continue;
        jw_object(w, NULL);
        jw_text(w, "class", role_class_name((role_class)c));
        jw_int(w, "weights", n);
        sums_json(&s, w);
        steps_json(&s, w);
        if (worst->broken)
            jw_bool(w, "broken", true);
        else
            jw_double(w, "worst_sqnr_db", metrics_sqnr_db(&worst->sums));
        jw_object_end(w);
    }
    jw_array_end(w);
}

static void router_json(const router_parity *r, const char *key, json_writer *w)
{
    jw_object(w, key);
    if (r->layer >= 0)
        jw_int(w, "layer", r->layer);
    jw_int(w, "tokens", r->n);
    jw_int(w, "same_set", r->n_same);
    jw_int(w, "experts_in_both", r->n_shared);
    jw_double(w, "largest_margin_lost", r->largest_lost);
    jw_array(w, "by_margin");
    for (int t = 0; t < 3; t++) {
        jw_object(w, NULL);
        if (r->layer >= 0)
            jw_double(w, "margin_from", r->third_above[t]);
        jw_int(w, "tokens", r->third_n[t]);
        jw_int(w, "same_set", r->third_same[t]);
        jw_object_end(w);
    }
    jw_array_end(w);
    jw_object_end(w);
}

static void layers_json(const logit_parity *l, json_writer *w)
{
    router_parity all = router_parity_total(l);
    router_json(&all, "routers_all", w);
    jw_array(w, "routers");
    for (int64_t i = 0; i < l->n_routers; i++)
        router_json(&l->router[i], NULL, w);
    jw_array_end(w);
    jw_array(w, "hidden");
    for (int64_t i = 0; i < l->n_hidden; i++) {
        jw_object(w, NULL);
        jw_int(w, "behind_layers", i);
        sums_json(&l->hidden[i].sums, w);
        jw_object_end(w);
    }
    jw_array_end(w);
}

static void interval_json(const interval *i, const char *key, json_writer *w)
{
    jw_object(w, key);
    jw_double(w, "mean", i->mean);
    if (i->n_blocks > 1) {
        jw_double(w, "low", i->low);
        jw_double(w, "high", i->high);
    } else { // one block tells nothing of its spread
        jw_null(w, "low");
        jw_null(w, "high");
    }
    jw_int(w, "blocks", i->n_blocks);
    jw_object_end(w);
}

static void logits_json(const logit_parity *l, json_writer *w)
{
    jw_object(w, "logits");
    jw_int(w, "tokens", l->n_scored);
    interval_json(&l->kld, "kld", w);
    jw_double(w, "kld_median", l->kld_median);
    jw_double(w, "kld_p99", l->kld_p99);
    jw_double(w, "kld_max", l->kld_max);
    jw_int(w, "same_top1", l->n_same_top);
    jw_double(w, "top1_agreement", (double)l->n_same_top / (double)l->n_scored);
    jw_double(w, "nll_reference", l->nll_ref);
    jw_double(w, "nll_candidate", l->nll_cand);
    interval_json(&l->nll_difference, "nll_difference", w);
    jw_object_end(w);
}

static void windows_json(const report *r, json_writer *w)
{
    const logit_parity *l = r->logits;
    jw_array(w, "windows");
    for (int64_t i = 0; i < l->n_windows; i++) {
        jw_object(w, NULL);
        jw_int(w, "tokens", l->window_tokens);
        if (r->windows->document)
            jw_int(w, "document", r->windows->document[i]);
        jw_double(w, "kld_sum", l->window_kld[i]);
        jw_double(w, "nll_difference_sum", l->window_nll[i]);
        jw_object_end(w);
    }
    jw_array_end(w);
}

static void tokens_json(const report *r, json_writer *w)
{
    char hex[65];
    jw_object(w, "tokens");
    jw_text(w, "sha256", hex_of(r->windows->sha.b, sizeof r->windows->sha.b, hex));
    jw_int(w, "windows", r->windows->n);
    jw_int(w, "context", r->windows->len);
    jw_int(w, "dropped", r->windows->dropped);
    jw_bool(w, "bos", r->windows->with_bos);
    jw_int(w, "seed", (int64_t)r->seed);
    jw_object_end(w);
}

bool report_json(const report *r, strbuf *out, err *e)
{
    json_writer w = {.out = out, .indent = 1};
    jw_object(&w, NULL);
    jw_int(&w, "schema_version", 1);
    jw_text(&w, "tool", "scruple");
    jw_text(&w, "version", SCRUPLE_VERSION);
    jw_text(&w, "verdict", findings_pass(r->findings) ? "pass" : "fail");
    side_json(&r->ref, "reference", &w);
    side_json(&r->cand, "candidate", &w);
    gate_write(r->gate, &w, "gate");
    jw_array(&w, "findings");
    for (uint64_t i = 0; i < r->findings->n; i++) {
        jw_object(&w, NULL);
        jw_text(&w, "kind", finding_kind_name(r->findings->item[i].kind));
        jw_text(&w, "text", r->findings->item[i].text);
        jw_object_end(&w);
    }
    jw_array_end(&w);
    if (r->logits) {
        tokens_json(r, &w);
        if (r->logits->n_scored) {
            logits_json(r->logits, &w);
            windows_json(r, &w);
        }
        layers_json(r->logits, &w);
    }
    if (r->parity) {
        jw_int(&w, "copied_tensors", r->parity->n_copied);
        jw_int(&w, "copied_tensors_unequal", r->parity->n_copied_unequal);
        classes_json(r->parity, &w);
        weights_json(r->parity, &w);
    }
    jw_object_end(&w);
    strbuf_puts(out, "\n");
    return strbuf_ok(out, e);
}
