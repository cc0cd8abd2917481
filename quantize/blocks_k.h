// SPDX-License-Identifier: Apache-2.0
// ggml's K-quants, as a template (kernel_lanes.h): super-blocks of 256 weights, whose sub-blocks
// have scales (and minima) that are themselves small integers times one or two binary16 numbers.
#include "quantize/blocks_k_best.h"
#include "quantize/blocks_k_decode.h"

// Four codes as the bytes of a word.
INLINE vi k_bytes(const vi code[4])
{
    return code[0] | code[1] << 8 | code[2] << 16 | code[3] << 24;
}

// The codes of lanes that have none from elsewhere.
INLINE void k_merge(vi none, const vi found[K_16], vi code[K_16])
{
    for (int i = 0; i < K_16; i++)
        code[i] = either_int(none, found[i], code[i]);
}

// sum o (scale code - min - x)^2, as decoding rounds.
INLINE vf k_error(const vf *x, const vf *o, int n, const vi *code, vf scale, vf min)
{
    vf error = {0};
    for (int i = 0; i < n; i++) {
        vf d = scale * k_float(code[i]) - min - x[i];
        error += o[i] * d * d;
    }
    return error;
}

// ---- Q2_K, Q4_K, Q5_K: value d S q - dmin M ----

typedef struct {
    int subs, n;      // sub-blocks and their weights
    float top, limit; // largest q; largest S and M
    k_lines plain, weighted;
    k_affine_search best;
} k_affine;

static const k_affine k_affine_q2 = {16, 16, 3, 15, {16, 15, 3, -0.5f, 0.1f, true},
                                     {16, 36, 3, -0.9f, 0.05f, false},
                                     {16, 16, 3, 15, 4, 3, 2}};
static const k_affine k_affine_q4 = {8, 32, 15, 63, {32, 20, 15, -1.0f, 0.1f, false},
                                     {32, 36, 15, -0.9f, 0.05f, false},
                                     {8, 32, 15, 63, 6, 4, 2}};
static const k_affine k_affine_q5 = {8, 32, 31, 63, {32, 15, 31, -0.5f, 0.1f, false},
                                     {32, 36, 31, -0.9f, 0.05f, false},
                                     {8, 32, 31, 63, 6, 4, 2}};

typedef struct {
    k_line line[16];
    vf sum_w[16];   // of the sub-blocks' weights; with importance only
    vf d, dmin;     // as stored
    vi s[16], m[16];
} k_super;

// Mean square of a super-block, times `factor`.
INLINE vf k_energy(const vf *x, float factor)
{
    vf sum = {0};
    for (int i = 0; i < K_SUPER; i++)
        sum += x[i] * x[i];
    return factor * sum / K_SUPER;
}

INLINE void k_plain_weights(const k_affine *a, const vf *x, vf *w)
{
    vf mean = {0};
    if (a->n == 32) {
        for (int i = 0; i < 32; i++)
            mean += x[i] * x[i];
        mean = square_root(mean / 32.0f);
    }
    for (int i = 0; i < a->n; i++)
        w[i] = mean + magnitude(x[i]);
}

INLINE vf k_importance_weights(const vf *x, const vf *importance, vf energy, int n, vf *w)
{
    vf sum = {0};
    for (int i = 0; i < n; i++) {
        w[i] = importance[i] * square_root(energy + x[i] * x[i]);
        sum += w[i];
    }
    return sum;
}

INLINE void k_fit_lines(const k_affine *a, const k_batch *b, bool weighted, k_super *s)
{
    vf w[K_TURNS * K_SUB], energy = {0};
    if (weighted)
        energy = k_energy(b->x, a->n == 32 ? 2 : 1);
    for (int j = 0; j < a->subs; j += K_TURNS) {
        const vf *x = b->x + j * a->n;
        for (int side = 0; side < K_TURNS; side++) {
            int at = side * a->n;
            if (weighted)
                s->sum_w[j + side] = k_importance_weights(x + at, b->importance + j * a->n + at,
                                                          energy, a->n, w + at);
            else
                k_plain_weights(a, x + at, w + at);
        }
        if (weighted)
            k_fit_line(a->weighted, x, w, s->line + j);
        else
            k_fit_line(a->plain, x, w, s->line + j);
    }
}

