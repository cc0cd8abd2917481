// SPDX-License-Identifier: Apache-2.0
#include "verify/steps.h"

#include <math.h>

#include "base/bytes.h"

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

// Where the scale of zero over column i begins.
static int64_t begin_of(const float *steps, int64_t i)
{
    while (i > 0 && steps[i - 1] == 0)
        i--;
    return i;
}

static float step_of(codec_element element, float scale, float value)
{
    if (scale == 0 || element == ELEMENT_INT)
        return scale;
    return scale * (element == ELEMENT_E2M1 ? spacing(value / scale, 1, 0)
                                            : spacing(value / scale, 3, -6));
}

bool steps_fill(const steps_args *a, float *steps, int64_t *zero_row, int64_t *zero_col, err *e)
{
    const codec *c = a->w->codec;
    int64_t in = a->w->in, zero = -1;
    *zero_row = *zero_col = -1;
    if (c->form == CODEC_BLOCKS) {
        for (int64_t i = 0; i < a->n * in; i++)
            steps[i] = INFINITY;
        return true;
    }
    if (!c->scales) {
        plain_steps(a, steps);
        return true;
    }
    if (!weight_scales(a->held, a->stored, a->row, a->n, steps, e))
        return false;
    // A bias says what a group of scale zero is.
    for (int64_t i = 0; i < a->n * in && codec_part_of(c, PART_BIASES) < 0 && zero < 0; i++)
        zero = steps[i] == 0 && a->reference[i] != 0 ? i : -1;
    if (zero >= 0) {
        *zero_row = a->row + zero / in;
        *zero_col = begin_of(steps + zero / in * in, zero % in);
    }
    for (int64_t i = 0; i < a->n * in; i++) {
        float step = step_of(c->element, fabsf(steps[i]), a->values[i]);
        steps[i] = step > 0 ? step : spacing(0, 23, -126);
    }
    return true;
}
