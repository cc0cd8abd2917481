// SPDX-License-Identifier: Apache-2.0
#include "convert/layout.h"

#include <stdlib.h>
#include <string.h>

// ---- natural order ---------------------------------------------------------------------------

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static int natural_order(const char *a, size_t a_len, const char *b, size_t b_len)
{
    const char *a_end = a + a_len, *b_end = b + b_len;
    while (a < a_end && b < b_end) {
        if (!is_digit(*a) || !is_digit(*b)) {
            if (*a != *b)
                return (unsigned char)*a < (unsigned char)*b ? -1 : 1;
            a++;
            b++;
            continue;
        }
        while (a < a_end && *a == '0')
            a++;
        while (b < b_end && *b == '0')
            b++;
        size_t n = 0, m = 0;
        while (a + n < a_end && is_digit(a[n]))
            n++;
        while (b + m < b_end && is_digit(b[m]))
            m++;
        int c = n != m ? (n < m ? -1 : 1) : memcmp(a, b, n);
        if (c != 0)
            return c;
        a += n;
        b += m;
    }
    return (a < a_end) - (b < b_end);
}

int layout_natural_order(const char *a, const char *b)
{
    return natural_order(a, strlen(a), b, strlen(b));
}

static size_t module_len(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot ? (size_t)(dot - name) : strlen(name);
}

// By the natural order of modules, so that a module's tensors always stand together, then of what
// follows the last dot. Equal in that order ("01", "1"): by bytes.
static int by_name(const void *x, const void *y)
{
    const plan_tensor *a = x, *b = y;
    const char *p = plan_written(a)->name, *q = plan_written(b)->name;
    if (a->stack && a->stack == b->stack)
        return (a->piece > b->piece) - (a->piece < b->piece);
    size_t n = module_len(p), m = module_len(q);
    int c = natural_order(p, n, q, m);
    if (c == 0)
        c = memcmp(p, q, n < m ? n : m);
    if (c == 0 && n == m)
        c = layout_natural_order(p + n, q + m);
    return c != 0 ? c : strcmp(p, q);
}

// ---- plain shards ----------------------------------------------------------------------------

static int element_bytes(const plan_tensor *t) { return (dtype_bits(t->to.type) + 7) / 8; }

static bool is_aligned(const plan_tensor *t) { return plan_written(t)->bytes % 8 == 0; }

// Tensors of multiples of 8 bytes first, in order, so that each begins on 8 bytes; behind them the
// others, wide elements first, each a multiple of its own element: all are naturally aligned.
static void align_order(plan_tensor *list, int64_t n, plan_tensor *room)
{
    int64_t k = 0;
    for (int64_t i = 0; i < n; i++)
        if (is_aligned(&list[i]))
            room[k++] = list[i];
    for (int width = 8; width >= 1; width--)
        for (int64_t i = 0; i < n; i++)
            if (!is_aligned(&list[i]) && element_bytes(&list[i]) == width)
                room[k++] = list[i];
    memcpy(list, room, (size_t)n * sizeof *list);
}

static bool same_module(const plan_tensor *a, const plan_tensor *b)
{
    const char *p = plan_written(a)->name, *q = plan_written(b)->name;
    size_t n = module_len(p);
    return n == module_len(q) && memcmp(p, q, n) == 0;
}

static plan_file *new_file(plan *p, uint64_t *cap, int64_t first, int64_t n, err *e)
{
    if (!mem_grow((void **)&p->file, cap, (uint64_t)p->n_files + 1, sizeof *p->file, "the plan",
                  e))
        return NULL;
    plan_file *f = &p->file[p->n_files++];
    *f = (plan_file){.first = first, .n = n};
    return f;
}

// Cuts tensors [first, first + n), in order, into files of at most shard_bytes and
// shard_tensors, never inside a module.
static bool cut_plain(plan *p, uint64_t *cap, int64_t first, int64_t n, err *e)
{
    int64_t begin = first, end = first + n, tensors = 0;
    uint64_t bytes = 0;
    for (int64_t i = first; i < end;) {
        int64_t next = i, more_tensors = 0;
        uint64_t more = 0;
        do {
            more_tensors += plan_heads(&p->tensor[next]);
            more += p->tensor[next++].to.bytes;
        } while (next < end && same_module(&p->tensor[i], &p->tensor[next]));
        bool full = bytes + more > p->options.shard_bytes ||
                    (p->options.shard_tensors &&
                     tensors + more_tensors > p->options.shard_tensors);
        if (i > begin && full) {
            if (!new_file(p, cap, begin, i - begin, e))
                return false;
            begin = i;
            bytes = 0;
            tensors = 0;
        }
        bytes += more;
        tensors += more_tensors;
        i = next;
    }
    return end == begin || new_file(p, cap, begin, end - begin, e) != NULL;
}

