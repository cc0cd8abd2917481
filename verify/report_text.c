// SPDX-License-Identifier: Apache-2.0
// The report for people: one set of rows, drawn for a terminal or as Markdown.
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "verify/report.h"
#include "verify/router_parity.h"

typedef struct {
    strbuf *out;
    bool markdown;
    int columns;
    int width[8];
    int at;
} table;

static void heading(table *t, const char *text)
{
    strbuf_printf(t->out, t->markdown ? "\n## %s\n\n" : "\n%s\n", text);
}

static void cell(table *t, const char *text)
{
    bool first = t->at == 0, last = t->at + 1 == t->columns;
    if (t->markdown)
        strbuf_printf(t->out, "%s %s%s|%s", first ? "|" : "", text, *text ? " " : "",
                      last ? "\n" : "");
    else if (first)
        strbuf_printf(t->out, "  %-*s", t->width[0], text);
    else if (last && !*text)
        strbuf_puts(t->out, "\n");
    else
        strbuf_printf(t->out, " %*s%s", t->width[t->at], text, last ? "\n" : "");
    t->at = last ? 0 : t->at + 1;
}

static void cellf(table *t, const char *format, ...) PRINTF_LIKE(2, 3);

static void cellf(table *t, const char *format, ...)
{
    char text[200];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    cell(t, text);
}

// Column titles; widths matter to the terminal only.
static void begin(table *t, int columns, const int *width, const char *const *title)
{
    t->columns = columns;
    t->at = 0;
    memcpy(t->width, width, (size_t)columns * sizeof *width);
    for (int i = 0; i < columns; i++)
        cell(t, title[i]);
    for (int i = 0; t->markdown && i < columns; i++)
        cell(t, i ? "---:" : "---");
}

static void db(table *t, double value)
{
    if (isinf(value))
        cell(t, value > 0 ? "exact" : "-inf");
    else
        cellf(t, "%.2f", value);
}

static void sides(const report *r, table *t)
{
    static const int width[] = {14, 24, 24};
    static const char *const title[] = {"", "reference", "candidate"};
    char before[24], after[24];
    uint64_t bytes[2] = {0, 0};
    const model *m[2] = {r->ref.model, r->cand.model};
    for (int s = 0; s < 2; s++)
        for (int f = 0; f < checkpoint_n_files(model_checkpoint(m[s])); f++)
            bytes[s] += checkpoint_file(model_checkpoint(m[s]), f)->size;
    begin(t, 3, width, title);
    cell(t, "name");
    cell(t, r->ref.name);
    cell(t, r->cand.name);
    cell(t, "tensor files");
    cell(t, str_human_bytes(bytes[0], before));
    cell(t, str_human_bytes(bytes[1], after));
    cell(t, "bits a weight");
    cellf(t, "%.3f", report_bits(m[0], false));
    cellf(t, "%.3f", report_bits(m[1], false));
    cell(t, "of experts");
    cellf(t, "%.3f", report_bits(m[0], true));
    cellf(t, "%.3f", report_bits(m[1], true));
}

static void steps(table *t, const matrix_sums *s)
{
    if (metrics_has_steps(s))
        cellf(t, "%.3g", s->max_steps);
    else
        cell(t, "-");
}

enum { WORST = 5 };

// The weights that lie farthest from the reference by SQNR; of equals the first.
static void worst_weights(const parity *p, table *t)
{
    static const int width[] = {44, 9, 10};
    static const char *const title[] = {"worst weights", "SQNR dB", "max steps"};
    const weight_parity *list[WORST + 1];
    int n = 0;
    for (int64_t i = 0; i < p->n; i++) {
        const weight_parity *w = &p->weight[i];
        int at = n;
        if (w->broken || w->sums.error == 0)
            continue;
        for (; at > 0 && metrics_sqnr_db(&w->sums) < metrics_sqnr_db(&list[at - 1]->sums); at--)
            list[at] = list[at - 1];
        list[at] = w;
        n = n < WORST ? n + 1 : WORST;
    }
    if (n == 0)
        return;
    strbuf_puts(t->out, "\n");
    begin(t, 3, width, title);
    for (int i = 0; i < n; i++) {
        char where[MODEL_WHERE_TEXT];
        cell(t, role_where(list[i]->role, list[i]->layer, list[i]->expert, where));
        db(t, metrics_sqnr_db(&list[i]->sums));
        steps(t, &list[i]->sums);
    }
}

