// SPDX-License-Identifier: Apache-2.0
// ggml's types of E2M1 codes, as a template (kernel_lanes.h): MXFP4, NVFP4. Both keep twice the
// E2M1 value and half the scale; the products are the same. A code of 8 (-0) reads as +0 and is
// never written.
#include <float.h>

#include "quantize/block_kernels.h"
#include "quantize/block_lanes.h"
#include "quantize/e2m1_lanes.h"

enum {
    MXFP4_BLOCK = 32, MXFP4_BYTES = 17, // u8 e @0; nibbles @1: value 2^(e-128) v
    NVFP4_BLOCK = 64, NVFP4_BYTES = 36, // UE4M3 d[4] @0; nibbles @4, 8 bytes for each d
    NVFP4_PART = 16,
};

// 2^(e - 128), also for 0 and 1, which are subnormal, and for 255, which is nobody's scale.
INLINE float fp4_half_e8m0(uint8_t e)
{
    return f32_from_bits(e < 2 ? 0x200000u << e : (uint32_t)(e - 1) << 23);
}

// Adding zero makes +0 of -0.
INLINE vf fp4_value(vi code) { return twice_e2m1(code) + 0.0f; }

// The products of 2 n elements whose codes are the low nibbles of n bytes, then the high ones; n a
// multiple of KERNEL_LANES.
INLINE void fp4_decode_halves(float *to, const uint8_t *from, float d, int n)
{
    for (int j = 0; j < n; j += KERNEL_LANES) {
        vi pair = bytes(from + j);
        vf low = fp4_value(pair) * d, high = fp4_value(pair >> 4) * d;
        memcpy(to + j, &low, sizeof low);
        memcpy(to + n + j, &high, sizeof high);
    }
}

KERNEL_TARGET static void KERNEL(mxfp4_decode)(float *to, const uint8_t *from, int64_t blocks)
{
    for (int64_t b = 0; b < blocks; b++, from += MXFP4_BYTES, to += MXFP4_BLOCK)
        fp4_decode_halves(to, from + 1, fp4_half_e8m0(from[0]), MXFP4_BLOCK / 2);
}

KERNEL_TARGET static void KERNEL(nvfp4_decode)(float *to, const uint8_t *from, int64_t blocks)
{
    for (int64_t b = 0; b < blocks; b++, from += NVFP4_BYTES)
        for (int part = 0; part < 4; part++, to += NVFP4_PART) {
            float d = ue4m3_to_f32(from[part]) * 0.5f;
            const uint8_t *codes = from + 4 + 8 * part;
#if KERNEL_LANES == 16
            uint64_t pairs = load_u64(codes);
            uint64_t both[2] = {pairs, pairs >> 4};
            vf value = fp4_value(bytes((const uint8_t *)both)) * d;
            memcpy(to, &value, sizeof value);
#else
            fp4_decode_halves(to, codes, d, NVFP4_PART / 2);
#endif
        }
}

// The nearest of v d, the smaller magnitude of two: how many midpoints, exact in binary32, lie
// below. ggml's distances |v d - x| are exact where they are compared with success.
INLINE void fp4_nearest_codes(uint8_t *code, const float *from, float d, int n)
{
    float unit = d > 0 ? d : 0x1p127f; // no scale: every code is 0
    for (int j = 0; j < n; j += KERNEL_LANES) {
        vf x;
        memcpy(&x, from + j, sizeof x);
        vf a = magnitude(x);
        vi above = (a > 0.5f * unit) + (a > 1.5f * unit) + (a > 2.5f * unit) + (a > 3.5f * unit) +
                   (a > 5 * unit) + (a > 7 * unit) + (a > 10 * unit); // a true lane is -1
        store_codes(code + j, -above | ((above & (vi)x) >> 31 & 8));
    }
}

// 16 codes as 8 bytes: the first eight are the low nibbles.
INLINE void fp4_store_halves(uint8_t *to, const uint8_t *low, const uint8_t *high)
{
    store_u64(to, load_u64(low) | load_u64(high) << 4);
}

