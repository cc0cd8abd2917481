// SPDX-License-Identifier: Apache-2.0
// ggml's non-linear 4-bit types, as a template (kernel_lanes.h): IQ4_NL, IQ4_XS. Codes stand for
// 16 integers, denser about zero, and every 32 elements share a scale.
#include "quantize/block_kernels.h"
#include "quantize/block_lanes.h"
#include "quantize/iq4_search.h"

enum {
    IQ4_PART_CODES = 16,                  // bytes
    IQ4_NL_BYTES = 18,                    // f16 d @0; codes @2: value d v
    IQ4_XS_BYTES = 136, IQ4_XS_PARTS = 8, // f16 d @0; scales' bits 4, 5 @2 and 0-3 @4; codes @8:
                                          // value d (scale - 32) v
};

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
} iq4_sources;

static const float iq4_no_part[IQ4_PART] = {0};

INLINE void iq4_find(iq4_sources *s, const block_rows *r, int64_t first, int n)
{
    for (int i = 0; i < KERNEL_LANES; i++) {
        int64_t at = (first + i) * IQ4_PART;
        s->x[i] = i < n ? r->from + at : iq4_no_part;
        s->importance[i] = i < n && r->importance ? r->importance + at % r->in : iq4_no_part;
    }
}

// What has to be gained: less could be the rounding of the sums.
static const float iq4_margin = 0.9999f;

INLINE vf iq4_as_f16(vf x) { return f16_lanes(to_f16_lanes(x)); }

// ---- IQ4_NL ----

// Tries the scale that is stored for this one.
INLINE void iq4_nl_try(const iq4_job *job, const iq4_parts *p, vf scale, vf *best, vf *error)
{
    vf stored = iq4_as_f16(scale);
    vf e = KERNEL(iq4_error)(job, p, iq4_inverses(stored), stored);
    vi better = e < *error;
    *best = either(better, stored, *best);
    *error = either(better, e, *error);
}

// The scale that codes are found with: ggml's, or one with which they are better; then what is
// stored has grown until the values do not shrink the weights (docs/decisions.md).
KERNEL_TARGET static vf KERNEL(iq4_nl_best)(const iq4_job *job, const iq4_parts *p, vf scale,
                                            vf *stored)
{
    vf given = scale;
    vf error = iq4_margin * KERNEL(iq4_error)(job, p, iq4_inverses(scale), iq4_as_f16(scale));
    vf limit = error, max = iq4_maximum(p);
    for (int k = 0; k < 16; k++) // one of them is the scale of what was read
        iq4_nl_try(job, p, max / iq4_values[k], &scale, &error);
    vf found = KERNEL(iq4_best_scales)(job, p, 16).scale;
    iq4_nl_try(job, p, found, &scale, &error);
    iq4_fit f[IQ4_AT_ONCE] = {{.inverse = iq4_inverses(found)}};
    iq4_fit_codes(job, p->x, p->w, true, f);
    iq4_nl_try(job, p, either(f[0].vv > 0.0f, f[0].xv / f[0].vv, found), &scale, &error);
    scale = either(iq4_as_f16(scale) != 0.0f, scale, (vf){0}); // without a scale, one sort of codes
    iq4_shrink sums = KERNEL(iq4_shrink_of)(job, p, iq4_inverses(scale), scale);
    vi shrunk = (sums.xy > 0.5f * sums.xx) & (error < limit) & (scale != given);
    vf grown = iq4_as_f16(scale * either(shrunk, sums.xx / sums.xy, SPREAD(1)));
    shrunk &= KERNEL(iq4_error)(job, p, iq4_inverses(scale), grown) < limit;
    *stored = either(shrunk, grown, scale);
    return scale;
}

KERNEL_TARGET static void KERNEL(iq4_nl_some)(const iq4_job *job, int64_t first, int n)
{
    vf x[IQ4_PART];
    iq4_parts p = {.x = x};
    iq4_sources s;
    iq4_find(&s, job->r, first, n);
    columns(x, s.x, IQ4_PART);
    vf mean2 = {0};
    for (int j = 0; j < IQ4_PART; j++)
        mean2 += x[j] * x[j];
    iq4_weigh(job, &p, s.importance, mean2 * (2.0f / IQ4_PART));
    vf scale = KERNEL(iq4_scales)(job, &p);
    vf stored = scale;
    if (job->r->search == SEARCH_BEST)
        scale = KERNEL(iq4_nl_best)(job, &p, scale, &stored);
    uint8_t *to[KERNEL_LANES];
    for (int i = 0; i < n; i++) {
        uint8_t *block = job->r->to + (first + i) * IQ4_NL_BYTES;
        store_u16(block, f32_to_f16(stored[i]));
        to[i] = block + 2;
    }
    iq4_write(to, n, x, iq4_inverses(scale));
}

