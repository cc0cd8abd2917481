// SPDX-License-Identifier: Apache-2.0
// The scale search of one int4 group, as a template (kernel_lanes.h). Sums run over 16 virtual
// lanes, element i in lane i mod 16, folded 8, 4, 2, 1, however wide the real vectors are, and
// nothing is contracted: the levels agree in every bit.
//
// What is searched. With a_j = |w_j| and S = |s| the error of a group is
//     E(S) = sum o_j a_j^2 - 2 S B(S) + S^2 C(S),  B = sum o_j a_j m_j,  C = sum o_j m_j^2,
// m_j = min(RNE(a_j / S), cap_j), where cap_j is 8 for weights on the side of the code -8 and 7 on
// the other; the sign of s decides which side that is and changes nothing else. m_j steps from
// k - 1 to k at S = a_j / (k - 0.5), so that B and C of all BF16 numbers S of a window, for both
// signs, follow from one running sum over these steps (sweep). The window is where the optimum can
// be. Below it the clipping alone, sum o_j max(a_j - 8 S, 0)^2, exceeds an error already reached.
// It begins at amax / (m - 0.5) for the smallest m whose scale amax / m has an error NEAR the best
// so far, at amax / 6.5 at least, at amax / 4.5 at least where importance makes few weights count;
// in tests nothing better was left above.
//
// A group that is the decoding of int4 codes has a scale amax / m with error 0, which is tried: it
// decodes to the same values again.
#include "quantize/sixteen_lanes.h"

enum {
    MAX = SEARCH_MAX_GROUP,
    SWEEP_MAX = 512,               // scales in one sweep: four octaves
    DUMMIES = 64,                  // slots for steps outside of the window
    STEPS = 8,
    ROWS = 2 * STEPS,              // step and code tables; beyond the eighth step lie dummies
    COARSE_STEP = 16,              // BF16 numbers; 128 are an octave
};

// A scale amax / m whose error is within this factor of the best leaves m in the window.
#define NEAR 2.0f

// The group with its largest weight scaled into [1, 2) by a power of two (less far at the ends of
// binary32's range), so that a scale is its BF16 bits, called index below.
typedef struct {
    int64_t n;
    float amax, factor;
    int32_t exponent;          // index of the true scale = index + exponent
    int32_t lowest, highest;   // indices whose true scale is a normal number
    bool weighted;             // by importance
    bool negative_largest;     // the largest magnitude is a negative weight
    _Alignas(64) float a[MAX]; // |w|
    _Alignas(64) float o[MAX]; // importance
    _Alignas(64) float cap[2][MAX]; // largest magnitude of a code under a positive [0] and a
                                    // negative [1] scale
} normal;

typedef struct {
    int32_t index;
    bool negative;
    float error;
} candidate;

typedef struct {
    // Steps of (B, C) for a positive and (B, C) for a negative scale; the four quarters of the
    // window lie side by side in 16 lanes. Dummies follow.
    _Alignas(64) float sum[(SWEEP_MAX + DUMMIES) / 4][16];
    _Alignas(64) uint32_t at[ROWS][MAX]; // byte in sum of weight j's step to k + 1
    _Alignas(64) uint32_t row[MAX];      // code at the window's top; + ROWS for positive weights
    _Alignas(64) float oa[MAX];          // o a
} sweep_space;

INLINE float index_to_float(int32_t index) { return bf16_to_f32((uint16_t)index); }

enum {
    MOST_AT_ONCE = 5,
    AT_ONCE = KERNEL_LANES == 4 ? 1 : MOST_AT_ONCE // as there are registers
};

