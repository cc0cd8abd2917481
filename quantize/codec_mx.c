// SPDX-License-Identifier: Apache-2.0
// Elements of 4 or 8 bits with a byte of scale a group of columns: compressed-tensors'
// mxfp4-pack-quantized and mxfp8-quantized (E8M0 a 32), nvfp4-pack-quantized (E4M3 a 16, divided
// by one number for the whole weight, which gate and up of an expert share; ModelOpt's multiplies).
// DeepSeek-V4's FP4 is mxfp4 in other types, gpt-oss' blocks under other names. Two E2M1 codes a
// byte, the low nibble first. MLX's mxfp4, mxfp8 and nvfp4 are the same bytes in words of 32 bits,
// but its NVFP4 has no number for the whole weight. Which scales: groups.h.
#include "base/bytes.h"
#include "quantize/codec_forms.h"
#include "quantize/kernels.h"

static fp_form form_of(const codec *c)
{
    if (c->element == ELEMENT_E4M3)
        return FP_MXFP8;
    return c->group == 16 ? FP_NVFP4 : FP_MXFP4;
}

bool mx_encode(const codec *c, int64_t in, int64_t n, const float *from, const encode_options *o,
               void *const *part, err *e)
{
    if (!codec_divides(c, in))
        return err_set(e, ERR_INPUT, "%s needs a multiple of %lld columns, the weight has %lld",
                       c->name, (long long)c->group, (long long)in);
    bool whole = c->whole == WHOLE_FUSED; // else E4M3's largest scale has to do
    float largest = form_of(c) == FP_NVFP4 && !whole ? 2688 : CODEC_LARGEST;
    int64_t groups = in / c->group;
    fp_groups g = {.from = {.n = c->group, .groups = groups, .search = o->search,
                            .importance = o->importance, .source = o->source},
                   .form = form_of(c), .global = whole ? o->whole_scale : 1,
                   .multiplies = codec_part_of(c, PART_GLOBAL) >= 0};
    for (int64_t row = 0; row < n; row++) {
        g.from.w = from + row * in;
        if (!codec_within(c, g.from.w, 1, in, largest, o->row0 + row, e))
            return false;
        g.codes = (uint8_t *)part[0] + row * in * c->bits / 8;
        g.scale = (uint8_t *)part[1] + row * groups;
        kernels_used()->fp_rows(&g);
    }
    if (whole && o->row0 == 0)
        store_f32(part[2], o->whole_scale);
    return true;
}