KERNEL_TARGET static void KERNEL(iq4_nl_encode)(const block_rows *r)
{
    iq4_job job;
    iq4_begin(&job, r);
    int64_t n = r->n * r->in / IQ4_PART;
    for (int64_t b = 0; b < n; b += KERNEL_LANES)
        KERNEL(iq4_nl_some)(&job, b, (int)i64_min(n - b, KERNEL_LANES));
}

// ---- IQ4_XS: the parts of one or two blocks at a time ----

enum {
    IQ4_XS_GROUPS = KERNEL_LANES < IQ4_XS_PARTS ? IQ4_XS_PARTS / KERNEL_LANES : 1,
    IQ4_XS_LANES = IQ4_XS_GROUPS * KERNEL_LANES,
    IQ4_XS_AT_ONCE = IQ4_XS_LANES / IQ4_XS_PARTS,
    IQ4_XS_FACTORS = 2, // so many are compared by their errors
};

typedef struct {
    vf x[IQ4_XS_GROUPS][IQ4_PART];
    iq4_parts parts[IQ4_XS_GROUPS];
    int blocks;
} iq4_xs_batch;

// Scales of the parts of a batch: the block's factor times an integer.
typedef struct {
    float factor[IQ4_XS_AT_ONCE];
    int32_t rounded[IQ4_XS_LANES];
    float inverse[IQ4_XS_LANES]; // for finding codes
} iq4_xs_scales;

// ggml's rounding: to even, and what is no number to 0.
INLINE int32_t iq4_nearest_scale(float x)
{
    int32_t l = (int32_t)(f32_bits(x + 0x1.8p23f) & 0x7fffff) - 0x400000;
    return l < -32 ? -32 : l > 31 ? 31 : l;
}

INLINE void iq4_xs_store(uint8_t *to, float factor, const int32_t rounded[IQ4_XS_PARTS])
{
    uint32_t high = 0, low = 0;
    for (int k = 0; k < IQ4_XS_PARTS; k++) {
        uint32_t l = (uint32_t)(rounded[k] + 32);
        low |= (l & 15) << 4 * k;
        high |= l >> 4 << 2 * k;
    }
    store_u16(to, f32_to_f16(factor));
    store_u16(to + 2, (uint16_t)high);
    store_u32(to + 4, low);
}

INLINE float iq4_largest_scale(const float scale[IQ4_XS_PARTS])
{
    float amax = 0, max = 0;
    for (int k = 0; k < IQ4_XS_PARTS; k++) {
        float a = scale[k] < 0 ? -scale[k] : scale[k];
        if (a > amax) {
            amax = a;
            max = scale[k];
        }
    }
    return max;
}