KERNEL_TARGET static void KERNEL(mxfp4_write)(uint8_t *to, const float *from, uint8_t e)
{
    uint8_t code[MXFP4_BLOCK];
    to[0] = e;
    fp4_nearest_codes(code, from, fp4_half_e8m0(e), MXFP4_BLOCK);
    fp4_store_halves(to + 1, code, code + 16);
    fp4_store_halves(to + 9, code + 8, code + 24);
}

// The codes are those of the elements times by.
KERNEL_TARGET static void KERNEL(nvfp4_write)(uint8_t *to, int part, const float *from, uint8_t e,
                                              float by)
{
    uint8_t code[NVFP4_PART];
    to[part] = e;
    fp4_nearest_codes(code, from, ue4m3_to_f32(e) * 0.5f / by, NVFP4_PART);
    fp4_store_halves(to + 4 + 8 * part, code, code + 8);
}

// ggml's exponent: the largest magnitude is 4 to 8 times the scale. Below 2^-125 ggml converts a
// negative number to a byte, which C leaves open; here the scale is the smallest.
INLINE uint8_t mxfp4_exponent(float amax)
{
    return (uint8_t)(amax < 0x1p-125f ? 0 : f32_floor_log2(amax) + 125);
}

INLINE uint8_t nvfp4_scale(float amax) { return f32_to_ue4m3(amax / 6); }

// ---- BEST: the scale by the weighted squared error ----

enum {
    FP4_MOST = 32,
    FP4_AT_ONCE = 2, // scales tried side by side
    // A scale under which all codes are at most 3 has nothing that half of it lacks, so above
    // ggml's, of which the largest element is 6 times (MXFP4: 4 to 8), few are worth a try: one
    // exponent, seven steps of an eighth. Below, elements are cut off; importance can make that
    // worth while far down.
    MXFP4_ABOVE = 1, MXFP4_BELOW = 4, MXFP4_FAR = 6, MXFP4_LAST = 252,
    NVFP4_ABOVE = 7, NVFP4_BELOW = 8, NVFP4_FAR = 24, NVFP4_LAST = 0x7e,
    // The smallest scales have no halves: to find one again whose codes are all small, as much as
    // 12 above is needed (13 times 0.5 makes ggml take 1).
    NVFP4_GRID = 13,
};

// Parts side by side, in a scaling of their own: a = |x| by a power of two, w = importance by one.
typedef struct {
    vf a[FP4_MOST], w[FP4_MOST];
    vf unit; // of a
    int n;   // elements of a part
} fp4_parts;

// The power of two that brings x into [1, 2), or as far as one can.
INLINE vf fp4_unit(vf x)
{
    vi exponent = (vi)x >> 23;
    exponent = either_int(exponent < 1, (vi){0} + 1, exponent);
    exponent = either_int(exponent > 253, (vi){0} + 253, exponent);
    return (vf)((254 - exponent) << 23);
}

INLINE vf fp4_most(const vf *x, int n)
{
    vf most = {0};
    for (int j = 0; j < n; j++)
        most = larger(magnitude(x[j]), most);
    return most;
}

static const float fp4_no_part[FP4_MOST] = {0};

// Parts [first, first + count); the other lanes hold zeros.
KERNEL_TARGET static void KERNEL(fp4_load)(fp4_parts *p, const block_rows *r, int64_t first,
                                           int count)
{
    const float *x[KERNEL_LANES], *importance[KERNEL_LANES];
    for (int i = 0; i < KERNEL_LANES; i++) {
        int64_t at = (first + i) * p->n;
        x[i] = i < count ? r->from + at : fp4_no_part;
        importance[i] = i < count && r->importance ? r->importance + at % r->in : fp4_no_part;
    }
    columns(p->a, x, p->n);
    p->unit = fp4_unit(fp4_most(p->a, p->n));
    for (int j = 0; j < p->n; j++) {
        p->a[j] = magnitude(p->a[j]) * p->unit;
        p->w[j] = SPREAD(1);
    }
    if (!r->importance)
        return;
    columns(p->w, importance, p->n);
    vf unit = fp4_unit(fp4_most(p->w, p->n));
    for (int j = 0; j < p->n; j++)
        p->w[j] *= unit;
}

