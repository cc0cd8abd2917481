// SPDX-License-Identifier: Apache-2.0
#include "formats/stats_file.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/json.h"
#include "base/out.h"
#include "formats/checkpoint.h"

static const char *const part_name[] = {"energy", "weight_sum", "weight_sq_sum", "count"};
enum { N_PARTS = 4 };
static const char version_key[] = "scruple.statistics", version[] = "1";
static const int64_t MOST_TOKENS = (int64_t)1 << 53; // counts stay exact in binary64
// What that many products of four binary32 numbers can add up to, and the least that one of two or
// four can be: within these the arithmetic of quantize/stats.h stays finite.
static const double MOST_SUM = 0x1p565, LEAST_SQ = 0x1p-298, LEAST_4TH = 0x1p-596;

// ---- sets ------------------------------------------------------------------------------------

static int order(role r, int64_t layer, const stats_set *s)
{
    if (layer != s->layer)
        return layer < s->layer ? -1 : 1;
    return (int)r - (int)s->role;
}

static stats_set *find_set(const stats_file *f, role r, int64_t layer)
{
    for (int64_t lo = 0, hi = f->n; lo < hi;) {
        int64_t mid = lo + (hi - lo) / 2;
        int c = order(r, layer, &f->set[mid]);
        if (c == 0)
            return &f->set[mid];
        if (c < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

bool stats_file_set(stats_file *f, role r, int64_t layer, int64_t n_experts, int64_t cols,
                    stats_set **out, err *e)
{
    stats_set *s = find_set(f, r, layer);
    *out = NULL;
    if (s && (s->sums.n_experts != n_experts || s->sums.cols != cols))
        return err_set(e, ERR_INPUT, "statistics of layer %lld %s: %lld x %lld columns, expected "
                       "%lld x %lld", (long long)layer, role_name(r),
                       (long long)s->sums.n_experts, (long long)s->sums.cols,
                       (long long)n_experts, (long long)cols);
    if (!s) {
        stats_set new = {.role = r, .layer = layer};
        if (!mem_grow((void **)&f->set, &f->cap, (uint64_t)f->n + 1, sizeof *f->set, "statistics",
                      e) ||
            !stats_init(&new.sums, n_experts, cols, e))
            return false;
        int64_t at = f->n;
        while (at > 0 && order(r, layer, &f->set[at - 1]) < 0)
            at--;
        memmove(f->set + at + 1, f->set + at, (size_t)(f->n - at) * sizeof *f->set);
        f->set[at] = new;
        f->n++;
        s = &f->set[at];
    }
    *out = s;
    return true;
}

const stats *stats_file_find(const stats_file *f, role r, int64_t layer)
{
    const stats_set *s = find_set(f, r, layer);
    return s ? &s->sums : NULL;
}

// "[a]" and "[b]" to "[a,b]", the white space around and inside the brackets apart.
static bool join_made_from(stats_file *a, const char *b, err *e)
{
    static const char space[] = " \t\r\n";
    strbuf text = {0};
    const char *end = b + strlen(b);
    b += strspn(b, space) + 1; // behind '['
    b += strspn(b, space);
    while (end[-1] != ']')
        end--;
    for (end--; end > b && strchr(space, end[-1]);)
        end--;
    size_t n = a->made_from ? strlen(a->made_from) : 0;
    strbuf_puts(&text, "[");
    if (n > 2)
        strbuf_add(&text, a->made_from + 1, n - 2);
    if (n > 2 && end > b)
        strbuf_puts(&text, ",");
    strbuf_add(&text, b, (size_t)(end - b));
    strbuf_puts(&text, "]");
    if (!strbuf_ok(&text, e)) {
        strbuf_free(&text);
        return false;
    }
    free(a->made_from);
    a->made_from = text.text;
    return true;
}

static bool in_range(double v, double least) { return v == 0 || (v >= least && v <= MOST_SUM); }

// (sum of w^2)^2 <= tokens x sum of w^4 for all numbers, and tokens have a limit.
static bool weights_fit(const stats *s, int64_t expert)
{
    double sum = s->weight_sum[expert], sq_sum = s->weight_sq_sum[expert];
    return in_range(sum, LEAST_SQ) && in_range(sq_sum, LEAST_4TH) && s->count[expert] >= 0 &&
           s->count[expert] <= MOST_TOKENS &&
           sum * sum <= (double)MOST_TOKENS * sq_sum;
}

static bool plausible(const stats_set *s, err *e)
{
    int64_t n = s->sums.n_experts * s->sums.cols;
    bool fine = true;
    for (int64_t i = 0; i < n; i++)
        fine &= in_range(s->sums.energy[i], LEAST_4TH);
    for (int64_t i = 0; i < s->sums.n_experts; i++)
        fine &= weights_fit(&s->sums, i);
    return fine || err_set(e, ERR_INPUT, "layer %lld %s: a sum is negative, infinite, no number, "
                           "too large or none that tokens add up to", (long long)s->layer,
                           role_name(s->role));
}

bool stats_file_merge(stats_file *a, const stats_file *b, err *e)
{
    for (int64_t i = 0; i < b->n; i++) {
        const stats_set *from = &b->set[i];
        stats_set *to;
        if (!stats_file_set(a, from->role, from->layer, from->sums.n_experts, from->sums.cols, &to,
                            e) ||
            !stats_merge(&to->sums, &from->sums, e) || !plausible(to, e))
            return false;
    }
    return join_made_from(a, b->made_from ? b->made_from : "[]", e);
}

void stats_file_free(stats_file *f)
{
    for (int64_t i = 0; i < f->n; i++)
        stats_free(&f->set[i].sums);
    free(f->set);
    free(f->made_from);
    *f = (stats_file){0};
}

// ---- reading ---------------------------------------------------------------------------------

// "layers.3.experts.gate.energy" -> layer, role, part.
static bool parse_name(const char *name, int64_t *layer, role *r, int *part)
{
    char number[24], text[64];
    if (!str_starts(name, "layers."))
        return false;
    name += strlen("layers.");
    size_t digits = strspn(name, "0123456789");
    const char *last = strrchr(name, '.');
    if (digits == 0 || digits >= sizeof number || name[digits] != '.' || last <= name + digits ||
        (name[0] == '0' && digits > 1))
        return false;
    memcpy(number, name, digits);
    number[digits] = 0;
    uint64_t n = 0;
    size_t len = (size_t)(last - (name + digits + 1));
    if (!str_to_u64(number, 1 << 20, &n) || len >= sizeof text)
        return false;
    memcpy(text, name + digits + 1, len);
    text[len] = 0;
    *layer = (int64_t)n;
    for (*part = 0; *part < N_PARTS; ++*part)
        if (strcmp(last + 1, part_name[*part]) == 0)
            return role_from_name(text, r);
    return false;
}

static bool has_energy(const checkpoint *c, const char *name, err *e)
{
    strbuf energy = {0};
    strbuf_add(&energy, name, (size_t)(strrchr(name, '.') + 1 - name));
    strbuf_puts(&energy, part_name[0]);
    bool ok = strbuf_ok(&energy, e) &&
              (checkpoint_find(c, energy.text) ||
               err_set(e, ERR_INPUT, "tensor '%s' is missing", energy.text));
    strbuf_free(&energy);
    return ok;
}

static void *part_of(const stats *s, int part)
{
    void *const parts[N_PARTS] = {s->energy, s->weight_sum, s->weight_sq_sum, s->count};
    return parts[part];
}

// One of a set's tensors; finds it by its name.
static bool read_part(const checkpoint *c, stats_set *s, int part, err *e)
{
    strbuf name = {0};
    strbuf_printf(&name, "layers.%lld.%s.%s", (long long)s->layer, role_name(s->role),
                  part_name[part]);
    bool ok = strbuf_ok(&name, e);
    const tensor *t = ok ? checkpoint_find(c, name.text) : NULL;
    if (ok && !t)
        ok = err_set(e, ERR_INPUT, "tensor '%s' is missing", name.text);
    else if (ok && (t->type != (part == 3 ? DT_I64 : DT_F64) || t->rank != (part == 0 ? 2 : 1) ||
                    t->shape[0] != s->sums.n_experts ||
                    (part == 0 && t->shape[1] != s->sums.cols)))
        ok = err_set(e, ERR_INPUT, "tensor '%s' does not have the type or shape of the others of "
                     "its set", name.text);
    ok = ok && checkpoint_read(c, t, 0, part_of(&s->sums, part), t->bytes, e);
    strbuf_free(&name);
    return ok;
}

static bool read_tensor(stats_file *f, const checkpoint *c, const tensor *t, err *e)
{
    int64_t layer;
    role r;
    int part;
    stats_set *s;
    char buf[STR_SHORT];
    if (!parse_name(t->name, &layer, &r, &part))
        return err_set(e, ERR_INPUT, "tensor '%s' is no statistics tensor",
                       str_short(t->name, buf));
    if (part != 0) // read with its energy, which has to be there
        return has_energy(c, t->name, e);
    if (t->type != DT_F64 || t->rank != 2 || t->n_elements == 0)
        return err_set(e, ERR_INPUT, "tensor '%s' must be F64 with two dimensions, not empty",
                       t->name);
    if (!stats_file_set(f, r, layer, t->shape[0], t->shape[1], &s, e))
        return false;
    for (part = 0; part < N_PARTS; part++)
        if (!read_part(c, s, part, e))
            return false;
    return plausible(s, e);
}

static bool read_metadata(stats_file *f, const checkpoint *c, err *e)
{
    const char *made_from = checkpoint_metadata(c, 0, "made_from");
    const char *is = checkpoint_metadata(c, 0, version_key);
    json *j = NULL;
    if (checkpoint_n_files(c) != 1 || !made_from || !is)
        return err_set(e, ERR_INPUT, "no \"%s\" and \"made_from\" in the metadata: this is no "
                       "statistics file", version_key);
    if (strcmp(is, version) != 0)
        return err_set(e, ERR_INPUT, "version '%.20s' of the layout; this program knows %s", is,
                       version);
    bool ok = json_parse(&j, made_from, strlen(made_from), "made_from", e) &&
              (json_type(j) == JSON_ARRAY ||
               err_set(e, ERR_INPUT, "made_from is not an array"));
    json_free(j);
    return ok && join_made_from(f, made_from, e);
}

// The upper half of a header's length is zero, and behind the length it begins.
bool stats_file_looks(const char *path, bool *is, err *e)
{
    enum { AT = 8 };
    unsigned char b[AT + 1];
    in_file in = IN_FILE_CLOSED;
    path_kind kind;
    *is = false;
    if (!path_find(path, &kind, e))
        return false;
    if (kind == PATH_FOLDER)
        return true;
    bool ok = in_open(&in, path, e);
    *is = ok && in.size <= AT; // one that is cut off
    if (ok && in.size > AT) {
        ok = in_read(&in, 0, b, sizeof b, e);
        *is = ok && load_u32(b + AT / 2) == 0 && b[AT] == '{';
    }
    in_close(&in);
    return ok;
}

bool stats_file_read(stats_file *f, const char *path, sha256_digest *digest, err *e)
{
    checkpoint *c = NULL;
    bool is;
    *f = (stats_file){0};
    if (!stats_file_looks(path, &is, e))
        return false;
    if (!is)
        return err_set(e, ERR_INPUT, "'%s': this is no statistics file: expected one that "
                       "scruple calibrate wrote", path);
    if (!checkpoint_open(&c, path, NULL, e))
        return false;
    bool ok = read_metadata(f, c, e);
    for (int64_t i = 0; ok && i < checkpoint_count(c); i++)
        ok = read_tensor(f, c, checkpoint_at(c, i), e);
    checkpoint_close(c);
    if (!ok)
        err_in_file(e, "statistics", path);
    ok = ok && (!digest || sha256_of_file(path, digest, e));
    if (!ok)
        stats_file_free(f);
    return ok;
}

// ---- writing ---------------------------------------------------------------------------------

static bool list_tensors(const stats_file *f, tensor *list, arena *names, err *e)
{
    for (int64_t i = 0; i < f->n; i++) {
        const stats_set *s = &f->set[i];
        for (int part = 0; part < N_PARTS; part++) {
            tensor *t = &list[i * N_PARTS + part];
            strbuf name = {0};
            strbuf_printf(&name, "layers.%lld.%s.%s", (long long)s->layer, role_name(s->role),
                          part_name[part]);
            t->name = strbuf_ok(&name, e) ? arena_text(names, name.text, name.len, e) : NULL;
            strbuf_free(&name);
            if (!t->name)
                return false;
            t->type = part == 3 ? DT_I64 : DT_F64;
            t->rank = part == 0 ? 2 : 1;
            t->shape[0] = s->sums.n_experts;
            t->shape[1] = s->sums.cols;
        }
    }
    return true;
}

static bool coverage_json(const stats_file *f, strbuf *out, err *e)
{
    stats_coverage *rows = NULL;
    int64_t n = 0;
    json_writer w = {.out = out};
    if (!stats_file_coverage(f, &rows, &n, e))
        return false;
    jw_array(&w, NULL);
    for (int64_t i = 0; i < n; i++) {
        jw_object(&w, NULL);
        jw_int(&w, "layer", rows[i].layer);
        jw_int(&w, "experts", rows[i].n_experts);
        jw_int(&w, "min", rows[i].min);
        jw_int(&w, "median", rows[i].median);
        jw_int(&w, "max", rows[i].max);
        jw_int(&w, "never_hit", rows[i].never_hit);
        jw_object_end(&w);
    }
    jw_array_end(&w);
    free(rows);
    return strbuf_ok(out, e);
}

static bool write_data(const stats_file *f, const strbuf *header, const char *dir,
                       const char *name, bool replace, err *e)
{
    out_file o = OUT_FILE_CLOSED;
    uint64_t size = header->len;
    for (int64_t i = 0; i < f->n; i++)
        size += (uint64_t)(f->set[i].sums.n_experts * (f->set[i].sums.cols + 3)) * 8;
    bool ok = out_open(&o, dir, name, size, header->text, header->len, e);
    for (int64_t i = 0; ok && i < f->n; i++) {
        const stats *s = &f->set[i].sums;
        for (int part = 0; ok && part < N_PARTS; part++)
            ok = out_append(&o, part_of(s, part),
                            (uint64_t)(s->n_experts * (part == 0 ? s->cols : 1)) * 8, e);
    }
    ok = ok && out_publish(&o, replace, NULL, e);
    if (!ok)
        out_discard(&o);
    return ok;
}

bool stats_file_write(const stats_file *f, const char *path, bool replace, err *e)
{
    arena names = {0};
    strbuf coverage = {0}, header = {0}, dir = {0};
    const char *base = path_base(path);
    strbuf_add(&dir, path, (size_t)(base - path));
    if (dir.len == 0)
        strbuf_puts(&dir, ".");
    tensor *list = mem_new((uint64_t)(f->n * N_PARTS), sizeof *list, "statistics", e);
    bool ok = list && list_tensors(f, list, &names, e) && coverage_json(f, &coverage, e);
    st_pair pairs[] = {{"format", "pt"},
                       {version_key, version},
                       {"made_from", f->made_from ? f->made_from : "[]"},
                       {"coverage", coverage.text ? coverage.text : "[]"}};
    ok = ok && strbuf_ok(&dir, e) &&
         st_write_header(&header, list, f->n * N_PARTS, pairs, COUNT_OF(pairs), 8, e) &&
         write_data(f, &header, dir.text, base, replace, e);
    free(list);
    arena_free(&names);
    strbuf_free(&coverage);
    strbuf_free(&header);
    strbuf_free(&dir);
    return ok;
}

// ---- coverage --------------------------------------------------------------------------------

static int by_count(const void *x, const void *y)
{
    int64_t a = *(const int64_t *)x, b = *(const int64_t *)y;
    return (a > b) - (a < b);
}

static bool cover(const stats_set *s, stats_coverage *to, err *e)
{
    int64_t n = s->sums.n_experts;
    int64_t *sorted = mem_new((uint64_t)n, sizeof *sorted, "coverage", e);
    if (!sorted)
        return false;
    memcpy(sorted, s->sums.count, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, by_count);
    *to = (stats_coverage){.layer = s->layer,
                           .n_experts = n,
                           .min = sorted[0],
                           .median = sorted[n / 2],
                           .max = sorted[n - 1]};
    for (int64_t i = 0; i < n; i++)
        to->never_hit += sorted[i] == 0;
    free(sorted);
    return true;
}

bool stats_file_coverage(const stats_file *f, stats_coverage **out, int64_t *n, err *e)
{
    *n = 0;
    *out = mem_new((uint64_t)f->n, sizeof **out, "coverage", e);
    bool ok = *out != NULL;
    for (int64_t i = 0; ok && i < f->n; i++) {
        if (f->set[i].role != ROLE_EXPERT_GATE)
            continue;
        ok = cover(&f->set[i], &(*out)[*n], e);
        ++*n;
    }
    if (!ok) {
        free(*out);
        *out = NULL;
        *n = 0;
    }
    return ok;
}
