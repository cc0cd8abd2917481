// SPDX-License-Identifier: Apache-2.0
// Thresholds that hold without a gate file. Derived, not tuned: docs/verify.md says how.
#include <assert.h>
#include <math.h>

#include "verify/gate.h"

// What a correct coder stays within whatever the data. SQNR of floats and FP8: every element is
// within half a unit of the last of p significant bits, 20 log10(2^p) dB. Of int4: the largest
// element of a group is at most 7.5 steps, the error's mean square at most a step^2 / 12, and a
// group has at least the energy of its largest element: 10 log10(12 x 7.5^2 / group) dB. Of ggml's
// types of one scale a block the same with 8, 16 or 127 steps; where they have a minimum, too, a
// block has at least twice the energy of half its range, 7.5 or 15.5 steps. One or two bits have no
// floor. Of IQ4_NL the same with 127 and its mean square step, 260; IQ4_XS adds scales that are
// half a 32nd of the largest off, and steps grown by that. MXFP4 cuts an eighth to a quarter off
// what is 6 to 8 times the scale: 12 dB, and the rest's error beside it. NVFP4 cuts a third off
// where its scale is the smallest; blocks below 3 x 2^-9, whose scale is 0, have no floor and are
// to fail. K-quants as int4, with the rounding of scales and minima of the other sub-blocks on top.
// E2M1 with a scale of 32: elements below 1 are off by 1/48 in the mean square, others by 1/48 of
// their square, the largest is at least 3.5 and, clipped from 8.5, off by 2.5. E2M1 with a scale of
// 16: the largest is at least 5.6. Integers in groups of any size: no code is further from its
// number than 0 is, which is 0 dB; of 8 bits in a row of 16,384, as for int4.
// KLD and top-1: what users of such files call usable (8 bits: excellent).
enum { ANY_GROUP = 0 };
#define OF_TYPE(type, ...) {ELEMENT_ITSELF, 0, type, ANY_GROUP, {__VA_ARGS__}}
#define OF_CODES(element, bits, group, ...) {element, bits, 0, group, {__VA_ARGS__}}
static const struct {
    codec_element element;
    int bits;      // of codes with scales
    dtype type;    // of what is an element itself
    int64_t group; // of that many columns, without zero points
    gate_floors floors;
} table[] = { // finest first; the first that fits
    OF_TYPE(DT_F32, 144, 0.001, 0.98),
    OF_TYPE(DT_F16, 48, 0.001, 0.98), // 11 bits, but fewer below 2^-14: held to BF16's
    OF_TYPE(DT_BF16, 48, 0.001, 0.98),
    OF_TYPE(DT_Q8_0, 37, 0.005, 0.97),
    OF_TYPE(DT_Q8_K, 28, 0.005, 0.97),
    OF_TYPE(DT_Q6_K, 25, 0.01, 0.95),
    OF_CODES(ELEMENT_E4M3, 8, ANY_GROUP, 24, 0.01, 0.95),
    OF_CODES(ELEMENT_INT, 8, ANY_GROUP, 10, 0.01, 0.95),
    OF_TYPE(DT_Q5_1, 22, 0.02, 0.93),
    OF_CODES(ELEMENT_INT, 6, ANY_GROUP, 19, 0.02, 0.93),
    OF_TYPE(DT_Q5_0, 19, 0.02, 0.93),
    OF_TYPE(DT_Q5_K, 19, 0.02, 0.93),
    OF_CODES(ELEMENT_INT, 5, ANY_GROUP, 13, 0.02, 0.93),
    OF_TYPE(DT_Q4_1, 16, 0.05, 0.9),
    OF_TYPE(DT_Q4_K, 15, 0.05, 0.9),
    OF_TYPE(DT_Q4_0, 13, 0.05, 0.9),
    OF_TYPE(DT_IQ4_NL, 13, 0.05, 0.9),
    OF_CODES(ELEMENT_E2M1, 4, 16, 12, 0.05, 0.9),
    OF_CODES(ELEMENT_INT, 4, 32, 13, 0.05, 0.9),
    OF_TYPE(DT_MXFP4, 11, 0.05, 0.9),
    OF_CODES(ELEMENT_INT, 4, 64, 10, 0.05, 0.9),
    OF_TYPE(DT_NVFP4, 9, 0.05, 0.9),
    OF_TYPE(DT_Q3_K, 9, 0.1, 0.85),
    OF_TYPE(DT_IQ4_XS, 8, 0.05, 0.9),
    OF_CODES(ELEMENT_INT, 4, 128, 7, 0.05, 0.9),
    OF_CODES(ELEMENT_E2M1, 4, 32, 9, 0.05, 0.9),
    OF_CODES(ELEMENT_INT, 4, ANY_GROUP, 0, 0.05, 0.9),
    OF_CODES(ELEMENT_INT, 3, ANY_GROUP, 0, 0.1, 0.85),
    OF_TYPE(DT_Q2_K, 3, 0.3, 0.75),
    OF_CODES(ELEMENT_INT, 2, ANY_GROUP, 0, 0.3, 0.75),
    OF_TYPE(DT_Q2_0, 0, 1, 0.5),
    OF_TYPE(DT_Q1_0, 0, 1, 0.5),
};

