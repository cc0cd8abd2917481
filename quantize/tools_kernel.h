// SPDX-License-Identifier: Apache-2.0
// The rules of groups.h for integers as GPTQ, AWQ and MLX store them, as a template
// (kernel_lanes.h), with the parts of groups_kernel.h: COMPAT has weights in the lanes, BEST
// candidates.
#include "quantize/affine_kernel.h"
#include "quantize/groups_kernel.h"

// ---- numbers ----------------------------------------------------------------------------------

// To the nearest whole number, ties to even.
INLINE float to_whole(float x)
{
    bool large = !(x < 0x1p51f && x > -0x1p51f);
    return large ? x : (float)((double)x + 0x1.8p52 - 0x1.8p52);
}

INLINE float between(float x, float least, float most)
{
    return x < least ? least : x > most ? most : x;
}

// What a scale or bias is when it has been stored; infinities are the largest there is.
INLINE float kept(dtype type, float x)
{
    float most = type == DT_F16 ? 65504.0f : 0x1.fep127f;
    return as(type, between(x, -most, most));
}

// A scale is not 0.
INLINE float kept_scale(dtype type, float x)
{
    float least = type == DT_F16 ? 0x1p-24f : 0x1p-133f, s = kept(type, x);
    return s != 0 ? s : x < 0 ? -least : least;
}

INLINE vf kept_lanes(dtype type, vf x)
{
    float most = type == DT_F16 ? 65504.0f : 0x1.fep127f;
    return as_lanes(type, clamp_lanes(x, -most, most));
}

// The least and the largest of n weights.
INLINE void ends_of(const float *w, int64_t n, float *min, float *max)
{
    vf low, high;
    float lows[KERNEL_LANES], highs[KERNEL_LANES];
    memcpy(&low, w, sizeof low);
    high = low;
    for (int64_t j = KERNEL_LANES; j < n; j += KERNEL_LANES) {
        vf x;
        memcpy(&x, w + j, sizeof x);
        low = smaller(x, low);
        high = larger(x, high);
    }
    memcpy(lows, &low, sizeof lows);
    memcpy(highs, &high, sizeof highs);
    *min = lows[0];
    *max = highs[0];
    for (int i = 1; i < KERNEL_LANES; i++) {
        *min = lows[i] < *min ? lows[i] : *min;
        *max = highs[i] > *max ? highs[i] : *max;
    }
}

// ---- codes ------------------------------------------------------------------------------------

// What a group's codes are made with: (code - zero) x scale, or code x scale + bias.
typedef struct {
    float scale;   // as stored
    float by;      // that weights are divided by
    float zero;
    float less;    // that is taken off weights before
    float bias;    // as stored
    bool halves;   // weights and quotients are rounded to binary16
    dtype again;   // codes are those of the decoded weights rounded to it; F32: as they are
} tool_choice;

INLINE void tool_code_lanes(const tool_groups *g, const float *w, const tool_choice *c,
                            vf code[VECTORS])
{
    float most = g->bits == 4 ? 15 : 255;
    EACH_VECTOR(v) {
        vf x;
        memcpy(&x, w + v * KERNEL_LANES, sizeof x);
        if (c->halves)
            x = as_lanes(DT_F16, kept_lanes(DT_F16, x) / c->by);
        else
            x = (x - c->less) / c->by;
        // Codes are what they are without the first clamp, which keeps the rounding right.
        x = clamp_lanes(x, -1 - most, 1 + most) + ROUND_MAGIC - ROUND_MAGIC;
        code[v] = clamp_lanes(x + c->zero, 0, most);
        if (c->again != DT_F32) {
            x = as_lanes(c->again, (code[v] - c->zero) * c->by) + c->zero * c->by;
            code[v] = clamp_lanes(x / c->by + ROUND_MAGIC - ROUND_MAGIC, 0, most);
        }
    }
}

