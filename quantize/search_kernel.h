// SPDX-License-Identifier: Apache-2.0
// The scale search of one int4 group, as a template (kernel_lanes.h). 16 candidates lie side by
// side in 16 virtual lanes, and each takes the weights in their order; other sums run over 16
// virtual lanes, element i in lane i mod 16, folded 8, 4, 2, 1, however wide the real vectors are.
// Nothing is contracted: the levels agree in every bit.
//
// What is searched: codes. With a_j = |w_j|, m_j = min(RNE(a_j / S), cap_j) and
//     A = sum o_j a_j^2,  B = sum o_j a_j m_j,  C = sum o_j m_j^2
// the codes m_j have the error A - B^2 / C under their scale of least squares, B / C; cap_j is 8
// for weights on the side of the code -8 and 7 on the other, and the sign of the scale decides
// which side that is. The codes of the largest B^2 / C are taken. S only serves to find them, and
// numbers S 2 % apart find nearly all there are: 32 from amax / 9.5 on, then 16 at a time below, as
// long as what is cut off there and rounding (expected_error) may cost less than the least error so
// far, and above, as long as amax / m for the whole m there has an error NEAR that one.
//
// What is stored: the scale A / B. Least squares makes sum o w value less than sum o w^2, by just
// the error; weights that are all too small by the same share cost a model more than as much noise
// does. Under A / B both sums are equal, and the error grows by its own share of A only.
//
// A group that is the decoding of int4 codes is multiples of amax / m for a whole m, which is
// asked of all eight: it decodes to the same values again.
#include "quantize/sixteen_lanes.h"

enum { MAX = SEARCH_MAX_GROUP };

#define NEAR 2.0f
#define SEARCH_STEP 1.3259f // between scales 16 candidates apart

// The group with its largest weight scaled into [1, 2) by a power of two (less far at the ends of
// binary32's range).
typedef struct {
    int64_t n;
    float amax, factor;
    float square;              // A
    float noise;               // roundings cost at least this share of their average
    float lowest, highest;     // scales that stand for normal BF16 numbers
    bool weighted;             // by importance
    bool positive;             // scales only
    dtype stored;              // of scales that are known again
    _Alignas(64) float a[MAX]; // |w|
    _Alignas(64) float o[MAX]; // importance
    _Alignas(64) float cap[2][MAX]; // largest magnitude of a code under a positive [0] and a
                                    // negative [1] scale
    _Alignas(64) float small[MAX];  // a, 0 for the large ones
    int32_t large[MAX];             // which these are
    int count;
} normal;

typedef struct {
    float scale, loss; // loss: the error less A
    bool negative;
} candidate;

// A rounding by up to half a step costs 1/12 of a step's square on average, with a variance of
// 1/180: two and a half deviations less are hardly ever gone below.
INLINE float least_noise(float importance, float squares)
{
    float share = 1 - 30 * __builtin_sqrtf(squares / 180) / importance;
    return share > 0 ? share : 0;
}

// False for a group of zeros.
INLINE bool normalise(const search_group *s, normal *g)
{
    float largest = largest_of(s->w, s->n), most = 0;
    if (largest == 0)
        return false;
    g->n = s->n;
    g->weighted = s->importance != NULL;
    g->positive = s->positive;
    g->stored = s->stored;
    g->factor = factor_of(largest);
    g->amax = largest * g->factor;
    g->lowest = 0x1p-126f * g->factor;
    g->highest = 0x1.fep127f * g->factor;
    if (s->importance)
        most = largest_of(s->importance, s->n);
    float importance = most > 0 ? factor_of(most) : 1;
    vf square[VECTORS] = {0}, sum[VECTORS] = {0}, squares[VECTORS] = {0};
    for (int64_t j = 0; j < s->n; j += 16)
        EACH_VECTOR(v) {
            int64_t at = j + v * KERNEL_LANES;
            vf w, o = SPREAD(1.0f);
            memcpy(&w, s->w + at, sizeof w);
            if (s->importance)
                memcpy(&o, s->importance + at, sizeof o);
            vf a = (vf)((vi)w & 0x7fffffff) * g->factor;
            o *= importance;
            square[v] += o * a * a;
            sum[v] += o;
            squares[v] += o * o;
            vf cap = either((vi)w < 0, SPREAD(8.0f), SPREAD(7.0f));
            *(vf *)(g->a + at) = a;
            *(vf *)(g->o + at) = o;
            *(vf *)(g->cap[0] + at) = cap;
            *(vf *)(g->cap[1] + at) = 15.0f - cap;
        }
    g->square = fold(square);
    g->noise = least_noise(fold(sum), fold(squares));
    return true;
}

