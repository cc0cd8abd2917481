// SPDX-License-Identifier: Apache-2.0
// ggml's block types as codecs: one part, whose rows are runs of blocks (blocks.h).
#include "base/reduce.h"
#include "quantize/blocks.h"
#include "quantize/blocks_grid.h"
#include "quantize/codec_forms.h"

static bool divides(const codec *c, int64_t in, err *e)
{
    return codec_divides(c, in) ||
           err_set(e, ERR_INPUT, "%s needs a multiple of %lld columns, the weight has %lld",
                   c->name, (long long)c->group, (long long)in);
}

bool blocks_decode(const codec *c, int64_t in, int64_t n, const part_view *part, float *to, err *e)
{
    if (!codec_accepts(c, part, e) || !divides(c, in, e))
        return false;
    block_ops_used(c->part[0].type)->decode(to, part[0].bytes, n * in / c->group);
    return true;
}

bool blocks_encode(const codec *c, int64_t in, int64_t n, const float *from,
                   const encode_options *o, void *const *part, err *e)
{
    const block_ops *ops = block_ops_used(c->part[0].type);
    if (!divides(c, in, e) || !codec_within(c, from, n, in, ops->largest, o->row0, e))
        return false;
    ops->encode(&(block_rows){.from = from, .n = n, .in = in, .importance = o->importance,
                              .search = o->search, .to = part[0]});
    if (o->search == SEARCH_BEST && block_has_grid(ops->type))
        for (int64_t i = 0; i < n * in / c->group; i++)
            (void)block_on_grid(ops->type, from + i * c->group,
                                (uint8_t *)part[0] + i * dtype_block_bytes(ops->type));
    return true;
}
