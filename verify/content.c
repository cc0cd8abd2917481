// SPDX-License-Identifier: Apache-2.0
#include "verify/content.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "verify/content_list.h"

void content_findings_free(content_findings *f)
{
    arena_free(&f->texts);
    free(f->item);
    *f = (content_findings){0};
}

bool content_add(content_findings *f, const char *subject, err *e, const char *format, ...)
{
    char what[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(what, sizeof what, format, args);
    va_end(args);
    if (!mem_grow((void **)&f->item, &f->cap, f->n + 1, sizeof *f->item, "findings", e))
        return false;
    content_finding one = {arena_text(&f->texts, subject, strlen(subject), e),
                           arena_text(&f->texts, what, strlen(what), e)};
    if (!one.subject || !one.what)
        return false;
    f->item[f->n++] = one;
    return true;
}

// ---- companions ------------------------------------------------------------------------------

// The tensor beside `t` whose last name component is `last`.
static bool has_beside(const checkpoint *c, const tensor *t, const char *last, strbuf *name)
{
    const char *dot = strrchr(t->name, '.');
    strbuf_clear(name);
    if (dot)
        strbuf_add(name, t->name, (size_t)(dot + 1 - t->name));
    strbuf_puts(name, last);
    return !name->failed && checkpoint_index_of(c, name->text) >= 0;
}

static bool has_one_of(const checkpoint *c, const tensor *t, const char *const *last,
                       strbuf *name)
{
    for (; *last; last++)
        if (has_beside(c, t, *last, name))
            return true;
    return false;
}

static const char *last_component(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot ? dot + 1 : name;
}

bool content_companions(const checkpoint *c, content_findings *f, err *e)
{
    static const char *const scales[] = {"weight_scale_inv", "weight_scale", "scale", NULL};
    static const char *const weights[] = {"weight", "weight_packed", NULL};
    strbuf name = {0};
    bool ok = true;
    for (int64_t i = 0; ok && i < checkpoint_count(c); i++) {
        tensor t;
        checkpoint_get(c, i, &t);
        const char *last = last_component(t.name);
        bool packed = strcmp(last, "weight_packed") == 0;
        bool fp8 = strcmp(last, "weight") == 0 && t.type == DT_F8_E4M3;
        bool scale = strcmp(last, "weight_scale_inv") == 0 || strcmp(last, "weight_scale") == 0;
        if ((packed || fp8) && !has_one_of(c, &t, scales, &name))
            ok = content_add(f, t.name, e, "is stored as %s and has no weight_scale%s beside it",
                             packed ? "packed codes" : "F8_E4M3",
                             packed ? "" : "_inv or weight_scale");
        else if (scale && !has_one_of(c, &t, weights, &name))
            ok = content_add(f, t.name, e, "is a scale without a weight beside it");
    }
    ok = ok && strbuf_ok(&name, e);
    strbuf_free(&name);
    return ok;
}

// ---- values ----------------------------------------------------------------------------------

// How a type writes what must not be there: element bits under `mask` equal to `mask` mean NaN, or
// infinity where the bits under `fraction` are all zero.
typedef struct {
    int bytes;
    uint64_t mask, fraction, magnitude; // magnitude: all bits but the sign
    uint64_t infinity;                  // 0: fraction zero is no infinity but NaN too
} layout;

// F8_E4M3 has one NaN and no infinity; E8M0 and the FNUZ types have one code for NaN.
static bool layout_of(dtype t, layout *out)
{
    static const struct {
        dtype t;
        layout l;
    } rows[] = {
        {DT_F64, {8, 0x7ff0000000000000u, 0x000fffffffffffffu, 0x7fffffffffffffffu, 1}},
        {DT_F32, {4, 0x7f800000u, 0x007fffffu, 0x7fffffffu, 1}},
        {DT_C64, {4, 0x7f800000u, 0x007fffffu, 0x7fffffffu, 1}}, // two F32 an element
        {DT_F16, {2, 0x7c00u, 0x03ffu, 0x7fffu, 1}},
        {DT_BF16, {2, 0x7f80u, 0x007fu, 0x7fffu, 1}},
        {DT_F8_E5M2, {1, 0x7cu, 0x03u, 0x7fu, 1}},
        {DT_F8_E4M3, {1, 0x7fu, 0, 0x7fu, 0}},
        {DT_F8_E8M0, {1, 0xffu, 0, 0, 0}}, // has no zero
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (rows[i].t == t) {
            *out = rows[i].l;
            return true;
        }
    return false;
}

typedef struct {
    uint64_t nan, infinite, zero;
    uint64_t first; // element of the first of them
} counts;

static uint64_t element(const unsigned char *p, int bytes)
{
    switch (bytes) {
    case 8:
        return load_u64(p);
    case 4:
        return load_u32(p);
    case 2:
        return load_u16(p);
    default:
        return *p;
    }
}

// Simple enough for the compiler to vectorise: is there anything to look at closely?
#define SUSPICIOUS(name, type)                                                             \
    static bool name(const void *block, size_t n, uint64_t wide_mask)                      \
    {                                                                                      \
        const type *v = block, mask = (type)wide_mask;                                     \
        type any = 0;                                                                      \
        for (size_t i = 0; i < n; i++)                                                     \
            any |= (type)((v[i] & mask) == mask);                                          \
        return any != 0;                                                                   \
    }
SUSPICIOUS(suspicious_64, uint64_t)
SUSPICIOUS(suspicious_32, uint32_t)
SUSPICIOUS(suspicious_16, uint16_t)
SUSPICIOUS(suspicious_8, uint8_t)

static bool suspicious(const layout *l, const void *block, size_t n)
{
    switch (l->bytes) {
    case 8:
        return suspicious_64(block, n, l->mask);
    case 4:
        return suspicious_32(block, n, l->mask);
    case 2:
        return suspicious_16(block, n, l->mask);
    default:
        return suspicious_8(block, n, l->mask);
    }
}

// n elements of a block that begins with element `at` of its tensor.
static void count_block(const layout *l, bool scale, const void *block, size_t n, uint64_t at,
                        counts *out)
{
    const unsigned char *p = block;
    if (!scale && !suspicious(l, block, n))
        return;
    for (size_t i = 0; i < n; i++, p += l->bytes) {
        uint64_t v = element(p, l->bytes);
        bool special = (v & l->mask) == l->mask;
        bool infinite = special && l->infinity && (v & l->fraction) == 0;
        bool zero = scale && l->magnitude && (v & l->magnitude) == 0;
        if ((special || zero) && out->nan + out->infinite + out->zero == 0)
            out->first = at + i;
        out->nan += special && !infinite;
        out->infinite += infinite;
        out->zero += zero;
    }
}

static bool is_scale(const tensor *t)
{
    static const char *const names[] = {"weight_scale", "weight_scale_inv", "weight_scale_2",
                                        "weight_global_scale", "input_scale", "scale_inv",
                                        "scales"};
    const char *last = last_component(t->name);
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (strcmp(last, names[i]) == 0)
            return true;
    return false;
}

enum { BLOCK = 1 << 20 }; // bytes

typedef struct {
    const checkpoint *c;
    const events *v;
    counts *each;          // [checkpoint_count]
    void **block;          // [pool_threads], one a worker
    _Atomic uint64_t done; // bytes
    uint64_t total;
} scan;

static bool scan_tensor(scan *s, int64_t index, void *block, err *e)
{
    const tensor *t = checkpoint_at(s->c, index);
    layout l;
    if (!layout_of(t->type, &l))
        return true;
    for (uint64_t at = 0; at < t->bytes;) {
        uint64_t n = t->bytes - at < BLOCK ? t->bytes - at : BLOCK;
        if (!event_go_on(s->v, e) || !checkpoint_read(s->c, t, at, block, n, e))
            return false;
        count_block(&l, is_scale(t), block, (size_t)n / (size_t)l.bytes, at / (size_t)l.bytes,
                    &s->each[index]);
        at += n;
        event_progress(s->v, "bytes", atomic_fetch_add(&s->done, n) + n, s->total);
    }
    return true;
}

static bool scan_some(void *ctx, int64_t begin, int64_t end, int worker, err *e)
{
    scan *s = ctx;
    if (!s->block[worker])
        s->block[worker] = mem_new_aligned(BLOCK, 1, "a block", e);
    if (!s->block[worker])
        return false;
    for (int64_t i = begin; i < end; i++)
        if (!scan_tensor(s, i, s->block[worker], e))
            return false;
    return true;
}

static bool add_counts(content_findings *f, const tensor *t, const counts *n, err *e)
{
    strbuf what = {0};
    const char *lead = "";
    if (n->nan) {
        strbuf_printf(&what, "%" PRIu64 " NaN", n->nan);
        lead = ", ";
    }
    if (n->infinite) {
        strbuf_printf(&what, "%s%" PRIu64 " infinite", lead, n->infinite);
        lead = ", ";
    }
    if (n->zero)
        strbuf_printf(&what, "%s%" PRIu64 " zero scale%s", lead, n->zero, n->zero == 1 ? "" : "s");
    bool ok = strbuf_ok(&what, e) &&
              content_add(f, t->name, e, "%s, the first at element %" PRIu64, what.text,
                          n->first);
    strbuf_free(&what);
    return ok;
}

bool content_values(const checkpoint *c, pool *p, const events *v, content_findings *f, err *e)
{
    int64_t n = checkpoint_count(c);
    int workers = pool_threads(p);
    layout l;
    scan s = {.c = c, .v = v};
    s.each = mem_new((uint64_t)n, sizeof *s.each, "counts", e);
    s.block = mem_new((uint64_t)workers, sizeof *s.block, "blocks", e);
    bool ok = s.each && s.block;
    for (int64_t i = 0; i < n; i++)
        s.total += layout_of(checkpoint_at(c, i)->type, &l) ? checkpoint_at(c, i)->bytes : 0;
    ok = ok && pool_for(p, n, 1, scan_some, &s, e) && checkpoint_unchanged(c, e);
    for (int64_t i = 0; ok && i < n; i++)
        if (s.each[i].nan || s.each[i].infinite || s.each[i].zero)
            ok = add_counts(f, checkpoint_at(c, i), &s.each[i], e);
    for (int i = 0; s.block && i < workers; i++)
        free(s.block[i]);
    free(s.block);
    free(s.each);
    return ok;
}