// Integers proportional to v, the largest of which is `limit`; returns what one of them is worth.
INLINE vf k_proportional(const k_affine *a, const vf *v, vi *code)
{
    vf most = {0};
    for (int j = 0; j < a->subs; j++)
        most = either(v[j] > most, v[j], most);
    vi some = most > 0.0f;
    vf inverse = either(some, a->limit / most, SPREAD(0.0f));
    for (int j = 0; j < a->subs; j++) {
        code[j] = nearest_int(v[j] * inverse) & 255;
        if (a->limit > 15)
            code[j] = smaller_int(code[j], SPREAD_INT(63));
    }
    return most / a->limit;
}

INLINE void k_fit_scales(const k_affine *a, bool weighted, k_super *s)
{
    vf scale[16], min[16];
    for (int j = 0; j < a->subs; j++) {
        scale[j] = s->line[j].scale;
        min[j] = -s->line[j].min;
    }
    if (weighted) {
        s->d = k_fit_positive(a->subs, a->limit, scale, s->sum_w, s->s);
        s->dmin = k_fit_positive(a->subs, a->limit, min, s->sum_w, s->m);
        for (int j = 0; j < a->subs && a->top > 15; j++) { // ggml does so in Q5_K only
            s->s[j] = smaller_int(s->s[j], SPREAD_INT(63));
            s->m[j] = smaller_int(s->m[j], SPREAD_INT(63));
        }
    } else {
        s->d = k_proportional(a, scale, s->s);
        s->dmin = k_proportional(a, min, s->m);
    }
}

// A factor as the bits of a binary16. Where ggml's would be infinite, the largest finite one.
INLINE vi k_factor(vf d)
{
    return to_f16_lanes(smaller(larger(d, SPREAD(-65504.0f)), SPREAD(65504.0f)));
}

// d and dmin as one word of two binary16, and as their values.
INLINE vi k_store_factors(k_super *s)
{
    vi d = k_factor(s->d), dmin = k_factor(s->dmin);
    s->d = f16_lanes(d);
    s->dmin = f16_lanes(dmin);
    return d | dmin << 16;
}

// The codes of sub-block j under its stored scale; where that is 0, those of the search.
INLINE void k_affine_codes(const k_affine *a, const k_super *s, int j, k_batch *b, vi *code)
{
    const vf *x = b->x + j * a->n;
    vf d = s->d * k_float(s->s[j]), m = s->dmin * k_float(s->m[j]);
    vi none = d == 0.0f;
    vf divisor = either(none, SPREAD(1.0f), d);
    for (int i = 0; i < a->n; i++)
        code[i] = k_within(nearest_int((x[i] + m) / divisor), 0, (int32_t)a->top);
    if (any(none)) {
        const k_line *l = &s->line[j];
        for (int i = 0; i < a->n; i++) {
            vi found = k_within(nearest_int((x[i] - l->origin) * l->inverse), 0, (int32_t)a->top);
            code[i] = either_int(none, found, code[i]);
        }
    }
    if (b->best)
        b->error[b->form] += k_error(x, b->importance + j * a->n, a->n, code, d, m);
}

// Six bits for each of eight scales and minima, in three words, and back.
INLINE void k_pack_six(vi word[3], const vi *s, const vi *m)
{
    UNROLLED(j, 4) {
        word[0] |= ((s[j] | s[j + 4] >> 4 << 6) & 255) << 8 * j;
        word[1] |= ((m[j] | m[j + 4] >> 4 << 6) & 255) << 8 * j;
        word[2] |= ((s[j + 4] & 15) | (m[j + 4] & 15) << 4) << 8 * j;
    }
}

INLINE void k_unpack_six(const vi word[3], vi *s, vi *m)
{
    UNROLLED(j, 4) {
        s[j] = word[0] >> 8 * j & 63;
        m[j] = word[1] >> 8 * j & 63;
        s[j + 4] = (word[2] >> 8 * j & 15) | (word[0] >> (8 * j + 6) & 3) << 4;
        m[j + 4] = (word[2] >> (8 * j + 4) & 15) | (word[1] >> (8 * j + 6) & 3) << 4;
    }
}

INLINE void k_write_q45(const k_affine *a, k_super *s, k_batch *b)
{
    vi *word = b->word[b->form];
    word[0] = k_store_factors(s);
    k_pack_six(word + 1, s->s, s->m);
    k_unpack_six(word + 1, s->s, s->m);
    int low = a->top > 15 ? 12 : 4;
    for (int j = 0; j < 8; j++) {
        vi code[32];
        k_affine_codes(a, s, j, b, code);
        for (int i = 0; i < 8; i++) {
            vi four = k_bytes(code + 4 * i);
            if (a->top > 15)
                word[4 + i] |= (four >> 4 & 0x01010101) << j;
            word[low + 8 * (j / 2) + i] |= (four & 0x0f0f0f0f) << 4 * (j % 2);
        }
    }
}

