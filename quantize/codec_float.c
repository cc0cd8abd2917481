// SPDX-License-Identifier: Apache-2.0
// f32, f16, bf16: the values themselves. Encoding rounds to nearest even; a finite value that
// would become infinite is refused, because a codec never writes what it cannot read back. Read
// also where the matrix is stored transposed.
#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "quantize/codec_forms.h"
#include "quantize/number.h"

// Tile by tile, so that reading and writing both go along lines of memory.
static bool from_across(int64_t in, int64_t n, const part_view *part, float *to)
{
    enum { ROWS = 16, COLS = 64, MOST_STEP = 2 };
    float tile[COLS][ROWS * MOST_STEP];
    int64_t width = dtype_block_bytes(part->type), step = part->step ? part->step : 1;
    assert(step <= MOST_STEP);
    for (int64_t row = 0; row < n; row += ROWS) {
        int64_t rows = i64_min(ROWS, n - row);
        const unsigned char *p = (const unsigned char *)part->bytes + row * step * width;
        for (int64_t col = 0; col < in; col += COLS) {
            int64_t cols = i64_min(COLS, in - col);
            for (int64_t k = 0; k < cols; k++)
                if (!row_to_f32(tile[k], p + (col + k) * part->pitch, part->type,
                                (rows - 1) * step + 1))
                    return false;
            for (int64_t r = 0; r < rows; r++)
                for (int64_t k = 0; k < cols; k++)
                    to[(row + r) * in + col + k] = tile[k][r * step];
        }
    }
    return true;
}

bool float_decode(const codec *c, int64_t in, int64_t n, const part_view *part, float *to, err *e)
{
    if (!codec_accepts(c, part, e))
        return false;
    if (part->pitch ? !from_across(in, n, part, to)
                    : !row_to_f32(to, part[0].bytes, part[0].type, n * in))
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