// Weighted squared errors with the best codes for `some` scales, at most AT_ONCE.
INLINE void errors_of(const normal *g, int some, const int32_t *index, const bool *negative,
                      float *error)
{
    float scale[AT_ONCE], inverse[AT_ONCE];
    vf sum[AT_ONCE][VECTORS] = {0};
    UNROLLED(t, some) {
        scale[t] = index_to_float(index[t]);
        inverse[t] = 1.0f / scale[t];
    }
    for (int64_t j = 0; j < g->n; j += 16)
        EACH_VECTOR(v) {
            int64_t at = j + v * KERNEL_LANES;
            vf a = *(const vf *)(g->a + at), o = *(const vf *)(g->o + at);
            UNROLLED(t, some) {
                vf cap = *(const vf *)(g->cap[negative[t]] + at);
                vf m = smaller(a * inverse[t], cap) + ROUND_MAGIC - ROUND_MAGIC;
                vf d = a - m * scale[t];
                sum[t][v] += o * d * d;
            }
        }
    UNROLLED(t, some)
        error[t] = fold(sum[t]);
}

// What clipping alone costs at least, whatever the sign.
INLINE float clipping_of(const normal *g, int32_t index)
{
    float largest = 8.0f * index_to_float(index);
    vf sum[VECTORS] = {0};
    for (int64_t j = 0; j < g->n; j += 16)
        EACH_VECTOR(v) {
            int64_t at = j + v * KERNEL_LANES;
            vf d = *(const vf *)(g->a + at) - largest;
            d = either(d > 0.0f, d, (vf){0});
            sum[v] += *(const vf *)(g->o + at) * d * d;
        }
    return fold(sum);
}

// Their errors, side by side; the first of the least is the best where it is better.
INLINE void consider_all(const normal *g, int some, int32_t *index, const bool *negative,
                         float *error, candidate *best)
{
    for (int t = 0; t < some; t++) {
        index[t] = index[t] < g->lowest ? g->lowest : index[t];
        index[t] = index[t] > g->highest ? g->highest : index[t];
    }
    if (some <= AT_ONCE)
        errors_of(g, some, index, negative, error);
    else
        for (int t = 0; t < some; t++)
            errors_of(g, 1, index + t, negative + t, error + t);
    for (int t = 0; t < some; t++)
        if (error[t] < best->error)
            *best = (candidate){index[t], negative[t], error[t]};
}

KERNEL_TARGET static float consider(const normal *g, int32_t index, candidate *best)
{
    bool negative = false;
    float error;
    consider_all(g, 1, &index, &negative, &error, best);
    return error;
}

// The largest magnitude of positive and negative weights as bits, which order like the numbers.
INLINE void extremes(const search_group *s, int32_t *positive, int32_t *negative)
{
    vi up = {0}, down = {0};
    for (int64_t j = 0; j < s->n; j += KERNEL_LANES) {
        vi w;
        memcpy(&w, s->w + j, sizeof w);
        vi magnitude = w & 0x7fffffff;
        vi below = w < 0;
        up = either_int((magnitude > up) & ~below, magnitude, up);
        down = either_int((magnitude > down) & below, magnitude, down);
    }
    *positive = *negative = 0;
    for (int i = 0; i < KERNEL_LANES; i++) {
        *positive = up[i] > *positive ? up[i] : *positive;
        *negative = down[i] > *negative ? down[i] : *negative;
    }
}

// The power of two that brings the largest importance into [1, 2); 1 where there is none.
INLINE float importance_factor(const search_group *s)
{
    vi most = {0};
    for (int64_t j = 0; j < s->n; j += KERNEL_LANES) {
        vi o;
        memcpy(&o, s->importance + j, sizeof o);
        most = either_int(o > most, o, most);
    }
    int32_t largest = 0;
    for (int i = 0; i < KERNEL_LANES; i++)
        largest = most[i] > largest ? most[i] : largest;
    int32_t exponent = largest >> 23;
    if (largest == 0)
        return 1;
    exponent = exponent < 1 ? 1 : exponent > 253 ? 253 : exponent;
    return f32_from_bits((uint32_t)(254 - exponent) << 23);
}