INLINE void k_write_q2(const k_affine *a, k_super *s, k_batch *b)
{
    vi *word = b->word[b->form];
    word[20] = k_store_factors(s);
    for (int j = 0; j < 16; j++) {
        vi byte = (s->s[j] | s->m[j] << 4) & 255;
        word[j / 4] |= byte << 8 * (j % 4);
        s->s[j] = byte & 15;
        s->m[j] = byte >> 4;
    }
    for (int j = 0; j < 16; j++) {
        vi code[16];
        k_affine_codes(a, s, j, b, code);
        for (int i = 0; i < 4; i++)
            word[4 + 8 * (j / 8) + 4 * (j % 2) + i] |= k_bytes(code + 4 * i) << j % 8 / 2 * 2;
    }
}

INLINE void k_write_affine(const k_affine *a, k_super *s, k_batch *b)
{
    if (a->n == 16)
        k_write_q2(a, s, b);
    else
        k_write_q45(a, s, b);
}

INLINE void k_improve_super(const k_affine *a, k_super *s, const k_batch *b)
{
    k_affine_state st = {.d = s->d, .dmin = s->dmin};
    for (int j = 0; j < a->subs; j++) {
        st.s[j] = k_float(s->s[j]);
        st.m[j] = k_float(s->m[j]);
    }
    k_best_affine(a->best, b->x, b->importance, &st);
    s->d = st.d;
    s->dmin = st.dmin;
    for (int j = 0; j < a->subs; j++) {
        s->s[j] = __builtin_convertvector(st.s[j], vi);
        s->m[j] = __builtin_convertvector(st.m[j], vi);
    }
}

// ---- Q3_K and Q6_K: value d S q ----

// Codes from -top to top - 1 of sub-block j, plus top, under the scale d; where that is 0, *none.
INLINE void k_signed_codes(vf d, int top, int j, k_batch *b, vi *code, vi *none)
{
    const vf *x = b->x + K_16 * j;
    *none = d == 0.0f;
    const vf divisor = either(*none, SPREAD(1.0f), d);
    for (int i = 0; i < K_16; i++)
        code[i] = k_within(nearest_int(x[i] / divisor), -top, top - 1) + top;
    if (b->best) {
        vi its[K_16];
        for (int i = 0; i < K_16; i++)
            its[i] = code[i] - top;
        b->error[b->form] += k_error(x, b->importance + K_16 * j, K_16, its, d, SPREAD(0.0f));
    }
}

INLINE void k_scale_codes(const k_scale *fit, float top, int n, const vf *x, vi *code)
{
    for (int i = 0; i < n; i++) {
        vf c = k_signed_code(x[i] * fit->inverse, top) + top;
        code[i] = __builtin_convertvector(c, vi) & ~fit->zero;
    }
}

typedef struct {
    k_scale fit[16];
    vf scale[16], sum_w[16];
    vi s[16];  // with their sign
    vf d;      // as stored
    vi none;   // a super-block of zeros, which is all zero when it is stored (Q6_K)
} k_signed;

INLINE void k_q3_weighted_scales(const k_batch *b, k_signed *s)
{
    vf energy = k_energy(b->x, 2), w[K_16];
    for (int j = 0; j < 16; j++) {
        const vf *x = b->x + 16 * j;
        s->sum_w[j] = k_importance_weights(x, b->importance + 16 * j, energy, 16, w);
        s->fit[j] = k_fit_scale(4, x, w);
        s->scale[j] = s->fit[j].scale;
    }
}

// The scale of largest magnitude, the first of equals.
INLINE vf k_largest_scale(const vf *scale, vf *its_magnitude)
{
    vf most = {0}, largest = {0};
    for (int j = 0; j < 16; j++) {
        vf a = magnitude(scale[j]);
        largest = either(a > most, scale[j], largest);
        most = either(a > most, a, most);
    }
    *its_magnitude = most;
    return largest;
}