static bool fits(int row, const codec *c)
{
    if (table[row].element != c->element)
        return false;
    if (c->element == ELEMENT_ITSELF)
        return table[row].type == c->part[0].type;
    if (table[row].group != ANY_GROUP &&
        (table[row].group != c->group || codec_part_of(c, PART_ZEROS) >= 0))
        return false;
    return table[row].bits == c->bits;
}

static int rank_of(const codec *c)
{
    int i = 0;
    while (!fits(i, c)) {
        i++;
        assert(i < (int)COUNT_OF(table)); // every codec has a row
    }
    return i;
}

gate_floors gate_floors_of(const codec *c) { return table[rank_of(c)].floors; }

// The coarsest type with which the candidate replaces another one; NULL where it replaces none.
static const codec *coarsest(const model *ref, const model *cand)
{
    const codec *found = NULL;
    for (int64_t i = 0; i < model_n_weights(ref); i++) {
        const bound_weight *t = model_weight_at(ref, i);
        const weight *other = model_weight(cand, t->role, t->layer, t->expert);
        if (other && other->codec != t->weight->codec &&
            (!found || rank_of(other->codec) > rank_of(found)))
            found = other->codec;
    }
    return found;
}

static bool has_codec(const model *m, const codec *c)
{
    for (int64_t i = 0; i < model_n_weights(m); i++)
        if (model_weight_at(m, i)->weight->codec == c)
            return true;
    return false;
}

// Of the candidate's types: what else there is says nothing here.
static void set_floors(gate *g, const model *cand)
{
    for (int64_t i = 0; i < codec_count(); i++) {
        double floor = gate_floors_of(codec_at(i)).sqnr;
        g->sqnr[i] = has_codec(cand, codec_at(i)) ? floor : (double)NAN;
    }
}

bool gate_builtin(gate *g, const model *ref, const model *cand, err *e)
{
    const codec *coarse = coarsest(ref, cand);
    *g = (gate){.name = "built-in: same types, identical"};
    if (!coarse) {
        gate_set(g, GATE_EXACT, 1);
        gate_set(g, GATE_MAX_MEAN_KLD, 0);
        return true;
    }
    strbuf name = {0};
    strbuf_printf(&name, "built-in: %s", coarse->name);
    g->name = strbuf_ok(&name, e) ? arena_text(&g->texts, name.text, name.len, e) : NULL;
    strbuf_free(&name);
    if (!g->name)
        return false;
    gate_set(g, GATE_EXACT_SAME_TYPE, 1);
    g->by_type = g->has[GATE_MIN_SQNR_DB] = true;
    set_floors(g, cand);
    gate_set(g, GATE_MAX_MEAN_KLD, gate_floors_of(coarse).kld);
    gate_set(g, GATE_MIN_TOP1_AGREEMENT, gate_floors_of(coarse).top1);
    return true;
}
