// SPDX-License-Identifier: Apache-2.0
// ggml's non-linear 4-bit types, as a template (kernel_lanes.h): IQ4_NL, IQ4_XS. Codes stand for
// 16 integers, denser about zero, and every 32 elements share a scale.
#include "quantize/block_kernels.h"
#include "quantize/block_lanes.h"

enum {
    IQ4_PART = 32, IQ4_PART_CODES = 16,          // elements of a scale, bytes of their codes
    IQ4_NL_BYTES = 18,                   // f16 d @0; codes @2: value d v
    IQ4_XS_BYTES = 136, IQ4_XS_PARTS = 8, // f16 d @0; scales' bits 4, 5 @2 and 0-3 @4; codes @8:
                                          // value d (scale - 32) v
    IQ4_HALVES = 270, // tries lie within +-134.1
};

static const float iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                     1, 13, 25, 38, 53, 69, 89, 113};
// Code k + 1 begins in the middle between the values k and k + 1, which is exact.
static const float iq4_middles[15] = {-115.5f, -93.5f, -74, -57, -42, -28.5f, -16, -4.5f,
                                      7, 19, 31.5f, 45.5f, 61, 79, 101};

// As many parts of 32 elements as there are lanes. Lanes beyond the last part hold zeros.
typedef struct {
    const vf *x;      // [IQ4_PART]
    vf w[IQ4_PART];   // weights of the squared error
} iq4_parts;

// The value of the code in a lane's low nibble, whatever lies above.
INLINE vf iq4_value(vi code)
{
#if KERNEL_LANES == 16
    return (vf)_mm512_permutexvar_ps((__m512i)code, _mm512_loadu_ps(iq4_values));
#elif KERNEL_LANES == 8
    __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(iq4_values), (__m256i)code);
    __m256 high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(iq4_values + 8), (__m256i)code);
    return (vf)_mm256_blendv_ps(low, high, (__m256)(code << 28));
#else
    return (vf){iq4_values[code[0] & 15], iq4_values[code[1] & 15], iq4_values[code[2] & 15],
                iq4_values[code[3] & 15]};
#endif
}

INLINE void iq4_decode(float *to, const uint8_t *codes, float d)
{
    for (int j = 0; j < IQ4_PART_CODES; j += KERNEL_LANES) {
        vi pair = bytes(codes + j);
        vf low = iq4_value(pair) * d, high = iq4_value(pair >> 4) * d;
        memcpy(to + j, &low, sizeof low);
        memcpy(to + IQ4_PART_CODES + j, &high, sizeof high);
    }
}

KERNEL_TARGET static void KERNEL(iq4_nl_decode)(float *to, const uint8_t *from, int64_t blocks)
{
    for (int64_t b = 0; b < blocks; b++, from += IQ4_NL_BYTES, to += IQ4_PART)
        iq4_decode(to, from + 2, f16_to_f32(load_u16(from)));
}

KERNEL_TARGET static void KERNEL(iq4_xs_decode)(float *to, const uint8_t *from, int64_t blocks)
{
    for (int64_t b = 0; b < blocks; b++, from += IQ4_XS_BYTES) {
        float d = f16_to_f32(load_u16(from));
        uint32_t high = load_u16(from + 2), low = load_u32(from + 4);
        for (int k = 0; k < IQ4_XS_PARTS; k++, to += IQ4_PART) {
            uint32_t scale = (low >> 4 * k & 15) | (high >> 2 * k & 3) << 4;
            iq4_decode(to, from + 8 + IQ4_PART_CODES * k, d * (float)((int32_t)scale - 32));
        }
    }
}

// The nearest code, the upper one of two; 15 for what is no number, as in ggml.
INLINE vi nearest_iq4(vf x)
{
    vi code = {0};
    for (int k = 0; k < 15; k++)
        code += x < iq4_middles[k]; // a true lane is -1
    return code + 15;
}