INLINE void k_q3_plain_factors(k_signed *s)
{
    vf most, largest = k_largest_scale(s->scale, &most);
    vi none = largest == 0.0f;
    vf inverse = -32.0f / either(none, SPREAD(1.0f), largest);
    for (int j = 0; j < 16; j++) {
        vi byte = nearest_int(s->scale[j] * inverse) << 24 >> 24;
        s->s[j] = either_int(none, SPREAD_INT(-32), k_within(byte, -32, 31));
    }
    s->d = either(none, SPREAD(0.0f), 1.0f / inverse);
    s->none = SPREAD_INT(0);
}

INLINE void k_q3_weighted_factors(k_signed *s)
{
    k_scale fit = k_fit_scale(32, s->scale, s->sum_w);
    k_scale_codes(&fit, 32, 16, s->scale, s->s);
    for (int j = 0; j < 16; j++)
        s->s[j] -= 32;
    s->d = fit.scale;
    s->none = SPREAD_INT(0);
}

INLINE void k_q3_found(const k_signed *s, int j, bool weighted, const vf *x, vi *found)
{
    if (weighted) {
        k_scale_codes(&s->fit[j], 4, 16, x, found);
        return;
    }
    vf same[K_DESCENTS * K_16], scale[K_DESCENTS];
    for (int i = 0; i < K_DESCENTS * K_16; i++)
        same[i] = x[i % K_16];
    k_descent d[K_DESCENTS];
    k_descend(same, d, scale);
    for (int i = 0; i < 16; i++)
        found[i] = __builtin_convertvector(d->code[i] + 4.0f, vi) & ~d->zero;
}

INLINE void k_write_q3(k_signed *s, bool weighted, k_batch *b)
{
    vi *word = b->word[b->form];
    word[27] = k_factor(s->d);
    s->d = f16_lanes(word[27]);
    for (int j = 0; j < 16; j++) {
        vi u = s->s[j] + 32;
        word[24 + j % 8 / 4] |= (u & 15) << (8 * (j % 4) + 4 * (j / 8));
        word[26] |= u >> 4 << (8 * (j % 4) + 2 * (j / 4));
    }
    for (int j = 0; j < 16; j++) {
        vi code[16], found[16], none;
        k_signed_codes(s->d * k_float(s->s[j]), 4, j, b, code, &none);
        if (any(none)) {
            k_q3_found(s, j, weighted, b->x + 16 * j, found);
            k_merge(none, found, code);
        }
        for (int i = 0; i < 4; i++) {
            vi four = k_bytes(code + 4 * i);
            word[4 * (j % 2) + i] |= (four >> 2 & 0x01010101) << j / 2;
            word[8 + 8 * (j / 8) + 4 * (j % 2) + i] |= (four & 0x03030303) << j % 8 / 2 * 2;
        }
    }
}

INLINE void k_q6_factors(k_signed *s)
{
    vf most, largest = k_largest_scale(s->scale, &most);
    s->none = most < 1e-15f;
    vf inverse = -128.0f / either(s->none, SPREAD(1.0f), largest);
    s->d = either(s->none, SPREAD(0.0f), 1.0f / inverse);
    for (int j = 0; j < 16; j++) {
        vi byte = smaller_int(nearest_int(s->scale[j] * inverse), SPREAD_INT(127)) & ~s->none;
        s->s[j] = byte << 24 >> 24;
    }
}

INLINE void k_write_q6(k_signed *s, k_batch *b)
{
    vi *word = b->word[b->form];
    word[52] = k_factor(s->d);
    s->d = f16_lanes(word[52]);
    for (int j = 0; j < 16; j++) {
        word[48 + j / 4] |= (s->s[j] & 255) << 8 * (j % 4);
        vi code[16], found[16], none;
        k_signed_codes(s->d * k_float(s->s[j]), 32, j, b, code, &none);
        if (any(none)) {
            k_scale_codes(&s->fit[j], 32, 16, b->x + 16 * j, found);
            k_merge(none, found, code);
        }
        int k = j % 8 / 2;
        for (int i = 0; i < 4; i++) {
            vi four = k_bytes(code + 4 * i) & ~s->none;
            word[16 * (j / 8) + 4 * (j % 2) + 8 * (k % 2) + i] |= (four & 0x0f0f0f0f) << k / 2 * 4;
            word[32 + 8 * (j / 8) + 4 * (j % 2) + i] |= (four >> 4 & 0x03030303) << 2 * k;
        }
    }
}

INLINE void k_improve_signed_super(k_signed_search how, k_signed *s, const k_batch *b)
{
    k_signed_state st = {.d = s->d};
    for (int j = 0; j < 16; j++)
        st.s[j] = k_float(s->s[j]);
    k_best_signed(how, b->x, b->importance, &st);
    s->d = st.d;
    for (int j = 0; j < 16; j++)
        s->s[j] = __builtin_convertvector(st.s[j], vi);
}

