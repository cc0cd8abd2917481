// SPDX-License-Identifier: Apache-2.0
// The rules of groups.h as a template (kernel_lanes.h). COMPAT has weights in the lanes. BEST has
// candidates in 16 virtual lanes, and each takes the weights in their order: no sum crosses lanes,
// so the levels agree in every bit. Errors are compared with the group's largest weight scaled
// into [1, 2), and the codes that are written have the last word.
#ifndef SCRUPLE_QUANTIZE_GROUPS_KERNEL_H
#define SCRUPLE_QUANTIZE_GROUPS_KERNEL_H

#include "quantize/e2m1_lanes.h"
#include "quantize/zeros_kernel.h"

// ---- integers ---------------------------------------------------------------------------------

typedef struct {
    uint16_t bits;  // BF16
    float scale, zero;
} int_choice;

// The codes of 16 weights as numbers.
INLINE void int_code_lanes(const int_groups *g, const float *w, dtype type, float scale, float zero,
                           vf code[VECTORS])
{
    float half = g->bits == 4 ? 8 : 128;
    EACH_VECTOR(v) {
        vf x;
        memcpy(&x, w + v * KERNEL_LANES, sizeof x);
        x = as_lanes(type, x / scale);
        if (g->zero)
            x = as_lanes(type, x + zero);
        code[v] = within(rounded(x), -half, half - 1);
    }
}

INLINE void int_write(const int_groups *g, int64_t group, dtype type, float scale, float zero)
{
    int64_t n = g->from.n, at = group * n;
    float half = g->bits == 4 ? 8 : 128;
    for (int64_t j = 0; j < n; j += 16) {
        vf x[VECTORS];
        uint8_t code[16];
        int_code_lanes(g, g->from.w + at + j, type, scale, zero, x);
        EACH_VECTOR(v)
            store_codes(code + v * KERNEL_LANES, __builtin_convertvector(x[v] + half, vi));
        if (g->bits == 4)
            store_pairs(g->codes + (at + j) / 2, code);
        else
            memcpy(g->codes + at + j, code, 16);
    }
    if (g->zero)
        g->zero[group] = (int8_t)zero;
}

// Weighted error of the codes that int_write writes under `scale`, when it is `stored` that stands
// for them.
INLINE float int_error(const int_groups *g, const searched *s, dtype type, float scale, float zero,
                       float stored)
{
    vf sum[VECTORS] = {0};
    for (int64_t j = 0; j < s->n; j += 16) {
        vf code[VECTORS];
        int_code_lanes(g, s->w + j, type, scale, zero, code);
        EACH_VECTOR(v) {
            vf o, w = weight_lanes(s, j, v, &o);
            vf d = (w - (code[v] - zero) * stored) * s->factor;
            sum[v] += o * d * d;
        }
    }
    return fold(sum);
}

// Sums of importance x weight^2, importance x weight x value and importance x value^2.
typedef struct {
    vf square[VECTORS], product[VECTORS], value[VECTORS];
} shrink_sums;

INLINE void add_shrink(const searched *s, int64_t j, int v, vf value, shrink_sums *sums)
{
    vf o, w = weight_lanes(s, j, v, &o);
    w *= s->factor;
    value *= s->factor;
    sums->square[v] += o * w * w;
    sums->product[v] += o * w * value;
    sums->value[v] += o * value * value;
}

// How much larger values have to be for the first two sums to agree: least squares makes them too
// small by the error's share (docs/decisions.md). Where there is more error than weight it is what
// least squares has.
INLINE float shrunk_by(const shrink_sums *sums)
{
    float xx = fold(sums->square), xy = fold(sums->product), yy = fold(sums->value);
    if (xy * xy > 0.5f * xx * yy)
        return xx / xy;
    return xy > 0 && yy > 0 ? xy / yy : 1;
}

// The BF16 scale under which the codes found with this one do not shrink the weights.
INLINE float int_unshrunk(const int_groups *g, const searched *s, float scale, float zero)
{
    shrink_sums sums = {0};
    for (int64_t j = 0; j < s->n; j += 16) {
        vf code[VECTORS];
        int_code_lanes(g, s->w + j, DT_F32, scale, zero, code);
        EACH_VECTOR(v)
            add_shrink(s, j, v, (code[v] - zero) * scale, &sums);
    }
    float grown = as(DT_BF16, scale * shrunk_by(&sums)), size = grown < 0 ? -grown : grown;
    size = size < 0x1p-126f ? 0x1p-126f : size > 0x1.fep127f ? 0x1.fep127f : size;
    return scale < 0 ? -size : size;
}