// The value of the nearest code, |x| at most 134.1.
INLINE vf nearest_iq4_value(vf x, const float by_half[2 * IQ4_HALVES])
{
#if KERNEL_LANES == 16
    // Cells of eight about the multiples of eight: each has one middle at most, so three tables
    // of the number mod 32 tell what lies on either side. The outermost meet in cells of both ends.
    const __m512 middle_a = _mm512_setr_ps(0, 7, 19, 0, 31.5f, 0, 45.5f, 0, 61, 0, 79, 0, 0, 101,
                                           0, 0),
                 middle_b = _mm512_setr_ps(0, 0, -115.5f, 0, -93.5f, 0, 0, -74, 0, -57, 0, -42,
                                           -28.5f, 0, -16, -4.5f),
                 below_a = _mm512_setr_ps(1, 1, 13, 25, 25, 38, 38, 53, 53, 69, 69, 89, 89, 89,
                                          113, -127),
                 below_b = _mm512_setr_ps(-127, -127, -127, -104, -104, -83, -83, -83, -65, -65,
                                          -49, -49, -35, -22, -22, -10),
                 above_a = _mm512_setr_ps(1, 13, 25, 25, 38, 38, 53, 53, 69, 69, 89, 89, 89, 113,
                                          113, 113),
                 above_b = _mm512_setr_ps(113, 113, -104, -104, -83, -83, -83, -65, -65, -49, -49,
                                          -35, -22, -22, -10, 1);
    (void)by_half;
    __m512i cell = (__m512i)(x + 0x1.8p26f);
    __m512 middle = _mm512_permutex2var_ps(middle_a, cell, middle_b);
    __m512 below = _mm512_permutex2var_ps(below_a, cell, below_b);
    __m512 above = _mm512_permutex2var_ps(above_a, cell, above_b);
    return (vf)_mm512_mask_blend_ps(_mm512_cmp_ps_mask((__m512)x, middle, _CMP_GE_OQ), below,
                                    above);
#elif KERNEL_LANES == 8
    // Cells of 32 about the multiples of 32 less 5.75: each but the lowest has one middle between
    // pairs of codes. Then the middle of the pair. Tables by cell and by pair less 3, mod 8.
    const __m256 between = _mm256_setr_ps(-4.5f, 19, 45.5f, 79, -1e9f, -93.5f, -57, -28.5f),
                 middle = _mm256_setr_ps(-16, 7, 31.5f, 61, 101, -115.5f, -74, -42),
                 below = _mm256_setr_ps(-22, 1, 25, 53, 89, -127, -83, -49),
                 above = _mm256_setr_ps(-10, 13, 38, 69, 113, -104, -65, -35);
    (void)by_half;
    vi cell = (vi)(smaller(x + 5.75f, SPREAD(110)) + 0x1.8p28f);
    vi pair = cell - (x >= (vf)_mm256_permutevar8x32_ps(between, (__m256i)cell));
    vi upper = x >= (vf)_mm256_permutevar8x32_ps(middle, (__m256i)pair);
    return (vf)_mm256_blendv_ps(_mm256_permutevar8x32_ps(below, (__m256i)pair),
                                _mm256_permutevar8x32_ps(above, (__m256i)pair), (__m256)upper);
#else
    vf halves = x * 2.0f;
    vi i = __builtin_convertvector(halves, vi);
    i += __builtin_convertvector(i, vf) > halves; // floor
    const float *at = by_half + IQ4_HALVES;
    return (vf){at[i[0]], at[i[1]], at[i[2]], at[i[3]]};
#endif
}

enum { IQ4_TRIES = 16, IQ4_AT_ONCE = KERNEL_LANES == 16 ? 4 : 2 };

// For the codes nearest to inverse x, with w the weights: xv = sum of w v x, vv = sum of w v v.
typedef struct {
    vf inverse, xv, vv;
} iq4_fit;

INLINE void iq4_fit_codes(const iq4_parts *p, const float by_half[2 * IQ4_HALVES],
                          iq4_fit f[IQ4_AT_ONCE])
{
    for (int t = 0; t < IQ4_AT_ONCE; t++)
        f[t].xv = f[t].vv = (vf){0};
    for (int j = 0; j < IQ4_PART; j++) {
        vf x = p->x[j], w = p->w[j];
        for (int t = 0; t < IQ4_AT_ONCE; t++) {
            vf v = nearest_iq4_value(f[t].inverse * x, by_half);
            vf wv = w * v;
            f[t].xv += wv * x;
            f[t].vv += wv * v;
        }
    }
}