INLINE void tool_write(const tool_groups *g, int64_t group, const tool_choice *c)
{
    int64_t n = g->from.n, at = group * n;
    for (int64_t j = at; j < at + n; j += 16) {
        vf x[VECTORS];
        tool_code_lanes(g, g->from.w + j, c, x);
        EACH_VECTOR(v)
            store_codes(g->codes + j + v * KERNEL_LANES, __builtin_convertvector(x[v], vi));
    }
    g->scale[group] = c->scale;
    if (g->tool == TOOL_MLX)
        g->bias[group] = c->bias;
    else
        g->zero[group] = (uint8_t)c->zero;
}

// Weighted error of what tool_write writes.
INLINE float tool_error(const tool_groups *g, const searched *s, const tool_choice *c)
{
    vf sum[VECTORS] = {0};
    for (int64_t j = 0; j < s->n; j += 16) {
        vf code[VECTORS];
        tool_code_lanes(g, s->w + j, c, code);
        EACH_VECTOR(v) {
            vf o, w = weight_lanes(s, j, v, &o);
            vf d = (w - ((code[v] - c->zero) * c->scale + c->bias)) * s->factor;
            sum[v] += o * d * d;
        }
    }
    return fold(sum);
}

// Values that do not shrink the weights, with the same codes. 8 bits shrink too little.
INLINE tool_choice tool_unshrunk(const tool_groups *g, const searched *s, tool_choice c)
{
    if (g->bits != 4)
        return c;
    shrink_sums sums = {0};
    for (int64_t j = 0; j < s->n; j += 16) {
        vf code[VECTORS];
        tool_code_lanes(g, s->w + j, &c, code);
        EACH_VECTOR(v)
            add_shrink(s, j, v, (code[v] - c.zero) * c.by + c.less, &sums);
    }
    float by = shrunk_by(&sums);
    c.scale = kept_scale(g->stored, c.by * by);
    c.bias = kept(g->stored, c.less * by);
    return c;
}

// ---- COMPAT -----------------------------------------------------------------------------------

INLINE tool_choice gptq_compat(const tool_groups *g, const float *w)
{
    float most = g->bits == 4 ? 15 : 255, min, max;
    range_of(w, g->from.n, &min, &max);
    if (!g->zeros) {
        max = max > -min ? max : -min;
        min = min < 0 ? -max : min;
    }
    if (min == 0 && max == 0) {
        min = -1;
        max = 1;
    }
    float scale = (max - min) / most;
    scale = scale > 0x1p-126f ? scale : 0x1p-126f;
    float zero = g->zeros ? to_whole(-min / scale) : (most + 1) / 2;
    if (zero < g->least_zero) {
        zero = 1;
        scale = max / (most - 1) > 0x1p-126f ? max / (most - 1) : 0x1p-126f;
    }
    // GPTQModel packs what it has decoded, in the weights' type, which moves some codes by one
    // where that is coarse: 8 bits in BF16, binary16's small numbers.
    bool coarse = g->from.source == DT_BF16 ? g->bits == 8 && g->zeros
                                            : g->from.source == DT_F16 && scale < 0x1p-20f;
    float stored = kept_scale(g->stored, scale); // where that is far more, codes are 0's
    return (tool_choice){.scale = stored, .by = stored > 2 * scale ? stored : scale,
                         .zero = between(zero, 0, most),
                         .again = coarse ? g->from.source : DT_F32};
}

INLINE tool_choice awq_compat(const tool_groups *g, const float *w)
{
    float min, max;
    ends_of(w, g->from.n, &min, &max);
    min = kept(DT_F16, min); // rounding keeps order
    max = kept(DT_F16, max);
    float spread = kept(DT_F16, max - min);
    spread = spread < 0x1.5p-17f ? 0x1.5p-17f : spread; // 10^-5 in binary16
    float scale = as(DT_F16, spread / 15);
    float zero = -to_whole(as(DT_F16, min / scale));
    return (tool_choice){.scale = scale, .by = scale, .zero = between(zero, 0, 15),
                         .halves = true, .again = DT_F32};
}

