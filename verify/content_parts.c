// SPDX-License-Identifier: Apache-2.0
// What a tensor's bytes mean where its own type does not say: by its name and by what stands beside
// it.
#include <stdio.h>
#include <string.h>

#include "verify/content_list.h"
#include "verify/content_scan.h"

enum { NAME_BYTES = 1200 }; // a safetensors name has at most 1024

// The tensor that has the name of `t` with `tail`, its end, replaced.
static const tensor *beside(const checkpoint *c, const tensor *t, const char *tail,
                            const char *other)
{
    char name[NAME_BYTES];
    size_t lead = strlen(t->name) - strlen(tail), n = strlen(other);
    if (lead + n + 1 > sizeof name)
        return NULL;
    memcpy(name, t->name, lead);
    memcpy(name + lead, other, n + 1);
    return checkpoint_find(c, name);
}

static int64_t dim_from_last(const tensor *t, int back)
{
    return t && t->rank > back ? t->shape[t->rank - 1 - back] : 0;
}

// Scales [rows] are one a row.
static int64_t groups_of(const tensor *scales)
{
    return scales && scales->rank < 2 ? 1 : dim_from_last(scales, 0);
}

// A scale in a byte goes with 8 bytes of codes (NVFP4: 16 of 4 bits, and the byte is E4M3) or with
// 16 or 32 (32 of 4 or 8 bits, and it is E8M0).
static dtype of_bytes(const checkpoint *c, const tensor *t)
{
    static const struct {
        const char *scales, *codes;
        dtype type;
    } rows[] = {
        {".weight_scale", ".weight_packed", DT_U8}, {".weight_scale", ".weight", DT_F8_E4M3},
        {".weight_scale", ".weight", DT_U8},        {".weight_scale_inv", ".weight", DT_F8_E4M3},
        {".scale", ".weight", DT_F8_E4M3},          {".scale", ".weight", DT_I8},
        {".scales", ".weight", DT_U32},             {".scales", ".blocks", DT_U8},
        {"_scales", "_blocks", DT_U8},              {"_scale_inv", "", DT_F8_E4M3},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if (!str_ends(t->name, rows[i].scales))
            continue;
        const tensor *codes = beside(c, t, rows[i].scales, rows[i].codes);
        if (!codes || codes->type != rows[i].type || t->bytes == 0 || codes->bytes % t->bytes)
            continue;
        uint64_t ratio = codes->bytes / t->bytes;
        if (ratio == 8 || ratio == 16 || ratio == 32)
            return ratio == 8 ? DT_F8_E4M3 : DT_F8_E8M0;
    }
    return DT_U8;
}

content_part content_part_of(const checkpoint *c, const tensor *t)
{
    content_part p = {.look = LOOK_NUMBERS, .numbers = t->type};
    const char *last = content_last(t->name);
    if (t->type == DT_U8) {
        p.numbers = of_bytes(c, t);
    } else if (t->type == DT_I32 && strcmp(last, "weight_g_idx") == 0) {
        p.groups = groups_of(beside(c, t, last, "weight_scale"));
        p.cols = dim_from_last(t, 0);
        p.look = p.groups > 0 && p.cols > 0 ? LOOK_ORDER : LOOK_NUMBERS;
    } else if (t->type == DT_I32 && strcmp(last, "g_idx") == 0) {
        p.groups = dim_from_last(beside(c, t, last, "scales"), 1);
        p.cols = dim_from_last(t, 0);
        p.look = p.groups > 0 && p.cols > 0 ? LOOK_ORDER : LOOK_NUMBERS;
    } else if ((t->type == DT_I32 || t->type == DT_I64) && strcmp(last, "weight_shape") == 0) {
        const tensor *codes = beside(c, t, last, "weight_packed");
        p.rows = dim_from_last(codes, 1);
        p.cols = dim_from_last(codes, 0);
        p.groups = groups_of(beside(c, t, last, "weight_scale"));
        if (codes && codes->type == DT_I32 && codes->rank >= 2 && dim_from_last(t, 0) == 2)
            p.look = LOOK_SHAPE;
    }
    return p;
}

// So many columns make so many words, of b bits each: compressed-tensors lays them one behind the
// other, older releases only as many as a word holds whole.
static bool words_hold(int64_t words, int64_t cols, int64_t b)
{
    return i64_ceil_div(cols * b, 32) == words || i64_ceil_div(cols, 32 / b) == words;
}

bool content_shape_holds(const content_part *p, int64_t rows, int64_t cols)
{
    enum { MOST_BITS = 8 };
    if (rows != p->rows || cols < 0 || cols / 32 > p->cols)
        return false;
    bool held = cols == 0 && p->cols == 0;
    for (int64_t b = 1; !held && b <= MOST_BITS; b++)
        held = words_hold(p->cols, cols, b);
    // The last group may be a smaller one.
    return held && (p->groups == 0 || cols == 0 || (p->groups <= cols &&
                    i64_ceil_div(cols, i64_ceil_div(cols, p->groups)) == p->groups));
}