// ---- expert shards ---------------------------------------------------------------------------

static pack_projection projection_of(role r)
{
    if (r == ROLE_EXPERT_GATE || r == ROLE_EXPERT_GATE_BIAS)
        return PACK_GATE;
    return r == ROLE_EXPERT_UP || r == ROLE_EXPERT_UP_BIAS ? PACK_UP : PACK_DOWN;
}

static bool is_expert(const plan_tensor *t)
{
    return t->owned && role_class_of(t->role) == CLASS_EXPERTS;
}

static const codec_part *part_of(const plan *p, const plan_tensor *t)
{
    if (t->source)
        return &t->codec->part[t->part];
    const weight *w = plan_weight(p, t);
    return &w->codec->part[w->of[t->part]];
}

// Rows (or columns) that follow the weight's own rows travel with the expert; block scales, shapes
// and globals lie in the tail.
static bool in_record(const plan *p, const plan_tensor *t)
{
    const codec_part *part = part_of(p, t);
    return part->rank == 2 && (part->row_block == 1 || part->across);
}

typedef struct {
    plan_tensor *t;
    bool record;
} placed;

static int by_place(const void *x, const void *y)
{
    const placed *a = x, *b = y;
    if (a->record != b->record)
        return a->record ? -1 : 1;
    int wa = element_bytes(a->t), wb = element_bytes(b->t);
    if (!a->record && wa != wb)
        return wa > wb ? -1 : 1;
    if (a->t->expert != b->t->expert)
        return a->t->expert < b->t->expert ? -1 : 1;
    int pa = (int)projection_of(a->t->role), pb = (int)projection_of(b->t->role);
    if (pa != pb)
        return pa - pb;
    if (a->t->role != b->t->role)
        return a->t->role < b->t->role ? -1 : 1;
    return a->t->part - b->t->part;
}

static bool same_kind(const plan_tensor *a, const plan_tensor *b)
{
    return a->role == b->role && a->part == b->part && a->to.type == b->to.type &&
           a->to.rank == b->to.rank &&
           memcmp(a->to.shape, b->to.shape, (size_t)a->to.rank * sizeof a->to.shape[0]) == 0;
}

// What follows the module's path; the whole name is never a module of experts.
static const char *suffix_of(const plan_tensor *t)
{
    return t->to.name + module_len(t->to.name) + 1;
}

// Every expert of the layer must look like expert 0; then component i of expert e is at
// offset + e * stride.
static bool describe_layer(plan *p, plan_file *f, const placed *list, err *e)
{
    int64_t experts = model_arch(p->model)->n_experts, per_expert = f->n / experts;
    if (f->n != per_expert * experts)
        return err_set(e, ERR_INPUT, "layer %lld: its %lld experts do not have equally many "
                       "tensors", (long long)f->records.layer, (long long)experts);
    pack_index_component *c = arena_new(&p->names, (uint64_t)per_expert, sizeof *c, e);
    if (!c)
        return false;
    int64_t k = 0;
    for (int64_t i = 0; i < f->n; i++) {
        const plan_tensor *t = list[i].t;
        if (t->expert == 0) {
            if (list[i].record && t->to.bytes % 8 != 0)
                return err_set(e, ERR_INPUT, "'%s' has %llu bytes; the parts of an expert record "
                               "must be multiples of 8 (the plain layout has no such limit)",
                               t->to.name, (unsigned long long)t->to.bytes);
            c[k++] = (pack_index_component){.projection = projection_of(t->role),
                                            .suffix = suffix_of(t),
                                            .type = t->to.type,
                                            .rank = t->to.rank,
                                            .shape = {t->to.shape[0], t->to.shape[1]},
                                            .in_record = list[i].record,
                                            .bytes = t->to.bytes};
            if (list[i].record)
                f->records.record_bytes += t->to.bytes;
        }
    }
    if (k != per_expert)
        return err_set(e, ERR_INPUT, "layer %lld: expert 0 has %lld tensors, the others %lld",
                       (long long)f->records.layer, (long long)k, (long long)per_expert);
    if (f->records.record_bytes == 0)
        return err_set(e, ERR_INPUT, "layer %lld: its experts have no bytes",
                       (long long)f->records.layer);
    f->records.component = c;
    f->records.n_components = per_expert;
    return true;
}

static bool uniform(const plan_tensor *list, int64_t n, int64_t experts, err *e)
{
    // The list is in the order of experts: that of names groups them.
    int64_t per_expert = n / experts;
    for (int64_t i = per_expert; i < n; i++)
        if (!same_kind(&list[i], &list[i % per_expert]))
            return err_set(e, ERR_INPUT, "'%s' is not of the type and shape of '%s': an expert "
                           "pack needs equal experts, --layout plain does not", list[i].to.name,
                           list[i % per_expert].to.name);
    return true;
}