// False for a group of zeros.
INLINE bool normalise(const search_group *s, normal *g)
{
    int32_t positive, negative;
    extremes(s, &positive, &negative);
    int32_t largest = positive > negative ? positive : negative;
    if (largest == 0)
        return false;
    int32_t exponent = largest >> 23;
    exponent = exponent < 1 ? 1 : exponent > 253 ? 253 : exponent;
    g->n = s->n;
    g->weighted = s->importance != NULL;
    g->factor = f32_from_bits((uint32_t)(254 - exponent) << 23);
    g->amax = f32_from_bits((uint32_t)largest) * g->factor;
    g->exponent = (exponent - 127) * 128;
    g->lowest = 0x0080 - g->exponent;
    g->highest = 0x7f7f - g->exponent;
    g->negative_largest = negative >= positive;
    float importance = s->importance ? importance_factor(s) : 1.0f;
    for (int64_t j = 0; j < s->n; j += KERNEL_LANES) {
        vf w, o = {0};
        memcpy(&w, s->w + j, sizeof w);
        o = o + 1.0f;
        if (s->importance)
            memcpy(&o, s->importance + j, sizeof o);
        *(vf *)(g->a + j) = (vf)((vi)w & 0x7fffffff) * g->factor;
        *(vf *)(g->o + j) = o * importance;
        vf cap = either((vi)w < 0, SPREAD(8.0f), SPREAD(7.0f));
        *(vf *)(g->cap[0] + j) = cap;
        *(vf *)(g->cap[1] + j) = 15.0f - cap;
    }
    return true;
}

// Where every weight's steps lie in the window of n scales downward from top. Steps above the
// window belong to the code it begins with, steps below go to dummies (many, so that additions to
// them do not wait for each other).
INLINE void locate_steps(const normal *g, int32_t top, int32_t n, sweep_space *s)
{
    static const float inverse[STEPS] = {1 / 0.5f, 1 / 1.5f, 1 / 2.5f, 1 / 3.5f,
                                               1 / 4.5f, 1 / 5.5f, 1 / 6.5f, 1 / 7.5f};
    int32_t quarter = n / 4, next = 64 * quarter - 16; // bytes back to the next lanes' first row
    vi lane;
    for (int i = 0; i < KERNEL_LANES; i++)
        lane[i] = i;
    for (int64_t j = 0; j < g->n; j += KERNEL_LANES) {
        vf a = *(const vf *)(g->a + j);
        vi first = {0};
        vi outside = (lane + (int32_t)(n + j % 16)) * 16;
        for (int k = 0; k < STEPS; k++) {
            vi p = top - ((vi)(a * inverse[k]) >> 16);
            vi started = p <= 0;
            if (k < STEPS - 1)
                first -= started;
            p &= ~started;
            vi place = (p << 6) - ((p >= quarter) & next) - ((p >= 2 * quarter) & next)
                       - ((p >= 3 * quarter) & next);
            *(vi *)(s->at[k] + j) = either_int(p < n, place, outside + k % 4 * 256);
            *(vi *)(s->at[k + STEPS] + j) = outside + k % 4 * 256;
        }
        vi positive = *(const vf *)(g->cap[0] + j) < 7.5f;
        *(vi *)(s->row + j) = first + (positive & ROWS);
        *(vf *)(s->oa + j) = a * *(const vf *)(g->o + j);
    }
}

// B and C grow by o a and o (2k - 1) in the step to k; only the step to 8 depends on the sign. The
// first eight rows are for negative weights, the last for positive ones.
#define COMMON_STEPS                                                                             \
    {1, 1, 1, 1}, {1, 3, 1, 3}, {1, 5, 1, 5}, {1, 7, 1, 7}, {1, 9, 1, 9}, {1, 11, 1, 11},        \
    {1, 13, 1, 13}
#define COMMON_CODES                                                                             \
    {0, 0, 0, 0}, {1, 1, 1, 1}, {2, 4, 2, 4}, {3, 9, 3, 9}, {4, 16, 4, 16}, {5, 25, 5, 25},      \
    {6, 36, 6, 36}, {7, 49, 7, 49}
static const float step_of[2 * ROWS][4] = {
    COMMON_STEPS, {1, 15, 0, 0}, [ROWS] = COMMON_STEPS, {0, 0, 1, 15},
};
static const float code_of[2 * ROWS][4] = {COMMON_CODES, [ROWS] = COMMON_CODES};

