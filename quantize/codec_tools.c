// SPDX-License-Identifier: Apache-2.0
// Integers of 4 and 8 bits as GPTQ, AWQ and MLX store them: the codes and scales are found as
// groups.h says, row by row, and packed as the codec's row says (coded.h).
#include "base/bytes.h"
#include "quantize/coded.h"
#include "quantize/codec_forms.h"
#include "quantize/kernels.h"

enum { CHUNK = 256 }; // groups at a time

static int_tool tool_of(const codec *c)
{
    if (codec_part_of(c, PART_BIASES) >= 0)
        return TOOL_MLX;
    return c->eights ? TOOL_AWQ : TOOL_GPTQ;
}

// What the search for small symmetric groups finds codes with.
static void search_near(const group_weights *from, bool positive, dtype stored, float *near)
{
    int8_t code[SEARCH_MAX_GROUP];
    search_group s = {.n = from->n, .positive = positive, .stored = stored, .code = code};
    for (int64_t i = 0; i < from->groups; i++) {
        s.w = from->w + i * s.n;
        s.importance = from->importance ? from->importance + i * s.n : NULL;
        kernels_used()->search(&s);
        near[i] = s.by;
    }
}

static void find_rows(const codec *c, const float *from, const encode_options *o, coded_rows *to)
{
    float near[CHUNK];
    int scales = codec_part_of(c, PART_SCALES);
    tool_groups g = {.from = {.n = to->group, .search = o->search, .source = o->source},
                     .tool = tool_of(c), .bits = c->bits, .zeros = !c->zero,
                     .stored = codec_written_type(c, scales, o->search, o->source),
                     .least_zero = c->gptq_format == 1, .positive = o->positive_scales};
    bool swept = o->search == SEARCH_BEST && c->zero && c->bits == 4 &&
                 to->group <= SEARCH_MAX_GROUP;
    g.near = swept ? near : NULL;
    for (int64_t row = 0; row < to->rows; row++)
        for (int64_t i = 0; i < to->groups; i += CHUNK) {
            int64_t at = row * to->in + i * to->group, group = row * to->groups + i;
            g.from.groups = i64_min(CHUNK, to->groups - i);
            g.from.w = from + at;
            g.from.importance = o->importance ? o->importance + i * to->group : NULL;
            g.codes = to->code + at;
            g.scale = to->scale + group;
            g.zero = to->zero ? to->zero + group : NULL;
            g.bias = to->bias ? to->bias + group : NULL;
            if (swept)
                search_near(&g.from, g.positive, g.stored, near);
            kernels_used()->tool_rows(&g);
        }
}

bool tools_encode(const codec *c, int64_t in, int64_t n, const float *from,
                  const encode_options *o, void *const *part, err *e)
{
    coded_rows rows;
    part_room room[CODEC_MAX_PARTS];
    if (!codec_divides(c, in))
        return err_set(e, ERR_INPUT, "%s needs a multiple of %lld columns, the weight has %lld",
                       c->name, (long long)codec_multiple(c), (long long)in);
    // What binary16 holds, in which runtimes compute; spreads have to be numbers.
    float largest = codec_part_of(c, PART_BIASES) < 0 || o->source == DT_F16 ? 65504 : 0x1p126f;
    if (!codec_within(c, from, n, in, largest, o->row0, e) || !coded_init(&rows, c, n, in, e))
        return false;
    for (int i = 0; i < c->n_parts; i++)
        room[i] = (part_room){part[i], codec_written_type(c, i, o->search, o->source),
                              codec_part_pitch(c, i, o->height ? o->height : n)};
    find_rows(c, from, o, &rows);
    coded_pack(c, &rows, room);
    coded_free(&rows);
    return true;
}