// The value of the nearest code to y >= 0, in multiples of the scale.
INLINE vf fp4_nearest(vf y)
{
    y = smaller(y, SPREAD(6));
    // Steps of half a code's binade, from 1 on: adding 2^22 times it rounds to them.
    vf binade = larger((vf)((vi)y & 0x7f800000), SPREAD(1)) * 0x1p22f;
    return y + binade - binade;
}

// The errors under at most FP4_AT_ONCE scales (6 is their largest multiple) given in the parts' own
// scaling, and, unless lack is NULL, by how much sum w a value is less than sum w a^2.
INLINE void fp4_errors(const fp4_parts *p, const vf *scale, int scales, vf *error, vf *lack)
{
    vf inverse[FP4_AT_ONCE], sum[FP4_AT_ONCE], lost[FP4_AT_ONCE];
    UNROLLED(t, scales) {
        inverse[t] = 1.0f / scale[t];
        sum[t] = lost[t] = (vf){0};
    }
    for (int j = 0; j < p->n; j++)
        UNROLLED(t, scales) {
            vf d = p->a[j] - fp4_nearest(p->a[j] * inverse[t]) * scale[t], wd = p->w[j] * d;
            sum[t] += wd * d;
            if (lack)
                lost[t] += wd * p->a[j];
        }
    UNROLLED(t, scales) {
        error[t] = sum[t];
        if (lack)
            lack[t] = lost[t];
    }
}

// The error under a scale of the codes of elements times by.
INLINE vf fp4_error_of_grown(const fp4_parts *p, vf scale, vf by)
{
    vf inverse = by / scale, error = {0};
    for (int j = 0; j < p->n; j++) {
        vf d = p->a[j] - fp4_nearest(p->a[j] * inverse) * scale;
        error += p->w[j] * d * d;
    }
    return error;
}

// Where cutting off alone costs less than the best: under no smaller scale does it elsewhere.
INLINE vi fp4_hope(const fp4_parts *p, vf scale, vf best)
{
    vf most = 6.0f * scale, sum = {0};
    for (int j = 0; j < p->n; j++) {
        vf d = larger(p->a[j] - most, (vf){0});
        sum += p->w[j] * d * d;
    }
    return sum < best;
}

// Where all elements are multiples of 2^-10, as are those of the smallest scales.
INLINE vi fp4_on_grid(const fp4_parts *p)
{
    vf steps = 1024.0f / p->unit;
    vi all = {0};
    for (int j = 0; j < p->n; j++) {
        vf y = smaller(p->a[j] * steps, SPREAD(0x1p22f));
        all |= y + 0x1p23f - 0x1p23f != y;
    }
    return ~all;
}

INLINE bool fp4_any(vi mask)
{
    int32_t any = 0;
    for (int i = 0; i < KERNEL_LANES; i++)
        any |= mask[i];
    return any != 0;
}

typedef struct {
    int above, below, last; // codes about ggml's that are tried, and the largest one
    bool e8m0;              // else UE4M3
} fp4_codes;

INLINE vf fp4_scale(fp4_codes c, vi code)
{
    vi least = {0};
    if (c.e8m0)
        return (vf)either_int(code < 1, least + 0x400000, code << 23);
    vi x = (code << 20) + (120 << 23);
    vf subnormal = (vf)(x + (1 << 23)) - 0x1p-6f; // of equal exponent: the rest is exact
    return either(code < 8, subnormal, (vf)x);
}

INLINE vi fp4_code(fp4_codes c, vi given, int away)
{
    vi least = {0}, code = given + away;
    code = either_int(code < least, least, code);
    return either_int(code > c.last, least + c.last, code);
}

enum { FP4_TRIED = 48 };