INLINE tool_choice mlx_compat(const tool_groups *g, const float *w)
{
    float most = g->bits == 4 ? 15 : 255, min, max;
    ends_of(w, g->from.n, &min, &max);
    float scale = (max - min) / most, bias = 0;
    scale = scale < 1e-7f ? 1e-7f : scale;
    bool low = (min < 0 ? -min : min) > (max < 0 ? -max : max);
    float edge = low ? min : max;
    scale = low ? scale : -scale;
    float steps = to_whole(edge / scale);
    if (steps != 0 && edge / steps != 0) {
        scale = edge / steps;
        bias = edge;
    }
    return (tool_choice){.scale = kept_scale(g->stored, scale), .by = scale, .less = bias,
                         .bias = kept(g->stored, bias), .again = DT_F32};
}

INLINE tool_choice tool_compat(const tool_groups *g, int64_t group)
{
    const float *w = g->from.w + group * g->from.n;
    if (g->tool == TOOL_MLX)
        return mlx_compat(g, w);
    return g->tool == TOOL_AWQ ? awq_compat(g, w) : gptq_compat(g, w);
}

// ---- BEST: scale and zero point ---------------------------------------------------------------

// As parts_of, in the stored type.
INLINE void stored_parts(dtype type, float half_spread, float most, vf scale[VECTORS])
{
    vi lane[VECTORS];
    count_lanes(lane);
    float least = type == DT_F16 ? 0x1p-24f : 0x1p-126f;
    EACH_VECTOR(v) {
        vf steps = most - __builtin_convertvector(lane[v], vf);
        scale[v] = larger(kept_lanes(type, half_spread / (0.5f * steps)), SPREAD(least));
    }
}

// 16 numbers of the stored type around `middle` > 0, so many last places apart.
INLINE void stored_near(dtype type, float middle, int32_t step, vf scale[VECTORS])
{
    vi lane[VECTORS];
    count_lanes(lane);
    int32_t half = f32_to_f16(middle);
    int32_t wide = (int32_t)(f32_bits(middle) >> 16);
    EACH_VECTOR(v) {
        vi places = (CANDIDATES / 2 - lane[v]) * step;
        if (type == DT_F16) {
            vi bits = half + places;
            bits = either_int(bits < 1, (vi){0} + 1, bits);
            bits = either_int(bits > 0x7bff, (vi){0} + 0x7bff, bits);
            scale[v] = f16_lanes(bits);
        } else {
            vi bits = wide + places;
            bits = either_int(bits < 0x0080, (vi){0} + 0x0080, bits);
            bits = either_int(bits > 0x7f7f, (vi){0} + 0x7f7f, bits);
            scale[v] = (vf)(bits << 16);
        }
    }
}

INLINE float magnitude_of(float x) { return x < 0 ? -x : x; }

// As int_search, but scales lie more closely: first as far apart as BF16's, then one by one.
INLINE int_choice stored_search(const tool_groups *g, const searched *s, const int_space *space,
                                float half_spread, int_found found)
{
    vf scale[VECTORS];
    bool small = space->half == 8;
    float most = small ? 16 : space->zeros ? 255 : 128;
    stored_parts(g->stored, half_spread, most, scale);
    KERNEL(try_scales)(s, space, scale, small ? CANDIDATES : CANDIDATES - 3, &found);
    if (s->n > 128) {
        if (small)
            stored_parts(g->stored, half_spread, 2 * most, scale);
        else
            stored_near(g->stored, kept_scale(g->stored, 2 * half_spread / most), 64, scale);
        KERNEL(try_scales)(s, space, scale, CANDIDATES, &found);
    }
    for (int32_t step = 8; step >= 1; step = step > 1 ? 1 : 0) {
        stored_near(g->stored, magnitude_of(found.best.scale), step, scale);
        if (!small) {
            vf largest = kept_lanes(g->stored, SPREAD(half_spread / (0.5f * (most - 12))));
            EACH_VECTOR(v)
                scale[v] = smaller(scale[v], larger(largest, SPREAD(0x1p-24f)));
        }
        KERNEL(try_scales)(s, space, scale, CANDIDATES, &found);
    }
    return found.best;
}