// ggml's scales: that of least squares for the codes of 16 inverse scales about 127 / maximum, the
// one whose codes fit best. 0 for parts below 1e-15.
KERNEL_TARGET static vf KERNEL(iq4_scales)(const iq4_parts *p, const float by_half[2 * IQ4_HALVES])
{
    vf amax = {0}, max = {0};
    for (int j = 0; j < IQ4_PART; j++) {
        vf x = p->x[j], a = magnitude(x);
        vi above = a > amax;
        amax = either(above, a, amax);
        max = either(above, x, max);
    }
    vi some = amax >= 1e-15f;
    max = either(some, max, SPREAD(127));
    vf scale = {0}, best = {0};
    for (int t = 0; t < IQ4_TRIES; t += IQ4_AT_ONCE) {
        iq4_fit f[IQ4_AT_ONCE];
        for (int i = 0; i < IQ4_AT_ONCE; i++)
            f[i].inverse = (float)(t + i - 8 - 127) / max;
        if (t == 0)
            f[0].inverse = 1.0f / (max / 127.0f);
        iq4_fit_codes(p, by_half, f);
        for (int i = 0; i < IQ4_AT_ONCE; i++) {
            vi better = f[i].vv > 0.0f;
            if (t + i)
                better &= f[i].xv * f[i].xv > best * f[i].vv;
            vf s = f[i].xv / f[i].vv;
            scale = either(better, s, scale);
            best = either(better, s * f[i].xv, best);
        }
    }
    return either(some, scale, (vf){0});
}

// p->w: the squares, or with importance its products with sqrt(mean2 + x^2).
INLINE void iq4_weigh(iq4_parts *p, const float *const importance[KERNEL_LANES], vf mean2)
{
    if (importance)
        columns(p->w, importance, IQ4_PART);
    for (int j = 0; j < IQ4_PART; j++) {
        vf x = p->x[j];
        if (importance)
            p->w[j] *= square_root(mean2 + x * x);
        else
            p->w[j] = x * x;
    }
}

INLINE vf iq4_inverses(vf x) { return either(x != 0.0f, 1.0f / x, (vf){0}); }

// The codes nearest to inverse x, a part's 16 bytes each to to[i], of n parts.
INLINE void iq4_write(uint8_t *const to[KERNEL_LANES], int n, const vf *x, vf inverse)
{
    uint32_t word[IQ4_PART_CODES / 4][KERNEL_LANES];
    for (int j = 0; j < IQ4_PART_CODES; j += 4) {
        vi four = {0};
        for (int k = j; k < j + 4; k++) {
            vi low = nearest_iq4(inverse * x[k]);
            vi high = nearest_iq4(inverse * x[k + IQ4_PART_CODES]);
            four |= (low | high << 4) << 8 * (k - j);
        }
        memcpy(word[j / 4], &four, sizeof four);
    }
    for (int i = 0; i < n; i++)
        for (int k = 0; k < IQ4_PART_CODES / 4; k++)
            store_u32(to[i] + 4 * k, word[k][i]);
}

// The addresses of parts [first, first + n) and of their importance; zeros for the other lanes.
typedef struct {
    const float *x[KERNEL_LANES], *importance[KERNEL_LANES];
    bool weighted;
} iq4_sources;

static const float iq4_no_part[IQ4_PART] = {0};

INLINE void iq4_find(iq4_sources *s, const block_rows *r, int64_t first, int n)
{
    s->weighted = r->importance != NULL;
    for (int i = 0; i < KERNEL_LANES; i++) {
        int64_t at = (first + i) * IQ4_PART;
        s->x[i] = i < n ? r->from + at : iq4_no_part;
        s->importance[i] = i < n && s->weighted ? r->importance + at % r->in : iq4_no_part;
    }
}