// About the least error to be expected of scales from `scale` down to `scale` / SEARCH_STEP:
// cutting off and rounding cost f(S) = sum o (max(a - cap S, 0)^2 + min(a^2, noise S^2 / 12)), of
// the better sign, which lies above its tangent where squares are what it is made of.
INLINE float expected_error(const normal *g, float scale)
{
    float least = 0x1p127f;
    vf rounding = SPREAD(scale * scale * g->noise / 12);
    vf sum[2][VECTORS] = {{{0}}}, slope[2][VECTORS] = {{{0}}};
    for (int64_t j = 0; j < g->n; j += 16)
        EACH_VECTOR(v) {
            int64_t at = j + v * KERNEL_LANES;
            vf a = *(const vf *)(g->a + at), o = *(const vf *)(g->o + at);
            vf noise = smaller(a * a, rounding);
            for (int sign = 0; sign < 2; sign++) {
                vf largest = *(const vf *)(g->cap[sign] + at) * scale;
                vf d = larger(a - largest, (vf){0});
                sum[sign][v] += o * (d * d + noise);
                slope[sign][v] += o * (noise - d * largest);
            }
        }
    for (int sign = 0; sign < 2 - g->positive; sign++) {
        float error = fold(sum[sign]);
        float change = 2 * fold(slope[sign]) * (1 - 1 / SEARCH_STEP);
        error = change > 0 ? error - change : error;
        least = error < least ? error : least;
    }
    return least;
}

// Large are the weights whose code may be cut off under that scale or a larger one.
INLINE void split(normal *g, float scale)
{
    float limit = 7.49f * scale;
    g->count = 0;
    for (int64_t j = 0; j < g->n; j += KERNEL_LANES) {
        vf a = *(const vf *)(g->a + j);
        vi is_small = a < limit;
        *(vf *)(g->small + j) = (vf)((vi)a & is_small);
        g->count += list_lanes(~is_small, (int32_t)j, g->large + g->count);
    }
}

// 16 scales: parts of a number.
typedef struct {
    float of;
    const float *by;
    vf inverse[VECTORS];
} parts;

INLINE float searched_scale(const normal *g, const parts *p, int i)
{
    float scale = p->of / p->by[i];
    scale = scale < g->lowest ? g->lowest : scale;
    return scale > g->highest ? g->highest : scale;
}

INLINE void split_in(const normal *g, float of, const float *by, parts *p)
{
    float inverse = 1 / of, least = 1 / g->highest, most = 1 / g->lowest;
    p->of = of;
    p->by = by;
    EACH_VECTOR(v) {
        vf x;
        memcpy(&x, by + v * KERNEL_LANES, sizeof x);
        p->inverse[v] = smaller(larger(x * inverse, SPREAD(least)), SPREAD(most));
    }
}

// B and C under 16 scales of either sign.
typedef struct {
    vf product[2][VECTORS], square[2][VECTORS];
} code_sums;

INLINE void sum_codes(const normal *g, bool weighted, const vf inverse[VECTORS], code_sums *sums)
{
    vf product[VECTORS] = {0}, square[VECTORS] = {0};
    add_whole(g->small, g->o, g->n, weighted, inverse, product, square);
    EACH_VECTOR(v) {
        sums->product[0][v] = sums->product[1][v] = product[v];
        sums->square[0][v] = sums->square[1][v] = square[v];
    }
    for (int k = 0; k < g->count; k++) {
        int32_t j = g->large[k];
        float a = g->a[j], o = g->o[j];
        EACH_VECTOR(v) {
            vf m = whole(a * inverse[v]);
            for (int sign = 0; sign < 2; sign++) {
                vf kept = smaller(m, SPREAD(g->cap[sign][j])), om = kept;
                if (weighted)
                    om *= o;
                sums->product[sign][v] += om * a;
                sums->square[sign][v] += om * kept;
            }
        }
    }
}

// How much less than A the errors are under 16 scales, positive and negative; the lesser of both.
typedef struct {
    parts p;
    vf loss[2][VECTORS], either_loss[VECTORS];
} tried;