// The best scale code so far; of the given one 0.9999 of the error (less could be rounding). For
// NVFP4 all that were tried, too.
typedef struct {
    vi code;
    vf error;
    int n;
    vi tried[FP4_TRIED];
    vf errors[FP4_TRIED], lacks[FP4_TRIED];
} fp4_best;

// The errors of codes given + k and the next lower ones.
INLINE void fp4_measure(const fp4_parts *p, fp4_codes c, vi given, int k, vf error[FP4_AT_ONCE],
                        vf *lack)
{
    vf scale[FP4_AT_ONCE];
    UNROLLED(t, FP4_AT_ONCE)
        scale[t] = fp4_scale(c, fp4_code(c, given, k - t)) * p->unit;
    fp4_errors(p, scale, FP4_AT_ONCE, error, lack);
}

// Takes them where they may be taken; the lowest of equals.
INLINE void fp4_take(fp4_codes c, vi given, int k, vi may, const vf error[FP4_AT_ONCE],
                     fp4_best *best)
{
    UNROLLED(t, FP4_AT_ONCE) {
        vi code = fp4_code(c, given, k - t);
        vf its = either(may, error[t], SPREAD(FLT_MAX));
        vi better = its <= best->error;
        best->error = either(better, its, best->error);
        best->code = either_int(better, code, best->code);
        if (!c.e8m0) {
            best->tried[best->n] = code;
            best->errors[best->n++] = its;
        }
    }
}

INLINE void fp4_try(const fp4_parts *p, fp4_codes c, vi given, int k, vi may, fp4_best *best)
{
    vf error[FP4_AT_ONCE];
    fp4_measure(p, c, given, k, error, c.e8m0 ? NULL : best->lacks + best->n);
    fp4_take(c, given, k, may, error, best);
}

// NVFP4: the code that gives the values of least distance from elements that have grown by the
// share that the least error takes from them (docs/decisions.md); E4M3 is too coarse for scales to
// grow. *by is how much, where that is no worse than the given code; else the best one's 1.
INLINE void fp4_unshrink(const fp4_parts *p, fp4_codes c, fp4_best *best, vf *by)
{
    vf square = {0}, least = SPREAD(FLT_MAX), limit = best->errors[0];
    vi code = best->code;
    for (int j = 0; j < p->n; j++)
        square += p->w[j] * p->a[j] * p->a[j];
    vf grown = either(best->error < 0.5f * square, square / (square - best->error), SPREAD(1));
    for (int i = 0; i < best->n; i++) {
        vf distance = best->errors[i] + 2.0f * (grown - 1.0f) * best->lacks[i];
        vi better = (distance <= least) & (best->errors[i] < FLT_MAX);
        least = either(better, distance, least);
        code = either_int(better, best->tried[i], code);
    }
    vi good = fp4_error_of_grown(p, fp4_scale(c, code) * p->unit, grown) < limit;
    best->code = either_int(good, code, best->code);
    *by = either(good, grown, SPREAD(1));
}

// The given code; of MXFP4 those above it, too, since both fit in one go.
INLINE void fp4_begin(const fp4_parts *p, fp4_codes c, vi given, fp4_best *best)
{
    vf scale = fp4_scale(c, given) * p->unit, error[FP4_AT_ONCE];
    best->code = given;
    if (c.e8m0) {
        fp4_measure(p, c, given, MXFP4_ABOVE, error, NULL);
        best->error = error[MXFP4_ABOVE] * 0.9999f;
        fp4_take(c, given, MXFP4_ABOVE, ~(vi){0}, error, best);
        return;
    }
    fp4_errors(p, &scale, 1, error, best->lacks);
    best->error = best->errors[0] = error[0] * 0.9999f;
    best->tried[0] = given;
    best->n = 1;
}