// A choice out of one whose codes are around 0.
INLINE tool_choice stored_choice(const tool_groups *g, int_choice c)
{
    float half = g->bits == 4 ? 8 : 128, zero = c.zero + half;
    zero = zero < g->least_zero ? g->least_zero : zero;
    return (tool_choice){.scale = c.scale, .by = c.scale, .zero = zero, .again = DT_F32};
}

INLINE tool_choice zeros_best(const tool_groups *g, const searched *s, int64_t group,
                              tool_choice compat, float *error)
{
    float min, max, half = g->bits == 4 ? 8 : 128;
    range_of(s->w, s->n, &min, &max);
    float amax = max > -min ? max : -min;
    int_space space = {half, 0.5f * min + 0.5f * max, g->zeros, g->positive};
    int_choice begin = {.scale = compat.scale, .zero = compat.zero - half};
    float least = *error;
    if (g->near) {
        begin.scale = g->near[group];
        begin.zero = 0;
    } else if (g->zeros && g->bits == 4) {
        zeros_choice z = KERNEL(zeros_search)(s, g->stored, (float)g->least_zero - half, min, max);
        if (!(z.scale > 0))
            return compat;
        begin.scale = z.scale;
        begin.zero = z.zero;
    } else {
        begin = stored_search(g, s, &space,
                              g->zeros ? 0.5f * max - 0.5f * min : 0.5f * amax,
                              (int_found){begin, least});
    }
    tool_choice best = tool_unshrunk(g, s, stored_choice(g, begin));
    float found = tool_error(g, s, &best);
    if (found >= *error)
        return compat;
    *error = found;
    return best;
}

// ---- BEST: scale and bias, as they are stored -------------------------------------------------

// The best pair so far.
typedef struct {
    float scale, bias, error;
} affine;

INLINE tool_choice affine_choice(const affine *a)
{
    return (tool_choice){.scale = a->scale, .by = a->scale, .less = a->bias, .bias = a->bias,
                         .again = DT_F32};
}

// Errors of 16 pairs: s^2 sum o ((w - b) / s - code)^2.
INLINE void affine_errors(const searched *s, bool weighted, float most, const vf scale[VECTORS],
                          const vf bias[VECTORS], vf error[VECTORS])
{
    vf inverse[VECTORS], sum[VECTORS];
    EACH_VECTOR(v) {
        inverse[v] = 1.0f / scale[v];
        sum[v] = (vf){0};
    }
    for (int64_t j = 0; j < s->n; j++) {
        float w = s->w[j], o = weighted ? s->o[j] * s->o_factor : 1.0f;
        EACH_VECTOR(v) {
            vf x = (w - bias[v]) * inverse[v];
            vf d = x - (clamp_lanes(x, 0, most) + ROUND_MAGIC - ROUND_MAGIC);
            sum[v] += weighted ? o * d * d : d * d;
        }
    }
    EACH_VECTOR(v) {
        vf by = scale[v] * s->factor;
        error[v] = by * by * sum[v];
    }
}

// From lane `free` on only an error of nothing but roundings counts.
INLINE void try_affine(const searched *s, float most, const vf scale[VECTORS],
                       const vf bias[VECTORS], int32_t free, affine *best)
{
    vf error[VECTORS];
    vi lane[VECTORS];
    if (s->o)
        affine_errors(s, true, most, scale, bias, error);
    else
        affine_errors(s, false, most, scale, bias, error);
    count_lanes(lane);
    EACH_VECTOR(v) {
        vf by = scale[v] * s->factor;
        error[v] = either((lane[v] < free) | (error[v] < 1e-4f * by * by), error[v],
                          SPREAD(0x1p127f));
    }
    int at = lane_of(least_of(error), error);
    float errors[CANDIDATES], scales[CANDIDATES], biases[CANDIDATES];
    memcpy(errors, error, sizeof errors);
    memcpy(scales, scale, sizeof scales);
    memcpy(biases, bias, sizeof biases);
    if (errors[at] < best->error)
        *best = (affine){scales[at], biases[at], errors[at]};
}

