// SPDX-License-Identifier: Apache-2.0
// Rows of a weight into another form, moved and not quantized again: block by block, where the
// form can hold what the source's codes stand for. Lossless means: what is decoded from the new
// form is the very same binary32 number, for every value; zeros are the same whatever their signs
// (-0 stays -0 where the form has one and reads it so). NaN and infinity are refused, as encoding
// refuses them. Knows rows of numbers and their scales; no file, no model.
//
// A block is what shares a scale in the form, or a row of it where that is more than a row (a scale
// a tensor). Of forms of one scale a block (E4M3, E2M1, integers, ggml's Q4_0, Q4_1, Q5_0, Q5_1,
// Q8_0, MXFP4, NVFP4) every scale is tried that can be exact (grid.h). Of the others (K-quants,
// IQ4) a block counts as held where SEARCH_BEST gives its values back.
#ifndef SCRUPLE_QUANTIZE_TRANSCODE_H
#define SCRUPLE_QUANTIZE_TRANSCODE_H

#include "quantize/codec.h"

typedef struct {
    int64_t in, n;           // columns; rows, as encode takes them
    const float *values;     // [n][in]
    const float *scales;     // [n][in] that stood for them in the source; NULL: it had none
    float *room;             // [n][in]: on return what the new bytes decode to
    float *own_scales;       // [n][in] with lossy: room for those that encoding finds
    int64_t height;          // rows that parts across have room for, as encode_options has it
    int64_t row0;            // index of the first row, for sentences
    float whole_scale;       // transcode_whole_scale of the weight, where the codec has one
    const dtype *type;       // [codec_written] types that the parts are written in
    bool lossy;              // blocks that are not held are encoded, as SEARCH_BEST does
    void *const *part;       // as encode's
} transcode_rows;

// Writes the rows' parts; *lost is the number of blocks that are not held. Without `lossy` such a
// block's bytes are anything. ERR_INPUT as encode.
MUST_USE bool transcode(const codec *c, const transcode_rows *r, int64_t *lost, err *e);
int64_t transcode_blocks(const codec *c, int64_t out, int64_t in); // of a weight
// The type of part i, as codec_written_type: integers' scales are of the source's type (`scales`,
// DT_F32 where it has none) where that is F16 and the form takes it.
dtype transcode_written_type(const codec *c, int i, dtype scales);
// The type of the scales of ggml's types of one scale a block; DT_F32 of other codecs.
dtype transcode_block_scale_type(const codec *c);
// As codec.scales, and of ggml's types of one scale a block; *has = false for other codecs.
MUST_USE bool transcode_scales(const codec *c, int64_t in, int64_t n, const part_view *part,
                               float *to, bool *has, err *e);

// ---- what has to be known of a weight as a whole ---------------------------------------------

enum { TRANSCODE_STEPS = 254, TRANSCODE_BIAS = 126, TRANSCODE_OFFERS = 9 };

typedef struct {
    // How many groups NVFP4 holds with the divisor 2^(i - TRANSCODE_BIAS), less those with i - 1.
    int64_t held[TRANSCODE_STEPS + 1];
    float offer[TRANSCODE_OFFERS];      // divisors (ModelOpt: factors) that a source of NVFP4 has
                                        // or that are next to one's reciprocal
    int64_t taken[TRANSCODE_OFFERS];    // groups whose scale is the same under each
    int n_offers;
    float largest;           // magnitude
    float scale;             // the largest of the source's, 0 where it had none
} transcode_census;

// Before anything is counted: a global scale of the source, which multiplies or divides. Up to
// three sources, whose weights are counted together.
void transcode_offer(const codec *c, transcode_census *to, float global, bool divides);
// Adds rows, all finite; a zeroed census has seen none.
void transcode_count(const codec *c, const transcode_rows *r, transcode_census *to);
void transcode_add(const transcode_census *from, transcode_census *to);
// The scale that all of the weight has, as codec_whole_scale. NVFP4's divisor (factor) is what
// holds the most groups, of those that were offered and (the largest) powers of two; FP8's scale is
// the source's largest.
float transcode_whole_scale(const codec *c, const transcode_census *x);

#endif
