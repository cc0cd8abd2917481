// SPDX-License-Identifier: Apache-2.0
// int4, symmetric, a scale a group of 32, 64 or 128 columns: compressed-tensors' pack-quantized.
// The stored nibble is q + 8; element 8c + j of a row is nibble j of the little-endian word c, so
// byte k holds element 2k (low) and 2k + 1 (high). value = q x scale, one binary32 product; the
// scale may be negative (readers only ever multiply by it). Scales: search.h.
#include "base/bytes.h"
#include "quantize/codec_forms.h"
#include "quantize/kernels.h"

static bool divides(const codec *c, int64_t in, err *e)
{
    if (codec_divides(c, in))
        return true;
    return err_set(e, ERR_INPUT, "%s needs a multiple of %lld columns, the weight has %lld",
                   c->name, (long long)c->group, (long long)in);
}

bool int4_encode(const codec *c, int64_t in, int64_t n, const float *from,
                 const encode_options *o, void *const *part, err *e)
{
    if (!divides(c, in, e) || !codec_all_finite(c, from, n, in, o->row0, e))
        return false;
    const kernels *use = kernels_used();
    uint8_t *packed = part[0];
    unsigned char *scales = part[1];
    int8_t code[SEARCH_MAX_GROUP];
    search_group g = {.n = c->group, .absmax = o->search == SEARCH_COMPAT,
                      .positive = o->positive_scales, .code = code};
    for (int64_t i = 0; i < n * in; i += c->group) {
        g.w = from + i;
        g.importance = o->importance ? o->importance + i % in : NULL;
        use->search(&g);
        store_u16(scales + 2 * (i / c->group), g.scale);
        for (int64_t k = 0; k < c->group / 2; k++)
            packed[i / 2 + k] = (uint8_t)((code[2 * k] + 8) | (code[2 * k + 1] + 8) << 4);
    }
    return true;
}