// COMPAT's scale in the type that it is stored in, and zero point.
INLINE int_choice int_compat(const int_groups *g, int64_t group, dtype stored)
{
    const group_weights *from = &g->from;
    const float *w = from->w + group * from->n;
    float half = g->bits == 4 ? 8 : 128, scale;
    int_choice c = {0};
    if (g->zero) {
        float min, max;
        range_of(w, from->n, &min, &max);
        scale = as(from->source, as(from->source, max - min) / (2 * half - 1));
        if (scale > 0 && scale <= 0x1.fffffep127f) {
            float zero = as(from->source, -half - as(from->source, min / scale));
            zero = zero < -half ? -half : zero > half - 1 ? half - 1 : zero;
            c.zero = zero + ROUND_MAGIC - ROUND_MAGIC;
        } else if (scale == 0 && min < 0) {
            c.zero = half - 1; // of an infinite quotient
        }
    } else {
        scale = as(from->source, largest_of(w, from->n) / (half - 0.5f));
    }
    if (scale == 0)
        scale = from->source == DT_BF16 ? 0x1p-7f : from->source == DT_F16 ? 0x1p-10f : 0x1p-23f;
    float most = stored == DT_F16 ? 65504.0f : 0x1.fep127f;
    scale = as(stored, scale < most ? scale : most);
    c.scale = scale > 0 ? scale : stored == DT_F16 ? 0x1p-24f : 0x1p-133f;
    c.bits = stored == DT_F16 ? f32_to_f16(c.scale) : (uint16_t)(f32_bits(c.scale) >> 16);
    return c;
}

typedef struct {
    float half, middle;
    bool zeros, positive;
} int_space;

enum {
    SHIFTS = 3,                                      // zero points a scale, or both signs
    SHIFTS_AT_ONCE = KERNEL_LANES == 4 ? 1 : SHIFTS, // as there are registers
};

// For 16 scales, with some = SHIFTS_AT_ONCE zero points each, or without and some = 1:
// sum o (w / s + zero - code)^2.
INLINE void int_errors(const searched *s, bool weighted, bool zeros, float half,
                       const vf inverse[VECTORS], vf (*zero)[VECTORS], vf (*sum)[VECTORS])
{
    int some = zeros ? SHIFTS_AT_ONCE : 1;
    vf total[SHIFTS_AT_ONCE][VECTORS] = {0};
    for (int64_t j = 0; j < s->n; j++) {
        float w = s->w[j], o = weighted ? s->o[j] * s->o_factor : 1.0f;
        UNROLLED(t, some)
            EACH_VECTOR(v) {
                vf x = zeros ? w * inverse[v] + zero[t][v] : w * inverse[v];
                vf d = x - within(rounded(x), -half, half - 1);
                total[t][v] += weighted ? o * d * d : d * d;
            }
    }
    UNROLLED(t, some)
        EACH_VECTOR(v)
            sum[t][v] = total[t][v];
}

// BF16 numbers whose distance is `step` of their last places, from `top` down.
INLINE void neighbours(int32_t top, int32_t step, vf scale[VECTORS])
{
    vi lane[VECTORS];
    count_lanes(lane);
    EACH_VECTOR(v) {
        vi bits = top - lane[v] * step;
        bits = either_int(bits < 0x0080, (vi){0} + 0x0080, bits);
        bits = either_int(bits > 0x7f7f, (vi){0} + 0x7f7f, bits);
        scale[v] = (vf)(bits << 16);
    }
}

// Of a spread over `most` steps and fewer, that is of larger ones.
INLINE void parts_of(float half_spread, float most, vf scale[VECTORS])
{
    vi lane[VECTORS];
    count_lanes(lane);
    EACH_VECTOR(v) {
        vf steps = most - __builtin_convertvector(lane[v], vf);
        vf x = as_lanes(DT_BF16, half_spread / (0.5f * steps));
        scale[v] = clamp_lanes(x, 0x1p-126f, 0x1.fep127f);
    }
}