// B and C of the codes at the window's top, and every step into its place.
INLINE v4 add_steps(const normal *g, float ratio, sweep_space *s)
{
    // Between window ends of that ratio no weight makes more steps than this.
    int steps = (int)(8.51f - 7.5f * ratio);
    v4 start = {0};
    for (int64_t j = 0; j < g->n; j++) {
        v4 x = {s->oa[j], g->o[j], s->oa[j], g->o[j]};
        uint32_t row = s->row[j];
        start += x * *(const v4 *)code_of[row];
        const v4 *by = (const v4 *)step_of[row];
        const uint32_t *at = s->at[row % ROWS] + j;
#define ADD_STEP(k) *(v4 *)((char *)s->sum + at[(k) * MAX]) += x * by[k]
        ADD_STEP(0);
        ADD_STEP(1);
        ADD_STEP(2);
        for (int k = 3; k < steps; k++)
            ADD_STEP(k);
    }
    return start;
}

// B and C at the beginnings of the four quarters of the window.
INLINE void begin_quarters(v4 start, int32_t quarter, const sweep_space *s, vf begin[VECTORS])
{
    vf sum[2][VECTORS] = {0};
    for (int32_t i = 0; i < quarter; i += 2)
        EACH_VECTOR(v) {
            sum[0][v] += *(const vf *)&s->sum[i][v * KERNEL_LANES];
            sum[1][v] += *(const vf *)&s->sum[i + 1][v * KERNEL_LANES];
        }
    EACH_VECTOR(v)
        sum[0][v] += sum[1][v];
    v4 total[4];
    memcpy(total, sum[0], sizeof total);
    v4 at[4] = {start, start + total[0], start + total[0] + total[1],
                start + total[0] + total[1] + total[2]};
    memcpy(begin, at, sizeof at);
}

// Turns steps into B and C, B and C into errors, and keeps the least of each lane and its place.
INLINE void run(int32_t top, int32_t quarter, const vf begin[VECTORS], const sweep_space *s,
                float error[16], int32_t where[16])
{
    vf sum[VECTORS], least[VECTORS];
    vi scale0[VECTORS], place[VECTORS], odd;
    EACH_VECTOR(v) {
        sum[v] = begin[v];
        least[v] = SPREAD(0x1p126f);
        place[v] = (vi){0};
        for (int i = 0; i < KERNEL_LANES; i++) {
            scale0[v][i] = (top - (v * KERNEL_LANES + i) / 4 * quarter) << 16;
            odd[i] = -(i % 2);
        }
    }
    for (int32_t i = 0; i < quarter; i++)
        EACH_VECTOR(v) {
            sum[v] += *(const vf *)&s->sum[i][v * KERNEL_LANES];
            vf scale = (vf)(scale0[v] - (i << 16));
            vf x = sum[v] * either(odd, scale, SPREAD(-2.0f)); // -2 B in even lanes, S C in odd
            x = (x + (vf)((vpair)x >> 32)) * scale;                // even lanes: S (S C - 2 B)
            vi better = x < least[v];
            least[v] = smaller(x, least[v]);
            place[v] = either_int(better, (vi){0} + i, place[v]);
        }
    memcpy(error, least, sizeof least);
    memcpy(where, place, sizeof place);
}

// Tries the best of all BF16 scales in the window, both signs.
INLINE void sweep(const normal *g, bool positive, int32_t top, int32_t bottom, candidate *best)
{
    int32_t n = (top - bottom + 16) & ~15;
    n = n < SWEEP_MAX ? n : SWEEP_MAX;
    if (top < bottom || top - n < 1)
        return;
    sweep_space s;
    memset(s.sum, 0, (size_t)(n + DUMMIES) * 16);
    locate_steps(g, top, n, &s);
    v4 start = add_steps(g, index_to_float(top - n + 1) / index_to_float(top), &s);
    vf begin[VECTORS];
    begin_quarters(start, n / 4, &s, begin);
    float error[16];
    int32_t place[16];
    run(top, n / 4, begin, &s, error, place);
    int32_t index[2];
    static const bool negative[2] = {false, true};
    for (int sign = 0; sign < 2; sign++) {
        int at = 2 * sign;
        for (int i = at + 4; i < 16; i += 4)
            if (error[i] < error[at])
                at = i;
        index[sign] = top - (at / 4 * (n / 4) + place[at]);
    }
    if (positive)
        consider_all(g, 1, index, negative, error, best);
    else
        consider_all(g, 2, index, negative, error, best);
}