INLINE vf sound_scales(dtype type, vf scale)
{
    vf least = SPREAD(type == DT_F16 ? 0x1p-24f : 0x1p-126f);
    vf size = either(scale < 0, -scale, scale);
    return either(size < least, either(scale < 0, -least, least), scale);
}

// One end of the weights is a code's; the other is so many steps away, or some are cut off there.
INLINE void try_ends(const tool_groups *g, const searched *s, float edge, float other,
                     affine *best)
{
    float most = g->bits == 4 ? 15 : 255;
    vf scale[VECTORS], bias[VECTORS];
    vi lane[VECTORS];
    float from = kept(g->stored, edge);
    count_lanes(lane);
    EACH_VECTOR(v) {
        vf steps = larger(most - __builtin_convertvector(lane[v], vf), SPREAD(1.0f));
        scale[v] = sound_scales(g->stored, kept_lanes(g->stored, (other - from) / steps));
        bias[v] = SPREAD(from);
    }
    try_affine(s, most, scale, bias, g->bits == 4 ? CANDIDATES : CANDIDATES - 3, best);
}

// Both ends cut off alike.
INLINE void try_cuts(const tool_groups *g, const searched *s, float min, float max, affine *best)
{
    float most = g->bits == 4 ? 15 : 255, step = g->bits == 4 ? 0.02f : 0.004f;
    vf scale[VECTORS], bias[VECTORS];
    vi lane[VECTORS];
    count_lanes(lane);
    EACH_VECTOR(v) {
        vf cut = (0.5f * max - 0.5f * min) * step * __builtin_convertvector(lane[v], vf);
        bias[v] = kept_lanes(g->stored, min + cut);
        scale[v] = kept_lanes(g->stored, (max - cut - bias[v]) / most);
        scale[v] = sound_scales(g->stored, scale[v]);
    }
    try_affine(s, most, scale, bias, CANDIDATES, best);
}

// For the codes of the best pair: the scales around that of least squares, each with its bias.
INLINE void try_squares(const tool_groups *g, const searched *s, affine *best)
{
    float most = g->bits == 4 ? 15 : 255;
    const tool_choice c = affine_choice(best);
    vf sum[5][VECTORS] = {{{0}}}; // o, o q, o q^2, o r, o q r of the weights less the bias
    for (int64_t j = 0; j < s->n; j += 16) {
        vf code[VECTORS];
        tool_code_lanes(g, s->w + j, &c, code);
        EACH_VECTOR(v) {
            vf o, w = weight_lanes(s, j, v, &o), q = code[v];
            vf r = (w - best->bias) * s->factor;
            sum[0][v] += o;
            sum[1][v] += o * q;
            sum[2][v] += o * q * q;
            sum[3][v] += o * r;
            sum[4][v] += o * q * r;
        }
    }
    float total[5];
    for (int i = 0; i < 5; i++)
        total[i] = fold(sum[i]);
    float spread = total[0] * total[2] - total[1] * total[1];
    if (!(spread > 0))
        return;
    float ideal = (total[0] * total[4] - total[1] * total[3]) / spread / s->factor;
    if (ideal == 0 || (ideal < 0) != (best->scale < 0))
        return;
    vf scale[VECTORS], bias[VECTORS];
    stored_near(g->stored, kept_scale(g->stored, magnitude_of(ideal)),
                g->stored == DT_F16 ? 2 : 1, scale);
    EACH_VECTOR(v) {
        scale[v] = ideal < 0 ? -scale[v] : scale[v];
        vf r = (total[3] - scale[v] * s->factor * total[1]) / total[0] / s->factor;
        bias[v] = kept_lanes(g->stored, best->bias + r);
    }
    try_affine(s, most, scale, bias, CANDIDATES, best);
}