typedef struct {
    int_choice best;
    float least; // its error
} int_found;

// s^2 times int_errors' sums, of 16 scales and either the zero points or the positive and, if
// they may be, the negative ones. How many.
INLINE int all_int_errors(const searched *s, const int_space *space, const vf scale[VECTORS],
                          vf zero[SHIFTS][VECTORS], vf error[SHIFTS][VECTORS])
{
    vf inverse[VECTORS];
    int count = space->zeros ? SHIFTS : space->positive ? 1 : 2;
    EACH_VECTOR(v)
        inverse[v] = 1.0f / scale[v];
    for (int t = 0; t < count; t += space->zeros ? SHIFTS_AT_ONCE : 1) {
        if (space->zeros && s->o)
            int_errors(s, true, true, space->half, inverse, zero + t, error + t);
        else if (space->zeros)
            int_errors(s, false, true, space->half, inverse, zero + t, error + t);
        else if (s->o)
            int_errors(s, true, false, space->half, inverse, NULL, error + t);
        else
            int_errors(s, false, false, space->half, inverse, NULL, error + t);
        EACH_VECTOR(v)
            inverse[v] = space->zeros ? inverse[v] : -inverse[v];
    }
    for (int t = 0; t < count; t++)
        EACH_VECTOR(v) {
            vf by = scale[v] * s->factor;
            error[t][v] *= by * by;
        }
    return count;
}

// Tries 16 BF16 scales. With zero points: with the one that centres the codes and its neighbours,
// else with both signs. From lane `free` on only an error of nothing but roundings counts, less
// than a hundredth of a step.
KERNEL_TARGET static void KERNEL(try_scales)(const searched *s, const int_space *space,
                                             const vf scale[VECTORS], int32_t free, int_found *f)
{
    vf zero[SHIFTS][VECTORS] = {0}, error[SHIFTS][VECTORS];
    vi lane[VECTORS];
    EACH_VECTOR(v)
        for (int t = 0; t < SHIFTS && space->zeros; t++) {
            vf x = (float)(t - 1) - 0.5f - space->middle / scale[v];
            zero[t][v] = within(rounded(x), -space->half, space->half - 1);
        }
    int count = all_int_errors(s, space, scale, zero, error);
    count_lanes(lane);
    for (int t = 0; t < count; t++) {
        EACH_VECTOR(v) {
            vf by = scale[v] * s->factor;
            error[t][v] = either((lane[v] < free) | (error[t][v] < 1e-4f * by * by), error[t][v],
                                 SPREAD(0x1p127f));
        }
        float least = least_of(error[t]);
        if (least < f->least) {
            float scales[CANDIDATES], zeros[CANDIDATES];
            int at = lane_of(least, error[t]);
            memcpy(scales, scale, sizeof scales);
            memcpy(zeros, zero[t], sizeof zeros);
            float signed_scale = !space->zeros && t ? -scales[at] : scales[at];
            f->least = least;
            f->best = (int_choice){(uint16_t)(f32_bits(signed_scale) >> 16), signed_scale,
                                   zeros[at]};
        }
    }
}

// First the scales under which the largest weight (the range) is a whole number of steps, among
// which that of codes that were decoded is.
INLINE int_choice int_search(const searched *s, const int_space *space, float half_spread,
                             int_found found)
{
    vf scale[VECTORS];
    bool small = space->half == 8;
    float most = small ? 16 : space->zeros ? 255 : 128;
    parts_of(half_spread, most, scale);
    // Rounding may take two steps off the range: only so many steps are used that they are among
    // these when the codes have been decoded.
    KERNEL(try_scales)(s, space, scale, small ? CANDIDATES : CANDIDATES - 3, &found);
    // Where there are many weights the largest may be far from the others.
    if (s->n > 128) {
        if (small)
            parts_of(half_spread, 2 * most, scale);
        else
            neighbours((int32_t)(f32_bits(2 * half_spread / most) >> 16), 8, scale);
        KERNEL(try_scales)(s, space, scale, CANDIDATES, &found);
    }
    neighbours((found.best.bits & 0x7fff) + CANDIDATES / 2, 1, scale);
    if (!small) {
        vf largest = as_lanes(DT_BF16, SPREAD(half_spread / (0.5f * (most - 12))));
        EACH_VECTOR(v)
            scale[v] = smaller(scale[v], larger(largest, SPREAD(0x1p-126f)));
    }
    KERNEL(try_scales)(s, space, scale, CANDIDATES, &found);
    return found.best;
}