INLINE void k_fit_q3(const k_batch *b, bool weighted, k_signed *s)
{
    if (weighted) {
        k_q3_weighted_scales(b, s);
        k_q3_weighted_factors(s);
        return;
    }
    k_descent d[K_DESCENTS];
    for (int j = 0; j < 16; j += K_DESCENTS)
        k_descend(b->x + 16 * j, d, s->scale + j);
    k_q3_plain_factors(s);
}

INLINE void k_fit_q6(const k_batch *b, bool weighted, k_signed *s)
{
    for (int j = 0; j < 16; j++) {
        vf w[K_16];
        const vf *x = b->x + K_16 * j;
        for (int i = 0; i < K_16; i++)
            w[i] = x[i] * x[i];
        s->fit[j] = k_fit_scale(32, x, weighted ? b->importance + K_16 * j : w);
        s->scale[j] = s->fit[j].scale;
    }
    k_q6_factors(s);
}

// ---- a row of a type ----

typedef struct {
    int64_t bytes;          // of a super-block
    const k_affine *affine; // NULL: value d S q, with `best`
    k_signed_search best;
} k_type;

// Where the importance is known when this is compiled there is less to look at.
INLINE void k_fit(const k_type *t, const k_batch *b, bool weighted, k_super *s, k_signed *g)
{
    if (t->affine) {
        k_fit_lines(t->affine, b, weighted, s);
        k_fit_scales(t->affine, weighted, s);
    } else if (t->best.top == 4) {
        k_fit_q3(b, weighted, g);
    } else {
        k_fit_q6(b, weighted, g);
    }
}

INLINE void k_write(const k_type *t, bool weighted, k_super *s, k_signed *g, k_batch *b)
{
    if (t->affine)
        k_write_affine(t->affine, s, b);
    else if (t->best.top == 4)
        k_write_q3(g, weighted, b);
    else
        k_write_q6(g, b);
}

INLINE void k_encode(const k_type *t, const block_rows *r)
{
    k_batch b;
    k_super s;  // of affine types
    k_signed g; // of the others
    bool weighted = r->importance != NULL;
    int64_t n = r->n * (r->in / K_SUPER);
    KERNEL(k_start)(&b, r);
    for (int64_t first = 0; first < n; first += KERNEL_LANES) {
        KERNEL(k_load)(&b, r, first);
        if (weighted)
            k_fit(t, &b, true, &s, &g);
        else
            k_fit(t, &b, false, &s, &g);
        k_write(t, weighted, &s, &g, &b);
        if (b.best) {
            b.form = 1;
            if (t->affine)
                k_improve_super(t->affine, &s, &b);
            else
                k_improve_signed_super(t->best, &g, &b);
            k_write(t, weighted, &s, &g, &b);
            k_choose(&b);
        }
        KERNEL(k_store)(&b, r, first, t->bytes);
    }
}

#define K_ENCODE(name, ...)                                                                      \
    KERNEL_TARGET static void KERNEL(name##_encode)(const block_rows *r)                         \
    {                                                                                            \
        static const k_type type = {__VA_ARGS__};                                                \
        k_encode(&type, r);                                                                      \
    }

K_ENCODE(q2_k, 84, .affine = &k_affine_q2)
K_ENCODE(q3_k, 110, .best = {4, 32, 32})
K_ENCODE(q4_k, 144, .affine = &k_affine_q4)
K_ENCODE(q5_k, 176, .affine = &k_affine_q5)
K_ENCODE(q6_k, 210, .best = {32, 128, 24})

const block_ops KERNEL(blocks_k)[N_BLOCKS_K] = {
    {DT_Q2_K, 65504.0f * 15, true, KERNEL(q2_k_decode), KERNEL(q2_k_encode)},
    {DT_Q3_K, 65504.0f * 32 * 4, true, KERNEL(q3_k_decode), KERNEL(q3_k_encode)},
    {DT_Q4_K, 65504.0f * 63, true, KERNEL(q4_k_decode), KERNEL(q4_k_encode)},
    {DT_Q5_K, 65504.0f * 63, true, KERNEL(q5_k_decode), KERNEL(q5_k_encode)},
    {DT_Q6_K, 65504.0f * 128 * 32, true, KERNEL(q6_k_decode), KERNEL(q6_k_encode)},
};
