// SPDX-License-Identifier: Apache-2.0
#include "verify/steps.h"

#include <math.h>

#include "base/bytes.h"
#include "quantize/number.h"

enum { SCALE_PART = 1 }; // of every codec that has scales

// 2^(e - mantissa) for |v| in [2^e, 2^(e+1)), not below the spacing of the smallest normals.
static float spacing(float v, int mantissa, int smallest)
{
    int exponent = (int)(f32_bits(v) >> 23 & 255) - 127;
    if (exponent < smallest)
        exponent = smallest;
    int biased = exponent - mantissa + 127;
    return biased > 0 ? f32_from_bits((uint32_t)biased << 23)
                      : f32_from_bits(1u << (biased + 22 > 0 ? biased + 22 : 0));
}

static void plain_steps(const steps_args *a, float *steps)
{
    dtype t = a->w->codec->part[0].type;
    int mantissa = t == DT_BF16 ? 7 : t == DT_F16 ? 10 : 23, smallest = t == DT_F16 ? -14 : -126;
    for (int64_t i = 0; i < a->n * a->w->in; i++)
        steps[i] = spacing(a->values[i], mantissa, smallest);
}

static bool all_zero(const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (x[i] != 0)
            return false;
    return true;
}

// Rows of the scale part that cover the rows asked for, as binary32.
static float *read_scales(const steps_args *a, int64_t *first, int64_t *cols, scratch *s, err *e)
{
    const codec *c = a->w->codec;
    const tensor *t = a->w->part[SCALE_PART];
    int64_t shape[2], block = c->part[SCALE_PART].row_block;
    (void)codec_part_shape(c, SCALE_PART, a->w->out, a->w->in, shape);
    *cols = shape[1];
    *first = a->row / block;
    int64_t n = (a->row + a->n - 1) / block - *first + 1;
    uint64_t row_bytes = codec_part_row_bytes(c, SCALE_PART, a->w->in, t->type);
    uint64_t floats = (uint64_t)(n * *cols) * sizeof(float);
    uint8_t *room = scratch_need(s, floats + (uint64_t)n * row_bytes, 1, "scales", e);
    const uint8_t *stored = room + floats;
    if (!room)
        return NULL;
    if (a->held) {
        const stored_part *p = &a->held->part[SCALE_PART];
        stored = (const uint8_t *)a->stored + p->at + (uint64_t)(*first - p->first) * row_bytes;
    } else if (!checkpoint_read(a->w->from, t, (uint64_t)*first * row_bytes, room + floats,
                                (uint64_t)n * row_bytes, e)) {
        return NULL;
    }
    if (!row_to_f32((float *)(void *)room, stored, t->type, n * *cols)) {
        err_set(e, ERR_INTERNAL, "'%s': scales of type %s", t->name, dtype_name(t->type));
        return NULL;
    }
    return (float *)(void *)room;
}

bool steps_fill(const steps_args *a, float *steps, scratch *s, int64_t *zero_row,
                int64_t *zero_col, err *e)
{
    const codec *c = a->w->codec;
    *zero_row = *zero_col = -1;
    if (c->form == CODEC_FLOAT) {
        plain_steps(a, steps);
        return true;
    }
    int64_t first, cols, in = a->w->in;
    const float *scale = read_scales(a, &first, &cols, s, e);
    if (!scale)
        return false;
    int64_t width = c->part[SCALE_PART].col_block ? c->part[SCALE_PART].col_block : in;
    for (int64_t r = 0; r < a->n; r++) {
        const float *of_row = scale + ((a->row + r) / c->part[SCALE_PART].row_block - first) * cols;
        for (int64_t i = 0; i < in; i += width) {
            float one = fabsf(of_row[i / width]);
            int64_t n = i64_min(width, in - i), at = r * in + i;
            if (one == 0 && *zero_row < 0 && !all_zero(a->reference + at, n)) {
                *zero_row = a->row + r;
                *zero_col = i;
            }
            for (int64_t j = at; j < at + n; j++) {
                float step = c->form == CODEC_INT4_GROUP || one == 0
                                 ? one
                                 : one * spacing(a->values[j] / one, 3, -6);
                steps[j] = step > 0 ? step : spacing(0, 23, -126);
            }
        }
    }
    return true;
}