INLINE void iq4_fill_halves(float by_half[2 * IQ4_HALVES])
{
#if KERNEL_LANES == 4
    for (int i = 0, code = 0; i < 2 * IQ4_HALVES; i++) {
        while (code < 15 && (float)(i - IQ4_HALVES) * 0.5f >= iq4_middles[code])
            code++;
        by_half[i] = iq4_values[code];
    }
#else
    (void)by_half;
#endif
}

KERNEL_TARGET static void KERNEL(iq4_nl_some)(const block_rows *r, int64_t first, int n,
                                              const float by_half[2 * IQ4_HALVES])
{
    vf x[IQ4_PART];
    iq4_parts p = {.x = x};
    iq4_sources s;
    iq4_find(&s, r, first, n);
    columns(x, s.x, IQ4_PART);
    vf mean2 = {0};
    for (int j = 0; j < IQ4_PART; j++)
        mean2 += x[j] * x[j];
    iq4_weigh(&p, s.weighted ? s.importance : NULL, mean2 * (2.0f / IQ4_PART));
    vf scale = KERNEL(iq4_scales)(&p, by_half);
    uint8_t *to[KERNEL_LANES];
    for (int i = 0; i < n; i++) {
        uint8_t *block = r->to + (first + i) * IQ4_NL_BYTES;
        store_u16(block, f32_to_f16(scale[i]));
        to[i] = block + 2;
    }
    iq4_write(to, n, x, iq4_inverses(scale));
}

KERNEL_TARGET static void KERNEL(iq4_nl_encode)(const block_rows *r)
{
    float by_half[2 * IQ4_HALVES];
    iq4_fill_halves(by_half);
    int64_t n = r->n * r->in / IQ4_PART;
    for (int64_t b = 0; b < n; b += KERNEL_LANES)
        KERNEL(iq4_nl_some)(r, b, (int)i64_min(n - b, KERNEL_LANES), by_half);
}

// ---- IQ4_XS: the parts of one or two blocks at a time ----

enum {
    IQ4_XS_GROUPS = KERNEL_LANES < IQ4_XS_PARTS ? IQ4_XS_PARTS / KERNEL_LANES : 1,
    IQ4_XS_AT_ONCE = IQ4_XS_GROUPS * KERNEL_LANES / IQ4_XS_PARTS,
};

// ggml's rounding: to even, and what is no number to 0.
INLINE int32_t iq4_nearest_scale(float x)
{
    int32_t l = (int32_t)(f32_bits(x + 0x1.8p23f) & 0x7fffff) - 0x400000;
    return l < -32 ? -32 : l > 31 ? 31 : l;
}

INLINE void iq4_store_scales(uint8_t *to, float d, const int32_t scale[IQ4_XS_PARTS])
{
    uint32_t high = 0, low = 0;
    for (int k = 0; k < IQ4_XS_PARTS; k++) {
        uint32_t l = (uint32_t)(scale[k] + 32);
        low |= (l & 15) << 4 * k;
        high |= l >> 4 << 2 * k;
    }
    store_u16(to, f32_to_f16(d));
    store_u16(to + 2, (uint16_t)high);
    store_u32(to + 4, low);
}

// ggml's: the largest scale becomes -32. inverse: of the scales that the codes are found with,
// before d is rounded.
INLINE void iq4_scale_block(uint8_t *to, const float scale[IQ4_XS_PARTS],
                            float inverse[IQ4_XS_PARTS])
{
    float amax = 0, max = 0;
    for (int k = 0; k < IQ4_XS_PARTS; k++) {
        float a = scale[k] < 0 ? -scale[k] : scale[k];
        if (a > amax) {
            amax = a;
            max = scale[k];
        }
    }
    float d = -max / 32, id = d != 0 ? 1 / d : 0;
    int32_t rounded[IQ4_XS_PARTS];
    for (int k = 0; k < IQ4_XS_PARTS; k++) {
        rounded[k] = iq4_nearest_scale(id * scale[k]);
        float dl = d * (float)rounded[k];
        inverse[k] = dl != 0 ? 1 / dl : 0;
    }
    iq4_store_scales(to, d, rounded);
}

