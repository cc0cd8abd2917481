// SPDX-License-Identifier: Apache-2.0
// f32, f16, bf16: the values themselves. Encoding rounds to nearest even; a finite value that
// would become infinite is refused, because a codec never writes what it cannot read back.
#include <string.h>

#include "base/bytes.h"
#include "quantize/codec_forms.h"
#include "quantize/number.h"

bool float_decode(const codec *c, int64_t in, int64_t n, const part_view *part, float *to, err *e)
{
    if (!codec_accepts(c, part, e))
        return false;
    if (!row_to_f32(to, part[0].bytes, part[0].type, n * in))
        return err_set(e, ERR_INTERNAL, "%s: no reading of %s", c->name,
                       dtype_name(part[0].type));
    return true;
}

bool float_encode(const codec *c, int64_t in, int64_t n, const float *from,
                  const encode_options *o, void *const *part, err *e)
{
    if (!codec_all_finite(c, from, n, in, o->row0, e))
        return false;
    dtype type = c->part[0].type;
    if (!row_from_f32(part[0], type, from, n * in))
        return err_set(e, ERR_INTERNAL, "%s: no writing of %s", c->name, dtype_name(type));
    if (type == DT_F32)
        return true;
    uint16_t infinity = type == DT_F16 ? 0x7c00 : 0x7f80;
    const unsigned char *bits = part[0];
    for (int64_t i = 0; i < n * in; i++)
        if ((load_u16(bits + 2 * i) & 0x7fff) == infinity)
            return err_set(e, ERR_INPUT, "row %lld, column %lld: %.9g is too large for %s",
                           (long long)(o->row0 + i / in), (long long)(i % in),
                           (double)from[i], dtype_name(type));
    return true;
}