INLINE int32_t part_of_amax(const normal *g, float parts)
{
    return f32_to_bf16(g->amax / parts);
}

// All candidates after the given one; the first of equals stays.
INLINE candidate best_scale(const normal *g, bool positive, candidate best)
{
    float part[9]; // errors of amax / m
    int32_t eighth = part_of_amax(g, 8.0f);
    int32_t index[MOST_AT_ONCE] = {eighth, part_of_amax(g, 7.0f), part_of_amax(g, 6.0f),
                                   part_of_amax(g, 5.0f), part_of_amax(g, 4.0f)};
    bool negative[MOST_AT_ONCE] = {!positive && !g->negative_largest};
    float error[MOST_AT_ONCE];
    consider_all(g, MOST_AT_ONCE, index, negative, error, &best);
    for (int i = 0; i < MOST_AT_ONCE; i++)
        part[8 - i] = error[i];
    int m = 3;
    for (; m >= 1 && part[m + 1] < NEAR * best.error; m--)
        part[m] = consider(g, part_of_amax(g, (float)m), &best);
    if (best.error == 0)
        return best;
    for (m++; m < (g->weighted ? 5 : 7) && part[m] >= NEAR * best.error; m++)
        ;
    int32_t top = part_of_amax(g, (float)m - 0.5f);
    int32_t bottom = eighth;
    while (bottom > g->lowest && bottom > 0x3f80 - 20 * 128) {
        bottom -= COARSE_STEP;
        if (clipping_of(g, bottom) >= best.error)
            break;
        consider(g, bottom, &best);
    }
    for (; top >= bottom; top -= SWEEP_MAX)
        sweep(g, positive, top, bottom, &best);
    return best;
}

// Codes by division, and their weighted error in the group's own scaling.
INLINE float write_codes(const search_group *s, const normal *g, float scale, int8_t *code)
{
    vf sum[VECTORS] = {0};
    for (int64_t j = 0; j < s->n; j += 16)
        EACH_VECTOR(v) {
            int64_t at = j + v * KERNEL_LANES;
            vf w;
            memcpy(&w, s->w + at, sizeof w);
            vf x = w / scale;
            x = either(x < -8.0f, SPREAD(-8.0f), x);
            x = smaller(x, SPREAD(7.0f)) + ROUND_MAGIC - ROUND_MAGIC;
            vf d = (w - x * scale) * g->factor;
            sum[v] += *(const vf *)(g->o + at) * d * d;
            vi16 half = __builtin_convertvector(__builtin_convertvector(x, vi), vi16);
            vi8 narrow = __builtin_convertvector(half, vi8);
            memcpy(code + at, &narrow, sizeof narrow);
        }
    return fold(sum);
}

KERNEL_TARGET void KERNEL(search)(search_group *s)
{
    normal g;
    if (!normalise(s, &g)) {
        s->scale = 0x3f80;
        memset(s->code, 0, (size_t)s->n);
        return;
    }
    candidate absmax = {part_of_amax(&g, 7.5f), false, 0};
    absmax.index = absmax.index < g.lowest ? g.lowest : absmax.index;
    s->scale = (uint16_t)(absmax.index + g.exponent);
    absmax.error = write_codes(s, &g, index_to_float(s->scale), s->code);
    candidate best = best_scale(&g, s->positive, absmax);
    int32_t bits = (best.index + g.exponent) | (best.negative ? 0x8000 : 0);
    if (bits == s->scale)
        return;
    int8_t code[MAX];
    if (write_codes(s, &g, index_to_float(bits), code) < absmax.error) {
        s->scale = (uint16_t)bits;
        memcpy(s->code, code, (size_t)s->n);
    }
}