// ggml's: the largest scale becomes -32; codes are found before the factor is rounded.
INLINE void iq4_xs_round(iq4_xs_scales *s, int block, const float scale[IQ4_XS_PARTS])
{
    float d = -iq4_largest_scale(scale) / 32, id = d != 0 ? 1 / d : 0;
    s->factor[block] = d;
    for (int k = 0; k < IQ4_XS_PARTS; k++) {
        int32_t l = iq4_nearest_scale(id * scale[k]);
        float dl = d * (float)l;
        s->rounded[block * IQ4_XS_PARTS + k] = l;
        s->inverse[block * IQ4_XS_PARTS + k] = dl != 0 ? 1 / dl : 0;
    }
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

// The errors of all parts of the batch.
INLINE void iq4_xs_errors(const iq4_job *job, const iq4_xs_batch *b, const float *inverse,
                          const float *scale, float error[IQ4_XS_LANES])
{
    for (int g = 0; g < IQ4_XS_GROUPS; g++) {
        vf i, s;
        memcpy(&i, inverse + g * KERNEL_LANES, sizeof i);
        memcpy(&s, scale + g * KERNEL_LANES, sizeof s);
        vf e = KERNEL(iq4_error)(job, &b->parts[g], i, s);
        memcpy(error + g * KERNEL_LANES, &e, sizeof e);
    }
}

// The factors that make the largest scale -32 to 31 times themselves, by what rounding the other
// scales costs then: vv times the square of the difference. The best few, best first.
KERNEL_TARGET static void KERNEL(iq4_xs_factors)(const float scale[IQ4_XS_PARTS],
                                                 const float vv[IQ4_XS_PARTS],
                                                 float best[IQ4_XS_FACTORS])
{
    float factor[64], cost[64];
    float largest = iq4_largest_scale(scale);
    for (int m = 0; m < 64; m += KERNEL_LANES) {
        vf multiple, sum = {0};
        for (int i = 0; i < KERNEL_LANES; i++)
            multiple[i] = (float)(m + i < 32 ? m + i - 32 : m + i - 31);
        vf d = iq4_as_f16(largest / multiple);
        vf inverse = iq4_inverses(d);
        for (int k = 0; k < IQ4_XS_PARTS; k++) {
            vf difference = scale[k] - d * clamp(nearest(scale[k] * inverse), -32, 31);
            sum += vv[k] * difference * difference;
        }
        memcpy(factor + m, &d, sizeof d);
        memcpy(cost + m, &sum, sizeof sum);
    }
    for (int n = 0; n < IQ4_XS_FACTORS; n++) {
        int least = 0;
        for (int m = 1; m < 64; m++)
            if (cost[m] < cost[least])
                least = m;
        best[n] = factor[least];
        cost[least] = 0x1.fffffep127f;
    }
}

// With the n-th factor of every block: each part's scale rounded, and the integers beside it.
INLINE void iq4_xs_try(const iq4_job *job, const iq4_xs_batch *b, const float *found,
                       iq4_xs_scales *s, float total[IQ4_XS_AT_ONCE])
{
    int32_t middle[IQ4_XS_LANES];
    float least[IQ4_XS_LANES];
    for (int k = 0; k < IQ4_XS_LANES; k++) {
        float d = s->factor[k / IQ4_XS_PARTS];
        middle[k] = iq4_nearest_scale(d != 0 ? found[k] / d : 0);
    }
    for (int beside = 0; beside < 3; beside++) {
        float scale[IQ4_XS_LANES], inverse[IQ4_XS_LANES], error[IQ4_XS_LANES];
        int32_t l[IQ4_XS_LANES];
        for (int k = 0; k < IQ4_XS_LANES; k++) {
            l[k] = middle[k] + (beside == 1 ? 1 : beside == 2 ? -1 : 0);
            l[k] = l[k] < -32 ? -32 : l[k] > 31 ? 31 : l[k];
            scale[k] = s->factor[k / IQ4_XS_PARTS] * (float)l[k];
            inverse[k] = scale[k] != 0 ? 1 / scale[k] : 0;
        }
        iq4_xs_errors(job, b, inverse, scale, error);
        for (int k = 0; k < IQ4_XS_LANES; k++)
            if (beside == 0 || error[k] < least[k]) {
                least[k] = error[k];
                s->rounded[k] = l[k];
                s->inverse[k] = inverse[k];
            }
    }
    for (int block = 0; block < IQ4_XS_AT_ONCE; block++) {
        total[block] = 0;
        for (int k = 0; k < IQ4_XS_PARTS; k++)
            total[block] += least[block * IQ4_XS_PARTS + k];
    }
}

INLINE void iq4_xs_take(iq4_xs_scales *to, const iq4_xs_scales *from, int block)
{
    int k = block * IQ4_XS_PARTS;
    to->factor[block] = from->factor[block];
    memcpy(to->rounded + k, from->rounded + k, IQ4_XS_PARTS * sizeof *to->rounded);
    memcpy(to->inverse + k, from->inverse + k, IQ4_XS_PARTS * sizeof *to->inverse);
}

// One way of several to say the same: the largest factor, positive if it may be.
INLINE void iq4_xs_settle(iq4_xs_scales *s, int block)
{
    int32_t *l = s->rounded + block * IQ4_XS_PARTS, all = 0;
    float d = f16_to_f32(f32_to_f16(s->factor[block]));
    if (d == 0) {
        s->factor[block] = 0;
        memset(l, 0, IQ4_XS_PARTS * sizeof *l);
        memset(s->inverse + block * IQ4_XS_PARTS, 0, IQ4_XS_PARTS * sizeof *s->inverse);
        return;
    }
    for (int k = 0; k < IQ4_XS_PARTS; k++)
        all |= l[k];
    int32_t divisor = all ? all & -all : 1, sign = d < 0 ? -1 : 1;
    while (divisor > 1 && d * (float)(divisor * sign) > 65504)
        divisor /= 2;
    for (int k = 0; k < IQ4_XS_PARTS; k++)
        if (l[k] / divisor == -32)
            sign = 1;
    for (int k = 0; k < IQ4_XS_PARTS; k++)
        l[k] = l[k] / divisor * sign;
    s->factor[block] = d * (float)(divisor * sign);
}

// The factors of those blocks grow until the values do not shrink the weights, where the error
// stays below the limits.
INLINE void iq4_xs_unshrink(const iq4_job *job, const iq4_xs_batch *b,
                            const float limit[IQ4_XS_AT_ONCE], const bool *some, iq4_xs_scales *s)
{
    float scale[IQ4_XS_LANES], error[IQ4_XS_LANES], xx[IQ4_XS_LANES], xy[IQ4_XS_LANES];
    float grown[IQ4_XS_AT_ONCE];
    for (int k = 0; k < IQ4_XS_LANES; k++)
        scale[k] = s->factor[k / IQ4_XS_PARTS] * (float)s->rounded[k];
    for (int g = 0; g < IQ4_XS_GROUPS; g++) {
        vf inverse, by;
        memcpy(&inverse, s->inverse + g * KERNEL_LANES, sizeof inverse);
        memcpy(&by, scale + g * KERNEL_LANES, sizeof by);
        iq4_shrink sums = KERNEL(iq4_shrink_of)(job, &b->parts[g], inverse, by);
        memcpy(xx + g * KERNEL_LANES, &sums.xx, sizeof sums.xx);
        memcpy(xy + g * KERNEL_LANES, &sums.xy, sizeof sums.xy);
    }
    for (int block = 0; block < IQ4_XS_AT_ONCE; block++) {
        float x = 0, y = 0;
        for (int k = block * IQ4_XS_PARTS; k < (block + 1) * IQ4_XS_PARTS; k++) {
            x += xx[k];
            y += xy[k];
        }
        float factor = s->factor[block] * (y > 0.5f * x ? x / y : 1);
        grown[block] = f16_to_f32(f32_to_f16(factor));
    }
    for (int k = 0; k < IQ4_XS_LANES; k++)
        scale[k] = grown[k / IQ4_XS_PARTS] * (float)s->rounded[k];
    iq4_xs_errors(job, b, s->inverse, scale, error);
    for (int block = 0; block < b->blocks; block++) {
        float total = 0;
        for (int k = block * IQ4_XS_PARTS; k < (block + 1) * IQ4_XS_PARTS; k++)
            total += error[k];
        if (some[block] && total < limit[block])
            s->factor[block] = grown[block];
    }
}

// Better scales than ggml's in s, block by block.
KERNEL_TARGET static void KERNEL(iq4_xs_best)(const iq4_job *job, const iq4_xs_batch *b,
                                              iq4_xs_scales *s)
{
    float found[IQ4_XS_LANES], vv[IQ4_XS_LANES], scale[IQ4_XS_LANES], error[IQ4_XS_LANES];
    float least[IQ4_XS_AT_ONCE] = {0}, limit[IQ4_XS_AT_ONCE];
    float factor[IQ4_XS_AT_ONCE][IQ4_XS_FACTORS];
    bool taken[IQ4_XS_AT_ONCE] = {false};
    for (int g = 0; g < IQ4_XS_GROUPS; g++) {
        iq4_best best = KERNEL(iq4_best_scales)(job, &b->parts[g], 0);
        memcpy(found + g * KERNEL_LANES, &best.scale, sizeof best.scale);
        memcpy(vv + g * KERNEL_LANES, &best.vv, sizeof best.vv);
    }
    for (int k = 0; k < IQ4_XS_LANES; k++)
        scale[k] = f16_to_f32(f32_to_f16(s->factor[k / IQ4_XS_PARTS])) * (float)s->rounded[k];
    iq4_xs_errors(job, b, s->inverse, scale, error);
    for (int k = 0; k < IQ4_XS_LANES; k++)
        least[k / IQ4_XS_PARTS] += error[k];
    for (int block = 0; block < b->blocks; block++) {
        int k = block * IQ4_XS_PARTS;
        KERNEL(iq4_xs_factors)(found + k, vv + k, factor[block]);
        limit[block] = least[block] *= iq4_margin;
    }
    for (int n = 0; n < IQ4_XS_FACTORS; n++) {
        iq4_xs_scales other = {0};
        float total[IQ4_XS_AT_ONCE];
        for (int block = 0; block < b->blocks; block++)
            other.factor[block] = factor[block][n];
        iq4_xs_try(job, b, found, &other, total);
        for (int block = 0; block < b->blocks; block++)
            if (total[block] < least[block]) {
                least[block] = total[block];
                taken[block] = true;
                iq4_xs_take(s, &other, block);
            }
    }
    iq4_xs_unshrink(job, b, limit, taken, s);
}

KERNEL_TARGET static void KERNEL(iq4_xs_some)(const iq4_job *job, int64_t first, int n,
                                              const float *mean2)
{
    iq4_xs_batch b = {.blocks = n};
    iq4_xs_scales s = {0};
    float scale[IQ4_XS_LANES];
    for (int g = 0; g < IQ4_XS_GROUPS; g++) {
        iq4_parts *p = &b.parts[g];
        iq4_sources from;
        iq4_find(&from, job->r, first * IQ4_XS_PARTS + g * KERNEL_LANES,
                 n * IQ4_XS_PARTS - g * KERNEL_LANES);
        columns(b.x[g], from.x, IQ4_PART);
        p->x = b.x[g];
        vf mean;
        for (int i = 0; i < KERNEL_LANES; i++)
            mean[i] = mean2[i / IQ4_XS_PARTS];
        iq4_weigh(job, p, from.importance, mean);
        vf found = KERNEL(iq4_scales)(job, p);
        memcpy(scale + g * KERNEL_LANES, &found, sizeof found);
    }
    for (int block = 0; block < n; block++)
        iq4_xs_round(&s, block, scale + block * IQ4_XS_PARTS);
    if (job->r->search == SEARCH_BEST) {
        KERNEL(iq4_xs_best)(job, &b, &s);
        for (int block = 0; block < n; block++)
            iq4_xs_settle(&s, block);
    }
    uint8_t *to = job->r->to + first * IQ4_XS_BYTES;
    for (int block = 0; block < n; block++)
        iq4_xs_store(to + block * IQ4_XS_BYTES, s.factor[block],
                     s.rounded + block * IQ4_XS_PARTS);
    for (int g = 0; g < IQ4_XS_GROUPS; g++) {
        uint8_t *codes[KERNEL_LANES];
        int lanes = (int)i64_min(KERNEL_LANES, n * IQ4_XS_PARTS - g * KERNEL_LANES);
        for (int i = 0; i < lanes; i++) {
            int k = g * KERNEL_LANES + i;
            codes[i] = to + k / IQ4_XS_PARTS * IQ4_XS_BYTES + 8 + k % IQ4_XS_PARTS * IQ4_PART_CODES;
        }
        vf with;
        memcpy(&with, s.inverse + g * KERNEL_LANES, sizeof with);
        iq4_write(codes, lanes, b.x[g], with);
    }
}

KERNEL_TARGET static void KERNEL(iq4_xs_encode)(const block_rows *r)
{
    iq4_job job;
    iq4_begin(&job, r);
    float mean2[KERNEL_LANES + IQ4_XS_AT_ONCE] = {0};
    int64_t n = r->n * r->in / (IQ4_PART * IQ4_XS_PARTS);
    for (int64_t b = 0; b < n; b += IQ4_XS_AT_ONCE) {
        int64_t i = b % KERNEL_LANES;
        if (r->importance && i == 0)
            KERNEL(iq4_xs_means)(r, b, (int)i64_min(n - b, KERNEL_LANES), mean2);
        KERNEL(iq4_xs_some)(&job, b, (int)i64_min(n - b, IQ4_XS_AT_ONCE), mean2 + i);
    }
}

// The largest: ggml's scale is a mean of ratios of elements to their values, of which the largest
// is 7 / 120 of the largest element (an element of value 1 is up to 7, the largest at least 120
// steps); it has to fit binary16. BEST only takes what is no worse.
const block_ops KERNEL(blocks_iq4)[N_BLOCKS_IQ4] = {
    {DT_IQ4_NL, 0x1p20f, true, KERNEL(iq4_nl_decode), KERNEL(iq4_nl_encode)},
    {DT_IQ4_XS, 0x1p25f, true, KERNEL(iq4_xs_decode), KERNEL(iq4_xs_encode)},
};