// Whether a search of what it decodes to would come upon the pair: the code 0 is used, and of 8
// bits nearly all.
INLINE bool found_again(const tool_groups *g, const searched *s, const tool_choice *c)
{
    vf low = SPREAD(255.0f), high = {0};
    for (int64_t j = 0; j < s->n; j += 16) {
        vf code[VECTORS];
        tool_code_lanes(g, s->w + j, c, code);
        EACH_VECTOR(v) {
            low = smaller(code[v], low);
            high = larger(code[v], high);
        }
    }
    float min, max, all[KERNEL_LANES], top[KERNEL_LANES], ignored;
    memcpy(all, &low, sizeof all);
    memcpy(top, &high, sizeof top);
    ends_of(all, KERNEL_LANES, &min, &ignored);
    ends_of(top, KERNEL_LANES, &ignored, &max);
    return min == 0 && (g->bits == 4 || max >= 242);
}

INLINE tool_choice stored_pairs_best(const tool_groups *g, const searched *s, float min, float max,
                                     tool_choice compat, float *error)
{
    affine ends = {0, 0, 0x1p127f}, best;
    try_ends(g, s, min, max, &ends);
    try_ends(g, s, max, min, &ends);
    best = ends;
    try_cuts(g, s, min, max, &best);
    try_squares(g, s, &best);
    try_squares(g, s, &best);
    const affine list[2] = {best, ends};
    for (int i = 0; i < 2; i++) {
        tool_choice c = affine_choice(&list[i]);
        if (c.scale == 0 || !found_again(g, s, &c))
            continue;
        c = tool_unshrunk(g, s, c);
        float found = tool_error(g, s, &c);
        if (found < *error) {
            *error = found;
            compat = c;
        }
    }
    return compat;
}

// ---- BEST: scale and bias of 4 bits, by their codes -------------------------------------------

// Whether the weights are the decoding of 4-bit codes: one end is a bias that can be stored, the
// others are up to 15 steps away.
INLINE bool affine_exact(const tool_groups *g, const searched *s, float edge, float other,
                         tool_choice *exact)
{
    vf scale[VECTORS], inverse[VECTORS];
    vi lane[VECTORS], off[VECTORS];
    uint32_t on = 0xffff;
    count_lanes(lane);
    EACH_VECTOR(v) {
        vf steps = larger(15.0f - __builtin_convertvector(lane[v], vf), SPREAD(1.0f));
        scale[v] = sound_scales(g->stored, kept_lanes(g->stored, (other - edge) / steps));
        inverse[v] = 1.0f / scale[v];
        off[v] = (vi){0};
    }
    for (int64_t j = 0; on && j < s->n; j++) {
        on = 0;
        EACH_VECTOR(v) {
            vf code = whole(clamp_lanes((s->w[j] - edge) * inverse[v], 0, 15));
            off[v] |= code * scale[v] + edge != s->w[j];
            on |= mask_bits(~off[v]) << v * KERNEL_LANES;
        }
    }
    if (!on || kept(g->stored, edge) != edge)
        return false;
    float scales[CANDIDATES];
    memcpy(scales, scale, sizeof scales);
    *exact = affine_choice(&(affine){scales[__builtin_ctz(on)], edge, 0});
    return true;
}

