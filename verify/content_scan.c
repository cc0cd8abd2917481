// SPDX-License-Identifier: Apache-2.0
#include "verify/content_scan.h"

#include <string.h>

#include "base/bytes.h"
#include "verify/content_list.h"

// How a type writes what must not be there: element bits under `mask` equal to `mask` mean NaN, or
// infinity where the bits under `fraction` are all zero.
typedef struct {
    dtype type;
    int bytes;
    uint64_t mask, fraction, magnitude; // magnitude: all bits but the sign
    bool has_infinity;                  // false: fraction zero is no infinity but NaN too
} layout;

// F8_E4M3 has one NaN and no infinity; E8M0 has one code for NaN and no zero.
static const layout *layout_of(dtype t)
{
    static const layout rows[] = {
        {DT_F64, 8, 0x7ff0000000000000u, 0x000fffffffffffffu, 0x7fffffffffffffffu, true},
        {DT_F32, 4, 0x7f800000u, 0x007fffffu, 0x7fffffffu, true},
        {DT_C64, 4, 0x7f800000u, 0x007fffffu, 0x7fffffffu, true}, // two F32 an element
        {DT_F16, 2, 0x7c00u, 0x03ffu, 0x7fffu, true},
        {DT_BF16, 2, 0x7f80u, 0x007fu, 0x7fffu, true},
        {DT_F8_E5M2, 1, 0x7cu, 0x03u, 0x7fu, true},
        {DT_F8_E4M3, 1, 0x7fu, 0, 0x7fu, false},
        {DT_F8_E8M0, 1, 0xffu, 0, 0, false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (rows[i].type == t)
            return &rows[i];
    return NULL;
}

static bool is_scale(const tensor *t)
{
    static const char *const names[] = {"weight_scale", "weight_scale_inv", "weight_scale_2",
                                        "weight_global_scale", "input_scale", "scale_inv",
                                        "scales"};
    const char *last = content_last(t->name);
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (strcmp(last, names[i]) == 0)
            return true;
    return false;
}

bool content_scan_begin(content_scan *s, const tensor *t, const content_part *part)
{
    *s = (content_scan){.part = *part};
    int width = (int)dtype_block_bytes(t->type);
    if (part->look != LOOK_NUMBERS) {
        s->unit = part->look == LOOK_SHAPE ? 2 * width : width;
        return true;
    }
    if (dtype_is_block(t->type))
        s->blocks = block_ops_used(t->type);
    const layout *l = layout_of(s->blocks ? DT_F32 : part->numbers);
    if (!l)
        return false;
    s->unit = s->blocks ? (int)dtype_block_bytes(t->type) : l->bytes;
    // MLX's own NVFP4 has no global scale: 0, in U8, is what it writes for the smallest groups.
    bool zero = is_scale(t) && part->numbers == t->type;
    s->bad = (bit_pattern){l->bytes, l->mask, zero ? l->magnitude : 0};
    s->fraction = l->fraction;
    s->has_infinity = l->has_infinity;
    return true;
}

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

// n elements of which at least one is bad.
static void count(const content_scan *s, const unsigned char *p, int64_t n, content_counts *out)
{
    for (int64_t i = 0; i < n; i++, p += s->bad.width) {
        uint64_t v = element(p, s->bad.width);
        bool special = (v & s->bad.all) == s->bad.all;
        bool infinite = special && s->has_infinity && (v & s->fraction) == 0;
        bool zero = s->bad.none && (v & s->bad.none) == 0;
        if ((special || zero) && out->nan + out->infinite + out->zero == 0)
            out->first = s->at + (uint64_t)i;
        out->nan += special && !infinite;
        out->infinite += infinite;
        out->zero += zero;
    }
}

static void add_whole(content_scan *s, const unsigned char *p, uint64_t n, content_counts *out)
{
    enum { AT_ONCE = 16 << 10 }; // elements: few enough to lie in a cache for the second look
    for (uint64_t i = 0; i < n;) {
        int64_t some = (int64_t)(n - i < AT_ONCE ? n - i : AT_ONCE);
        if (bitscan(&s->bad, p, some))
            count(s, p, some, out);
        p += some * s->bad.width;
        s->at += (uint64_t)some;
        i += (uint64_t)some;
    }
}

static void note_wrong(content_counts *out, uint64_t at)
{
    if (out->wrong++ == 0)
        out->first = at;
}

static void add_columns(content_scan *s, const unsigned char *p, uint64_t n, content_counts *out)
{
    for (uint64_t i = 0; i < n; i++, s->at++) {
        int64_t group = (int32_t)load_u32(p + 4 * i);
        if (s->at % (uint64_t)s->part.cols == 0)
            s->unset = group == -1;
        if (s->unset ? group != -1 : group < 0 || group >= s->part.groups)
            note_wrong(out, s->at);
    }
}

static void add_shapes(content_scan *s, const unsigned char *p, uint64_t n, content_counts *out)
{
    int width = s->unit / 2;
    for (uint64_t i = 0; i < n; i++, s->at++, p += s->unit) {
        int64_t said[2];
        for (int k = 0; k < 2; k++)
            said[k] = width == 4 ? (int32_t)load_u32(p + 4 * k) : (int64_t)load_u64(p + 8 * k);
        if (content_shape_holds(&s->part, said[0], said[1]))
            continue;
        if (out->wrong == 0)
            memcpy(out->said, said, sizeof said);
        note_wrong(out, s->at);
    }
}

// n elements, blocks or shapes.
static void add_units(content_scan *s, const unsigned char *p, uint64_t n, content_counts *out)
{
    enum { VALUES = 4096 };
    float values[VALUES];
    if (s->part.look == LOOK_ORDER)
        add_columns(s, p, n, out);
    else if (s->part.look == LOOK_SHAPE)
        add_shapes(s, p, n, out);
    else if (!s->blocks)
        add_whole(s, p, n, out);
    if (!s->blocks)
        return;
    uint64_t block = (uint64_t)dtype_block(s->blocks->type), at_once = VALUES / block;
    for (uint64_t some; n > 0; n -= some, p += some * (uint64_t)s->unit) {
        some = n < at_once ? n : at_once;
        s->blocks->decode(values, p, (int64_t)some);
        add_whole(s, (const unsigned char *)values, some * block, out);
    }
}

void content_scan_add(content_scan *s, const void *bytes, uint64_t n, content_counts *counts)
{
    const unsigned char *p = bytes;
    int width = s->unit;
    for (; s->n_cut > 0 && n > 0; n--) {
        s->cut[s->n_cut++] = *p++;
        if (s->n_cut == width) {
            s->n_cut = 0; // which ends the loop
            add_units(s, s->cut, 1, counts);
        }
    }
    uint64_t whole = n / (uint64_t)width;
    add_units(s, p, whole, counts);
    p += whole * (uint64_t)width;
    for (n %= (uint64_t)width; n > 0; n--)
        s->cut[s->n_cut++] = *p++;
}