INLINE void try_parts(const normal *g, float of, const float *by, tried *t)
{
    code_sums sums;
    split_in(g, of, by, &t->p);
    if (g->weighted)
        sum_codes(g, true, t->p.inverse, &sums);
    else
        sum_codes(g, false, t->p.inverse, &sums);
    for (int sign = 0; sign < 2; sign++)
        EACH_VECTOR(v) {
            vf b = sums.product[sign][v], c = sums.square[sign][v];
            t->loss[sign][v] = either(c > 0.0f, -(b * b / c), (vf){0});
        }
    EACH_VECTOR(v)
        t->either_loss[v] =
            g->positive ? t->loss[0][v] : smaller(t->loss[0][v], t->loss[1][v]);
}

// The first of the best is taken where it is better.
INLINE void take_best(const normal *g, const tried *t, int some, candidate *best)
{
    vf low[VECTORS];
    EACH_VECTOR(v)
        low[v] = some == 2 ? smaller(t[0].either_loss[v], t[1].either_loss[v])
                           : t[0].either_loss[v];
    float least = least_of(low);
    if (least >= best->loss)
        return;
    for (int k = 2 * some - 1; k >= 0; k--) {
        int at = g->positive && k % 2 ? -1 : lane_of(least, t[k / 2].loss[k % 2]);
        if (at >= 0)
            *best = (candidate){searched_scale(g, &t[k / 2].p, at), least, k % 2};
    }
}

// Parts of amax: the whole ones, and what makes a geometric sequence with those of them that are
// above FEWEST_PARTS; how it goes on.
enum { WHOLE_PARTS = 8 };
#define FEWEST_PARTS 5.5f
#define MOST_PARTS 9.5f
static const float search_parts[2][CANDIDATES] = {
    {8, 7, 6, 5, 4, 3, 2, 1, 5.617f, 6.11f, 6.507f, 7.078f, 7.539f, 8.2f, 8.734f, 9.302f},
    {FEWEST_PARTS, 5.736f, 5.858f, 6.239f, 6.372f, 6.645f, 6.787f, 7.228f, 7.382f, 7.699f, 7.862f,
     8.374f, 8.552f, 8.919f, 9.109f, MOST_PARTS},
};
static const float search_on[CANDIDATES] = {
    1.0178f, 1.0359f, 1.0543f, 1.0731f, 1.0922f, 1.1116f, 1.1314f, 1.1515f, 1.172f, 1.1928f,
    1.214f, 1.2356f, 1.2576f, 1.28f, 1.3027f, 1.3259f,
};

// Smaller scales, then larger ones.
INLINE void go_on(normal *g, const float losses[CANDIDATES], candidate *best)
{
    tried t;
    for (float of = g->amax / MOST_PARTS; of > g->amax * 0x1p-20f && of > g->lowest;
         of /= SEARCH_STEP) {
        if (expected_error(g, of) >= g->square + best->loss)
            break;
        split(g, of / SEARCH_STEP);
        try_parts(g, of, search_on, &t);
        take_best(g, &t, 1, best);
    }
    float of = g->amax / FEWEST_PARTS * (SEARCH_STEP * 1.0178f);
    for (int m = 5; m >= 1; m--, of *= SEARCH_STEP) {
        if (g->square + losses[WHOLE_PARTS - m] >= NEAR * (g->square + best->loss))
            break;
        split(g, of / SEARCH_STEP);
        try_parts(g, of, search_on, &t);
        take_best(g, &t, 1, best);
    }
}

// Whether all weights are codes times the scale, and that is a number of the stored type.
INLINE bool on_grid(const normal *g, float scale, bool negative)
{
    float stored = scale / g->factor;
    if (g->stored == DT_F16 ? f16_to_f32(f32_to_f16(stored)) != stored : f32_bits(scale) & 0xffff)
        return false;
    float inverse = 1 / scale;
    vi off = {0};
    for (int64_t j = 0; j < g->n; j += KERNEL_LANES) {
        vf a = *(const vf *)(g->a + j);
        off |= (vi)(a - whole(smaller(a * inverse, *(const vf *)(g->cap[negative] + j))) * scale);
    }
    return !mask_bits(off != 0);
}