// Twice the mean squares of n <= KERNEL_LANES blocks.
KERNEL_TARGET static void KERNEL(iq4_xs_means)(const block_rows *r, int64_t first, int n,
                                               float mean2[KERNEL_LANES])
{
    vf sum = {0};
    for (int k = 0; k < IQ4_XS_PARTS; k++) {
        vf x[IQ4_PART];
        const float *from[KERNEL_LANES];
        for (int i = 0; i < KERNEL_LANES; i++)
            from[i] = i < n ? r->from + ((first + i) * IQ4_XS_PARTS + k) * IQ4_PART : iq4_no_part;
        columns(x, from, IQ4_PART);
        for (int j = 0; j < IQ4_PART; j++)
            sum += x[j] * x[j];
    }
    sum *= 2.0f / (IQ4_PART * IQ4_XS_PARTS);
    memcpy(mean2, &sum, sizeof sum);
}

KERNEL_TARGET static void KERNEL(iq4_xs_some)(const block_rows *r, int64_t first, int n,
                                              const float *mean2,
                                              const float by_half[2 * IQ4_HALVES])
{
    vf x[IQ4_XS_GROUPS][IQ4_PART];
    float scale[IQ4_XS_GROUPS * KERNEL_LANES], inverse[IQ4_XS_GROUPS * KERNEL_LANES];
    uint8_t *to = r->to + first * IQ4_XS_BYTES;
    for (int g = 0; g < IQ4_XS_GROUPS; g++) {
        iq4_parts p = {.x = x[g]};
        iq4_sources s;
        iq4_find(&s, r, first * IQ4_XS_PARTS + g * KERNEL_LANES,
                   n * IQ4_XS_PARTS - g * KERNEL_LANES);
        columns(x[g], s.x, IQ4_PART);
        vf mean;
        for (int i = 0; i < KERNEL_LANES; i++)
            mean[i] = mean2[i / IQ4_XS_PARTS];
        iq4_weigh(&p, s.weighted ? s.importance : NULL, mean);
        vf found = KERNEL(iq4_scales)(&p, by_half);
        memcpy(scale + g * KERNEL_LANES, &found, sizeof found);
    }
    for (int b = 0; b < n; b++)
        iq4_scale_block(to + b * IQ4_XS_BYTES, scale + b * IQ4_XS_PARTS,
                        inverse + b * IQ4_XS_PARTS);
    for (int g = 0; g < IQ4_XS_GROUPS; g++) {
        uint8_t *codes[KERNEL_LANES];
        int lanes = 0;
        for (int i = 0; i < KERNEL_LANES; i++) {
            int k = g * KERNEL_LANES + i;
            if (k == n * IQ4_XS_PARTS)
                break;
            lanes++;
            codes[i] = to + k / IQ4_XS_PARTS * IQ4_XS_BYTES + 8 + k % IQ4_XS_PARTS * IQ4_PART_CODES;
        }
        vf with;
        memcpy(&with, inverse + g * KERNEL_LANES, sizeof with);
        iq4_write(codes, lanes, x[g], with);
    }
}

KERNEL_TARGET static void KERNEL(iq4_xs_encode)(const block_rows *r)
{
    float by_half[2 * IQ4_HALVES], mean2[KERNEL_LANES + IQ4_XS_AT_ONCE] = {0};
    iq4_fill_halves(by_half);
    int64_t n = r->n * r->in / (IQ4_PART * IQ4_XS_PARTS);
    for (int64_t b = 0; b < n; b += IQ4_XS_AT_ONCE) {
        int64_t i = b % KERNEL_LANES;
        if (r->importance && i == 0)
            KERNEL(iq4_xs_means)(r, b, (int)i64_min(n - b, KERNEL_LANES), mean2);
        KERNEL(iq4_xs_some)(r, b, (int)i64_min(n - b, IQ4_XS_AT_ONCE), mean2 + i, by_half);
    }
}

const block_ops KERNEL(blocks_iq4)[N_BLOCKS_IQ4] = {
    {DT_IQ4_NL, 0x1p20f, true, KERNEL(iq4_nl_decode), KERNEL(iq4_nl_encode)},
    {DT_IQ4_XS, 0x1p25f, true, KERNEL(iq4_xs_decode), KERNEL(iq4_xs_encode)},
};