// What becomes of a pair that codes were found with: the scale and bias of least squares, grown so
// that sum o w value is sum o w^2; the least code is 0, without which its decoding would not be
// known again.
INLINE tool_choice affine_squares(const tool_groups *g, const searched *s, float by, float less)
{
    tool_choice c = {.by = by, .less = less, .again = DT_F32};
    vf sum[5][VECTORS] = {{{0}}}; // o, o q, o q^2, o w, o q w
    vf square[VECTORS] = {0}, low[VECTORS];
    EACH_VECTOR(v)
        low[v] = SPREAD(15.0f);
    for (int64_t j = 0; j < s->n; j += 16) {
        vf code[VECTORS];
        tool_code_lanes(g, s->w + j, &c, code);
        EACH_VECTOR(v) {
            vf o, w = weight_lanes(s, j, v, &o), q = code[v];
            w *= s->factor;
            low[v] = smaller(q, low[v]);
            sum[0][v] += o;
            sum[1][v] += o * q;
            sum[2][v] += o * q * q;
            sum[3][v] += o * w;
            sum[4][v] += o * q * w;
            square[v] += o * w * w;
        }
    }
    float total[5], xx = fold(square), least = least_of(low);
    for (int i = 0; i < 5; i++)
        total[i] = fold(sum[i]);
    float mean = total[1] / total[0], spread = total[2] - mean * total[1];
    float scale = (total[4] - mean * total[3]) / spread;
    float bias = (total[3] - scale * total[1]) / total[0];
    float xy = scale * total[4] + bias * total[3], grown = xy > 0.5f * xx ? xx / xy : 1;
    grown /= s->factor;
    c.less += least * by;
    c.scale = kept_scale(g->stored, scale * grown);
    c.bias = kept(g->stored, bias * grown + (scale * grown - c.scale) * mean + least * c.scale);
    return c;
}

INLINE tool_choice codes_best(const tool_groups *g, const searched *s, float min, float max,
                              tool_choice compat, float *error)
{
    float by, less;
    tool_choice c;
    if (!affine_exact(g, s, min, max, &c) && !affine_exact(g, s, max, min, &c)) {
        if (!KERNEL(affine_search)(s, min, max, &by, &less))
            return compat;
        c = affine_squares(g, s, by, less);
        if (c.less != less && !found_again(g, s, &c))
            return compat;
    }
    float found = tool_error(g, s, &c);
    if (!(found < *error))
        return compat;
    *error = found;
    return c;
}

// Codes come first where the stored type tells biases apart that are a small part of a step, which
// it does not where the weights are all far away from 0.
INLINE tool_choice affine_best(const tool_groups *g, const searched *s, tool_choice compat,
                               float *error)
{
    float min, max;
    ends_of(s->w, s->n, &min, &max);
    float far = -min > max ? -min : max;
    float place = far * (g->stored == DT_F16 ? 0x1p-12f : 0x1p-9f);
    if (g->bits == 4 && place < 0x1p-8f * max - 0x1p-8f * min)
        return codes_best(g, s, min, max, compat, error);
    return stored_pairs_best(g, s, min, max, compat, error);
}

// ---- rows -------------------------------------------------------------------------------------

KERNEL_TARGET static void tool_best(const tool_groups *g, int64_t group)
{
    tool_choice c = tool_compat(g, group);
    const float *w = g->from.w + group * g->from.n;
    float amax = largest_of(w, g->from.n);
    if (amax > 0) {
        searched s = searched_group(&g->from, group * g->from.n, amax);
        float error = tool_error(g, &s, &c);
        c = g->tool == TOOL_MLX ? affine_best(g, &s, c, &error)
                                : zeros_best(g, &s, group, c, &error);
    }
    tool_write(g, group, &c);
}

INLINE void tool_all(const tool_groups *g, int_tool tool, int bits)
{
    tool_groups as_is = *g; // known when this is compiled, where it is inlined
    as_is.tool = tool;
    as_is.bits = bits;
    for (int64_t i = 0; i < g->from.groups; i++) {
        tool_choice c = tool_compat(&as_is, i);
        tool_write(&as_is, i, &c);
    }
}

KERNEL_TARGET void KERNEL(tool_rows)(const tool_groups *g)
{
    if (g->from.search == SEARCH_BEST)
        for (int64_t i = 0; i < g->from.groups; i++)
            tool_best(g, i);
    else if (g->tool == TOOL_GPTQ)
        tool_all(g, TOOL_GPTQ, g->bits);
    else if (g->tool == TOOL_AWQ)
        tool_all(g, TOOL_AWQ, 4);
    else
        tool_all(g, TOOL_MLX, g->bits);
}