// The codes of least error are those under this scale.
INLINE candidate best_scale(normal *g)
{
    candidate best = {g->amax / 7.5f, 1, false};
    float losses[CANDIDATES]; // of amax / m in losses[8 - m]
    tried t[2];
    split(g, g->amax / MOST_PARTS);
    try_parts(g, g->amax, search_parts[0], t);
    try_parts(g, g->amax, search_parts[1], t + 1);
    take_best(g, t, 2, &best);
    memcpy(losses, t[0].either_loss, sizeof losses);
    for (int k = 0; g->square + best.loss < 1e-4f * g->square && k < 2 * WHOLE_PARTS; k++) {
        float scale = searched_scale(g, &t[0].p, k / 2);
        if (!(k % 2 && g->positive) && on_grid(g, scale, k % 2))
            return (candidate){scale, 0, k % 2};
    }
    go_on(g, losses, &best);
    return best;
}

// The codes under a scale, as numbers.
INLINE void codes_of(const search_group *s, float scale, float code[MAX])
{
    for (int64_t j = 0; j < s->n; j += KERNEL_LANES) {
        vf w;
        memcpy(&w, s->w + j, sizeof w);
        vf x = larger(w / scale, SPREAD(-8.0f));
        *(vf *)(code + j) = smaller(x, SPREAD(7.0f)) + ROUND_MAGIC - ROUND_MAGIC;
    }
}

// Their weighted error, in the group's own scaling.
INLINE float error_of(const search_group *s, const normal *g, float scale, const float *code)
{
    vf sum[VECTORS] = {0};
    for (int64_t j = 0; j < s->n; j += 16)
        EACH_VECTOR(v) {
            int64_t at = j + v * KERNEL_LANES;
            vf w;
            memcpy(&w, s->w + at, sizeof w);
            vf d = (w - *(const vf *)(code + at) * scale) * g->factor;
            sum[v] += *(const vf *)(g->o + at) * d * d;
        }
    return fold(sum);
}

// BF16 of the scale under which these codes do not shrink the weights; that of least squares where
// there is more error than weight. Where they are exact it is the one that they were found with.
INLINE uint16_t scale_of(const search_group *s, const normal *g, float scale, const float *code)
{
    vf product[VECTORS] = {0}, square[VECTORS] = {0};
    for (int64_t j = 0; j < s->n; j += 16)
        EACH_VECTOR(v) {
            int64_t at = j + v * KERNEL_LANES;
            vf w;
            memcpy(&w, s->w + at, sizeof w);
            vf value = *(const vf *)(code + at) * scale * g->factor;
            vf o = *(const vf *)(g->o + at);
            product[v] += o * (w * g->factor) * value;
            square[v] += o * value * value;
        }
    float xy = fold(product), yy = fold(square);
    if (xy * xy > 0.5f * g->square * yy)
        scale *= g->square / xy;
    else if (xy > 0 && yy > 0)
        scale *= xy / yy;
    uint32_t bits = f32_to_bf16(scale), sign = bits & 0x8000, least = 0x0080, most = 0x7f7f;
    bits &= 0x7fff;
    return (uint16_t)(sign | (bits < least ? least : bits > most ? most : bits));
}

KERNEL_TARGET void KERNEL(search)(search_group *s)
{
    normal g;
    if (!normalise(s, &g)) {
        s->scale = 0x3f80;
        s->by = 1;
        memset(s->code, 0, (size_t)s->n);
        return;
    }
    _Alignas(64) float code[2][MAX];
    float absmax = g.amax / 7.5f / g.factor;
    s->scale = f32_to_bf16(absmax < 0x1p-126f ? 0x1p-126f : absmax);
    codes_of(s, bf16_to_f32(s->scale), code[0]);
    candidate best = best_scale(&g);
    float scale = (best.negative ? -best.scale : best.scale) / g.factor;
    codes_of(s, scale, code[1]);
    uint16_t stored = scale_of(s, &g, scale, code[1]);
    int take = error_of(s, &g, bf16_to_f32(stored), code[1])
               < error_of(s, &g, bf16_to_f32(s->scale), code[0]);
    s->by = take ? scale : bf16_to_f32(s->scale);
    s->scale = take ? stored : s->scale;
    for (int64_t j = 0; j < s->n; j += KERNEL_LANES) {
        vi whole = __builtin_convertvector(*(const vf *)(code[take] + j), vi);
        vi8 narrow = __builtin_convertvector(__builtin_convertvector(whole, vi16), vi8);
        memcpy(s->code + j, &narrow, sizeof narrow);
    }
}