KERNEL_TARGET static void int_best(const int_groups *g, int64_t group)
{
    const group_weights *from = &g->from;
    int_choice compat = int_compat(g, group, DT_BF16);
    float min, max;
    range_of(from->w + group * from->n, from->n, &min, &max);
    float amax = max > -min ? max : -min;
    if (amax > 0) {
        searched s = searched_group(from, group * from->n, amax);
        int_space space = {g->bits == 4 ? 8 : 128, 0.5f * min + 0.5f * max, g->zero != NULL,
                           g->positive};
        float error =
            int_error(g, &s, from->source, compat.scale, compat.zero, compat.scale);
        float spread = space.zeros ? 0.5f * max - 0.5f * min : 0.5f * amax;
        int_choice best;
        if (g->zero && g->bits == 4) {
            zeros_choice found = KERNEL(zeros_search)(&s, DT_BF16, -8, min, max);
            best = found.scale > 0 ? (int_choice){0, found.scale, found.zero} : compat;
        } else {
            best = int_search(&s, &space, spread, (int_found){compat, error});
        }
        // 8 bits shrink less than BF16 tells apart.
        float stored = g->bits == 4 ? int_unshrunk(g, &s, best.scale, best.zero) : best.scale;
        if (int_error(g, &s, DT_F32, best.scale, best.zero, stored) < error) {
            g->scale[group] = (uint16_t)(f32_bits(stored) >> 16);
            int_write(g, group, DT_F32, best.scale, best.zero);
            return;
        }
    }
    g->scale[group] = compat.bits;
    int_write(g, group, from->source, compat.scale, compat.zero);
}

INLINE void int_all(const int_groups *g, dtype type)
{
    int_groups as_type = *g;
    as_type.from.source = type; // known when this is compiled, where it is inlined
    for (int64_t i = 0; i < g->from.groups; i++) {
        int_choice c = int_compat(&as_type, i, type == DT_F16 ? DT_F16 : DT_BF16);
        g->scale[i] = c.bits;
        int_write(&as_type, i, type, c.scale, c.zero);
    }
}

KERNEL_TARGET void KERNEL(int_rows)(const int_groups *g)
{
    if (g->from.search == SEARCH_BEST)
        for (int64_t i = 0; i < g->from.groups; i++)
            int_best(g, i);
    else if (g->from.source == DT_BF16)
        int_all(g, DT_BF16);
    else if (g->from.source == DT_F16)
        int_all(g, DT_F16);
    else
        int_all(g, DT_F32);
}

// ---- E2M1 and E4M3 ----------------------------------------------------------------------------

// What a stored scale stands for; codes of E8M0 end at 254 here.
INLINE float fp_scale(const fp_groups *g, uint8_t code)
{
    if (g->form == FP_NVFP4)
        return g->multiplies ? e4m3_to_f32(code) * g->global : e4m3_to_f32(code) / g->global;
    return f32_from_bits(code ? (uint32_t)code << 23 : 0x400000);
}

// w / scale. A power of two from 2^-127 to 2^127 has an exact inverse, and so has the product the
// quotient's bits.
INLINE vf fp_quotient(const fp_groups *g, vf w, float scale)
{
    return g->form == FP_NVFP4 ? w / scale : w * (1.0f / scale);
}