static void weights(const report *r, table *t)
{
    static const int width[] = {10, 8, 10, 9, 9, 9, 10};
    static const char *const title[] = {"class", "weights", "rel. error", "SQNR dB", "cosine",
                                        "max steps", "worst dB"};
    heading(t, "Weights");
    begin(t, 7, width, title);
    for (int c = 0; c < CLASS_COUNT; c++) {
        matrix_sums s;
        int64_t n;
        const weight_parity *worst;
        parity_of_class(r->parity, (role_class)c, &s, &n, &worst);
        if (n == 0)
            continue;
        cell(t, role_class_name((role_class)c));
        cellf(t, "%lld", (long long)n);
        cellf(t, "%.3g", metrics_relative_error(&s));
        db(t, metrics_sqnr_db(&s));
        cellf(t, "%.6f", metrics_cosine(&s));
        steps(t, &s);
        if (worst->broken)
            cell(t, "broken");
        else
            db(t, metrics_sqnr_db(&worst->sums));
    }
    worst_weights(r->parity, t);
}

static void spread(table *t, const interval *i, bool is_difference)
{
    if (i->n_blocks < 2)
        cell(t, "one block, none");
    else if (is_difference)
        cellf(t, "%+.6f to %+.6f", i->low, i->high);
    else
        cellf(t, "%.6g to %.6g", i->low, i->high);
}

static void logits(const report *r, table *t)
{
    static const int width[] = {22, 12, 26};
    static const char *const title[] = {"", "value", "95 % interval"};
    const logit_parity *l = r->logits;
    heading(t, "Logits");
    begin(t, 3, width, title);
    cell(t, "mean KLD, nats");
    cellf(t, "%.6g", l->kld.mean);
    spread(t, &l->kld, false);
    cell(t, "median");
    cellf(t, "%.6g", l->kld_median);
    cell(t, "");
    cell(t, "99 %");
    cellf(t, "%.6g", l->kld_p99);
    cell(t, "");
    cell(t, "maximum");
    cellf(t, "%.6g", l->kld_max);
    cell(t, "");
    cell(t, "top-1 agreement");
    cellf(t, "%.3f %%", 100 * (double)l->n_same_top / (double)l->n_scored);
    cell(t, "");
    cell(t, "NLL of the reference");
    cellf(t, "%.5f", l->nll_ref);
    cell(t, "");
    cell(t, "NLL of the candidate");
    cellf(t, "%.5f", l->nll_cand);
    cell(t, "");
    cell(t, "difference");
    cellf(t, "%+.6f", l->nll_difference.mean);
    spread(t, &l->nll_difference, true);
    strbuf_printf(t->out, "%s%lld tokens in %lld windows of %lld, intervals over %lld blocks\n",
                  t->markdown ? "\n" : "  ", (long long)l->n_tokens, (long long)l->n_windows,
                  (long long)l->window_tokens, (long long)l->kld.n_blocks);
}

static double share(int64_t part, int64_t of) { return of ? 100 * (double)part / (double)of : 100; }

static void router_row(table *t, const router_parity *x)
{
    if (x->layer < 0)
        cell(t, "all");
    else
        cellf(t, "%lld", (long long)x->layer);
    cellf(t, "%.2f %%", share(x->n_same, x->n));
    for (int k = 0; k < 3; k++)
        cellf(t, "%.2f %%", share(x->third_same[k], x->third_n[k]));
    cellf(t, "%.3g", x->largest_lost);
}