// What a lane tries does not depend on the others: where some have to go on, the rest take nothing.
INLINE vi fp4_sweep(const fp4_parts *p, fp4_codes c, vi given, vf *by)
{
    vi all = ~(vi){0};
    fp4_best best;
    fp4_begin(p, c, given, &best);
    vi grid = (given < 8) & fp4_on_grid(p);
    if (!c.e8m0 && fp4_any(grid))
        for (int k = NVFP4_GRID; k > c.above; k -= FP4_AT_ONCE)
            fp4_try(p, c, given, k, grid, &best);
    int first = c.e8m0 ? c.above - FP4_AT_ONCE : c.above;
    for (int k = first; k >= -c.below; k -= FP4_AT_ONCE) {
        if (k <= -NVFP4_BELOW) {
            all &= fp4_hope(p, fp4_scale(c, fp4_code(c, given, k)) * p->unit, best.error);
            if (!fp4_any(all))
                break;
        }
        fp4_try(p, c, given, k, all, &best);
    }
    *by = SPREAD(1);
    if (!c.e8m0)
        fp4_unshrink(p, c, &best, by);
    return best.code;
}

// mx is known when this is compiled.
INLINE void fp4_better(const block_rows *r, bool mx, int64_t first, int count,
                       int32_t code[KERNEL_LANES], float by[KERNEL_LANES])
{
    bool far = r->importance != NULL;
    fp4_codes c = {NVFP4_ABOVE, far ? NVFP4_FAR : NVFP4_BELOW, NVFP4_LAST, false};
    if (mx)
        c = (fp4_codes){MXFP4_ABOVE, far ? MXFP4_FAR : MXFP4_BELOW, MXFP4_LAST, true};
    fp4_parts p = {.n = c.e8m0 ? MXFP4_BLOCK : NVFP4_PART};
    KERNEL(fp4_load)(&p, r, first, count);
    vi given;
    memcpy(&given, code, sizeof given);
    vf grown;
    given = fp4_sweep(&p, c, given, &grown);
    memcpy(code, &given, sizeof given);
    memcpy(by, &grown, sizeof grown);
}

KERNEL_TARGET static void KERNEL(mxfp4_encode)(const block_rows *r)
{
    int64_t n = r->n * r->in / MXFP4_BLOCK;
    for (int64_t b = 0; b < n; b += KERNEL_LANES) {
        int count = (int)i64_min(n - b, KERNEL_LANES);
        int32_t e[KERNEL_LANES] = {0};
        float by[KERNEL_LANES];
        for (int i = 0; i < count; i++)
            e[i] = mxfp4_exponent(largest_of(r->from + (b + i) * MXFP4_BLOCK, MXFP4_BLOCK));
        if (r->search == SEARCH_BEST)
            fp4_better(r, true, b, count, e, by);
        for (int i = 0; i < count; i++)
            KERNEL(mxfp4_write)(r->to + (b + i) * MXFP4_BYTES, r->from + (b + i) * MXFP4_BLOCK,
                                (uint8_t)e[i]);
    }
}

KERNEL_TARGET static void KERNEL(nvfp4_encode)(const block_rows *r)
{
    int64_t n = r->n * r->in / NVFP4_PART;
    for (int64_t b = 0; b < n; b += KERNEL_LANES) {
        int count = (int)i64_min(n - b, KERNEL_LANES);
        int32_t e[KERNEL_LANES] = {0};
        float by[KERNEL_LANES];
        for (int i = 0; i < count; i++)
            e[i] = nvfp4_scale(largest_of(r->from + (b + i) * NVFP4_PART, NVFP4_PART));
        for (int i = 0; i < count; i++)
            by[i] = 1;
        if (r->search == SEARCH_BEST)
            fp4_better(r, false, b, count, e, by);
        for (int i = 0; i < count; i++)
            KERNEL(nvfp4_write)(r->to + (b + i) / 4 * NVFP4_BYTES, (int)((b + i) % 4),
                                r->from + (b + i) * NVFP4_PART, (uint8_t)e[i], by[i]);
    }
}

const block_ops KERNEL(blocks_fp4)[N_BLOCKS_FP4] = {
    {DT_MXFP4, 0x1.8p127f, true, KERNEL(mxfp4_decode), KERNEL(mxfp4_encode)},
    {DT_NVFP4, 448 * 6, true, KERNEL(nvfp4_decode), KERNEL(nvfp4_encode)},
};