INLINE uint8_t fp_compat(const fp_groups *g, const float *w)
{
    float amax = largest_of(w, g->from.n);
    dtype source = g->from.source;
    if (g->form == FP_NVFP4 && g->multiplies) {
        float scale = amax / (6 * g->global);
        scale = scale == 0 ? 1 : scale < 0x1p-9f ? 0x1p-9f : scale;
        return f32_to_e4m3(scale > 448 ? 448 : scale);
    }
    if (g->form == FP_NVFP4) {
        uint8_t code = f32_to_e4m3(g->global * as(source, amax / 6));
        return code ? code : 0x20; // 0.125
    }
    int32_t less = g->form == FP_MXFP8 ? 8 : 2;
    int32_t exponent = (int32_t)((f32_bits(amax) + 0x200000) >> 23) - less;
    if (source == DT_F16) { // a subnormal's power of two is 0 or 2^-14, and so may a scale be 0
        exponent = amax < 0x1.8p-15f ? 0 : amax < 0x1p-14f ? 113 - less : exponent;
        return (uint8_t)(exponent < 127 - 24 ? 127 : exponent);
    }
    return (uint8_t)(exponent < 0 ? 0 : exponent);
}

// E2M1 of w / by; a zero has no sign.
INLINE vi e2m1_code_lanes(const fp_groups *g, vf w, float by)
{
    vf x = fp_quotient(g, w, by);
    return e2m1_codes((g->form == FP_NVFP4 ? x : as_lanes(g->from.source, x)) + 0.0f);
}

INLINE void e2m1_write(const fp_groups *g, int64_t group, uint8_t code, float by)
{
    int64_t at = group * g->from.n;
    g->scale[group] = code;
    for (int64_t j = at; j < at + g->from.n; j += 16) {
        uint8_t codes[16];
        EACH_VECTOR(v) {
            vf w;
            memcpy(&w, g->from.w + j + v * KERNEL_LANES, sizeof w);
            store_codes(codes + v * KERNEL_LANES, e2m1_code_lanes(g, w, by));
        }
        store_pairs(g->codes + j / 2, codes);
    }
}

// Weighted error of what e2m1_write writes.
INLINE float e2m1_error(const fp_groups *g, const searched *s, uint8_t code, float by)
{
    vf sum[VECTORS] = {0};
    float scale = fp_scale(g, code);
    for (int64_t j = 0; j < s->n; j += 16)
        EACH_VECTOR(v) {
            vf o, w = weight_lanes(s, j, v, &o);
            vf d = (w - twice_e2m1(e2m1_code_lanes(g, w, by)) * 0.5f * scale) * s->factor;
            sum[v] += o * d * d;
        }
    return fold(sum);
}

// Of 16 scales: the error, s^2 sum o (|w| / s - code)^2, and by how much sum o w value is less than
// sum o w^2, which is asked for where lacks are to be found.
INLINE void e2m1_errors(const searched *s, bool weighted, const vf scale[VECTORS],
                        vf error[VECTORS], vf *lack)
{
    vf inverse[VECTORS], sum[VECTORS], less[VECTORS];
    EACH_VECTOR(v) {
        inverse[v] = 1.0f / scale[v];
        sum[v] = less[v] = (vf){0};
    }
    for (int64_t j = 0; j < s->n; j++) {
        float w = f32_from_bits(f32_bits(s->w[j]) & 0x7fffffff);
        float o = weighted ? s->o[j] * s->o_factor : 1.0f;
        EACH_VECTOR(v) {
            vf x = w * inverse[v];
            // Adding and subtracting it rounds to halves below 2, to ones below 4, to twos.
            vf magic = either(x < 2.0f, SPREAD(0x1.8p22f), SPREAD(0x1.8p23f));
            magic = either(x < 4.0f, magic, SPREAD(0x1.8p24f));
            vf d = x - (smaller(x, SPREAD(6.0f)) + magic - magic), od = d;
            if (weighted)
                od *= o;
            sum[v] += od * d;
            if (lack)
                less[v] += od * x;
        }
    }
    EACH_VECTOR(v) {
        vf by = scale[v] * s->factor;
        error[v] = by * by * sum[v];
        if (lack)
            lack[v] = by * by * less[v];
    }
}

// The lane of least error. For NVFP4 that of the values of least distance from weights that have
// grown by the share that the least error takes from them, E4M3 being too coarse for the scale
// itself to grow; *by is how much. There sum o (by w - value)^2 = error + 2 (by - 1) lack + a
// constant.
INLINE int e2m1_lane(const searched *s, bool nv, const vf scale[VECTORS], float *by)
{
    vf error[VECTORS], lack[VECTORS];
    if (s->o)
        e2m1_errors(s, true, scale, error, nv ? lack : NULL);
    else
        e2m1_errors(s, false, scale, error, nv ? lack : NULL);
    float least = least_of(error);
    *by = 1;
    if (!nv)
        return lane_of(least, error);
    float square = weighted_square(s);
    if (least < 0.5f * square)
        *by = square / (square - least);
    EACH_VECTOR(v)
        error[v] += 2 * (*by - 1) * lack[v];
    return lane_of(least_of(error), error);
}