static bool place_layer(plan *p, plan_file *f, err *e)
{
    placed *list = mem_new((uint64_t)f->n, sizeof *list, "the plan", e);
    plan_tensor *sorted = mem_new((uint64_t)f->n, sizeof *sorted, "the plan", e);
    bool ok = list && sorted &&
              uniform(p->tensor + f->first, f->n, model_arch(p->model)->n_experts, e);
    if (ok) {
        for (int64_t i = 0; i < f->n; i++)
            list[i] = (placed){&p->tensor[f->first + i], in_record(p, &p->tensor[f->first + i])};
        qsort(list, (size_t)f->n, sizeof *list, by_place);
        ok = describe_layer(p, f, list, e);
    }
    if (ok) {
        for (int64_t i = 0; i < f->n; i++)
            sorted[i] = *list[i].t;
        memcpy(p->tensor + f->first, sorted, (size_t)f->n * sizeof *sorted);
    }
    free(list);
    free(sorted);
    return ok;
}

static int experts_last(const void *x, const void *y)
{
    const plan_tensor *a = x, *b = y;
    bool ea = is_expert(a), eb = is_expert(b);
    if (ea != eb)
        return ea ? 1 : -1;
    if (ea && a->layer != b->layer)
        return a->layer < b->layer ? -1 : 1;
    return by_name(a, b);
}

static bool cut_experts(plan *p, uint64_t *cap, int64_t first, err *e)
{
    for (int64_t i = first; i < p->n_tensors;) {
        int64_t end = i;
        while (end < p->n_tensors && p->tensor[end].layer == p->tensor[i].layer)
            end++;
        plan_file *f = new_file(p, cap, i, end - i, e);
        if (!f)
            return false;
        f->holds_experts = true;
        f->records.layer = p->tensor[i].layer;
        f->records.file = p->n_files - 1;
        f->records.n_experts = model_arch(p->model)->n_experts;
        if (!place_layer(p, f, e))
            return false;
        i = end;
    }
    return true;
}

bool layout_files(plan *p, err *e)
{
    uint64_t cap = 0;
    int64_t resident = p->n_tensors;
    if (p->n_tensors == 0 && p->options.layout != LAYOUT_EXPERTS)
        return new_file(p, &cap, 0, 0, e) != NULL;
    if (p->options.layout == LAYOUT_EXPERTS) {
        qsort(p->tensor, (size_t)p->n_tensors, sizeof *p->tensor, experts_last);
        for (resident = 0; resident < p->n_tensors && !is_expert(&p->tensor[resident]);)
            resident++;
        if (resident == p->n_tensors)
            return err_set(e, ERR_INPUT, "the model has no routed experts to pack");
    } else if (p->options.layout == LAYOUT_PLAIN || !checkpoint_gguf(p->source)) {
        qsort(p->tensor, (size_t)p->n_tensors, sizeof *p->tensor, by_name);
    } // A GGUF's tensors stay in their order.
    if (!cut_plain(p, &cap, 0, resident, e))
        return false;
    if (p->options.layout == LAYOUT_GGUF)
        return true; // its padding aligns all
    plan_tensor *room = mem_new((uint64_t)p->n_tensors, sizeof *room, "the plan", e);
    if (!room)
        return false;
    for (int64_t f = 0; f < p->n_files; f++)
        align_order(p->tensor + p->file[f].first, p->file[f].n, room);
    free(room);
    return cut_experts(p, &cap, resident, e);
}

bool layout_records(plan *p, err *e)
{
    for (int64_t i = 0; i < p->n_files; i++) {
        plan_file *f = &p->file[i];
        if (!f->holds_experts)
            continue;
        pack_index_layer *r = &f->records;
        // Written by describe_layer above; the arena's memory is ours to finish.
        pack_index_component *c = arena_new(&p->names, (uint64_t)r->n_components, sizeof *c, e);
        if (!c)
            return false;
        memcpy(c, r->component, (size_t)r->n_components * sizeof *c);
        r->component = c;
        r->first_record = p->tensor[f->first].to.offset;
        for (int64_t k = 0; k < r->n_components; k++) {
            uint64_t at[2] = {0, 0};
            for (int64_t t = f->first; t < f->first + f->n; t++) {
                const plan_tensor *pt = &p->tensor[t];
                if (pt->expert < 2 && projection_of(pt->role) == c[k].projection &&
                    strcmp(suffix_of(pt), c[k].suffix) == 0)
                    at[pt->expert] = pt->to.offset;
            }
            c[k].offset = at[0];
            c[k].stride = r->n_experts > 1 ? at[1] - at[0] : 0;
        }
    }
    return true;
}