static void layers(const report *r, table *t)
{
    static const int width[] = {6, 10, 12, 13, 12, 12};
    static const char *const title[] = {"layer", "same set", "small margin", "middle margin",
                                        "large margin", "margin lost"};
    const logit_parity *l = r->logits;
    if (l->n_routers) {
        heading(t, "Routers: tokens sent to the same experts, by the reference's margin");
        begin(t, 6, width, title);
        for (int64_t i = 0; i < l->n_routers; i++)
            router_row(t, &l->router[i]);
        router_parity all = router_parity_total(l);
        router_row(t, &all);
    }
    static const int hidden_width[] = {14, 10, 10};
    static const char *const hidden_title[] = {"behind layer", "SQNR dB", "cosine"};
    heading(t, "Hidden states");
    begin(t, 3, hidden_width, hidden_title);
    for (int64_t i = 0; i < l->n_hidden; i++) {
        if (i == 0)
            cell(t, "embedding");
        else if (i + 1 == l->n_hidden)
            cell(t, "final norm");
        else
            cellf(t, "%lld", (long long)i - 1);
        db(t, metrics_sqnr_db(&l->hidden[i].sums));
        cellf(t, "%.6f", metrics_cosine(&l->hidden[i].sums));
    }
}

static void verdict(const report *r, table *t)
{
    uint64_t failures = 0;
    for (uint64_t i = 0; i < r->findings->n; i++)
        failures += r->findings->item[i].kind != FINDING_REMARK;
    heading(t, t->markdown ? "Verdict" : "Findings");
    for (uint64_t i = 0; i < r->findings->n; i++)
        strbuf_printf(t->out, "%s%s: %s\n", t->markdown ? "- " : "  ",
                      finding_kind_name(r->findings->item[i].kind), r->findings->item[i].text);
    if (r->findings->n == 0)
        strbuf_puts(t->out, t->markdown ? "No findings.\n" : "  none\n");
    strbuf_printf(t->out, t->markdown ? "\n**%s** (gate: %s)\n" : "\nverdict: %s (gate: %s)\n",
                  failures ? "FAIL" : "PASS", r->gate->name);
}

static void body(const report *r, table *t)
{
    sides(r, t);
    if (r->parity)
        weights(r, t);
    if (r->logits) {
        layers(r, t);
        if (r->logits->n_scored)
            logits(r, t);
    }
    verdict(r, t);
}

static void identity(const report_side *s, const char *what, strbuf *out)
{
    char hex[65];
    const checkpoint *c = model_checkpoint(s->model);
    strbuf_printf(out, "\n%s `%s`, digest `%s`:\n\n", what, s->name,
                  hex_of(s->digest.b, sizeof s->digest.b, hex));
    for (int f = 0; f < checkpoint_n_files(c); f++)
        strbuf_printf(out, "- `%s` sha256 `%s`\n", checkpoint_file_name(c, f),
                      hex_of(s->sums[f].b, sizeof s->sums[f].b, hex));
}

bool report_markdown(const report *r, strbuf *out, err *e)
{
    table t = {.out = out, .markdown = true};
    char hex[65];
    strbuf_puts(out, "# Parity report\n\n");
    body(r, &t);
    strbuf_puts(out, "\n## What was compared\n");
    identity(&r->ref, "Reference", out);
    identity(&r->cand, "Candidate", out);
    if (r->windows)
        strbuf_printf(out, "\nTokens: %lld windows of %lld, sha256 `%s`; bootstrap seed %llu.\n",
                      (long long)r->windows->n, (long long)r->windows->len,
                      hex_of(r->windows->sha.b, sizeof r->windows->sha.b, hex),
                      (unsigned long long)r->seed);
    return strbuf_ok(out, e);
}

bool report_text(const report *r, strbuf *out, err *e)
{
    table t = {.out = out};
    body(r, &t);
    return strbuf_ok(out, e);
}