INLINE void e2m1_best(const fp_groups *g, int64_t group)
{
    const float *w = g->from.w + group * g->from.n;
    uint8_t code = fp_compat(g, w);
    float amax = largest_of(w, g->from.n), by = fp_scale(g, code);
    if (amax > 0) {
        searched s = searched_group(&g->from, group * g->from.n, amax);
        bool nv = g->form == FP_NVFP4;
        vf scale[VECTORS];
        vi lane[VECTORS];
        int32_t most = nv ? 0x7e : 0xfd, top = code + (nv ? 6 : 2), codes[CANDIDATES];
        // The first E4M3 codes are far apart: all of them are tried, among them that of codes
        // that were decoded. (Where the least is too large, COMPAT has a code far above.)
        if (nv && (top < CANDIDATES || amax < 6 * fp_scale(g, 1)))
            top = CANDIDATES;
        count_lanes(lane);
        EACH_VECTOR(v) {
            lane[v] = top - lane[v];
            lane[v] = either_int(lane[v] < 1, (vi){0} + 1, lane[v]);
            lane[v] = either_int(lane[v] > most, (vi){0} + most, lane[v]);
            if (nv)
                scale[v] = g->multiplies ? e4m3_magnitudes(lane[v]) * g->global
                                         : e4m3_magnitudes(lane[v]) / g->global;
            else
                scale[v] = (vf)(lane[v] << 23);
        }
        memcpy(codes, lane, sizeof codes);
        float grown, limit = e2m1_error(g, &s, code, by);
        uint8_t best = (uint8_t)codes[e2m1_lane(&s, nv, scale, &grown)];
        float other = fp_scale(g, best);
        if (nv && e2m1_error(g, &s, best, other / grown) < limit) {
            code = best;
            by = other / grown;
        } else if (best != code && e2m1_error(g, &s, best, other) < limit) {
            code = best;
            by = other;
        }
    }
    e2m1_write(g, group, code, by);
}

INLINE void mxfp8_write(const fp_groups *g, int64_t group)
{
    const float *w = g->from.w + group * g->from.n;
    uint8_t code = fp_compat(g, w);
    g->scale[group] = code;
    float scale = fp_scale(g, code);
    for (int64_t j = 0; j < g->from.n; j += KERNEL_LANES) {
        vf x;
        memcpy(&x, w + j, sizeof x);
        store_codes(g->codes + group * g->from.n + j,
                    e4m3_codes(as_lanes(g->from.source, fp_quotient(g, x, scale))));
    }
}

INLINE void fp_all(const fp_groups *g, fp_form form, dtype source)
{
    fp_groups known = *g; // when this is compiled, where it is inlined
    known.form = form;
    known.from.source = source;
    for (int64_t i = 0; i < known.from.groups; i++) {
        if (form == FP_MXFP8) {
            mxfp8_write(&known, i);
        } else {
            uint8_t code = fp_compat(&known, known.from.w + i * known.from.n);
            e2m1_write(&known, i, code, fp_scale(&known, code));
        }
    }
}

INLINE void mx_all(const fp_groups *g, fp_form form)
{
    if (g->from.source == DT_BF16)
        fp_all(g, form, DT_BF16);
    else if (g->from.source == DT_F16)
        fp_all(g, form, DT_F16);
    else
        fp_all(g, form, DT_F32);
}

KERNEL_TARGET void KERNEL(fp_rows)(const fp_groups *g)
{
    if (g->form == FP_MXFP8)
        mx_all(g, FP_MXFP8);
    else if (g->from.search == SEARCH_BEST)
        for (int64_t i = 0; i < g->from.groups; i++)
            e2m1_best(g, i);
    else if (g->form == FP_MXFP4)
        mx_all(g, FP_MXFP4);
    else
        fp_all(g, FP_NVFP4, g->from.source);
}

#endif
