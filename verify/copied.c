// SPDX-License-Identifier: Apache-2.0
#include "verify/copied.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/weight.h"
#include "quantize/number.h"

enum { VALUES = 1 << 16, NAME_BYTES = 1200 }; // a name has at most 1024

static bool same_bytes(const checkpoint *a, const tensor *t, const checkpoint *b,
                       const tensor *other, bool *same, err *e)
{
    xxh128_digest x, y;
    if (!checkpoint_tensor_digest(a, t, &x, e) || !checkpoint_tensor_digest(b, other, &y, e))
        return false;
    *same = memcmp(x.b, y.b, sizeof x.b) == 0;
    return true;
}

// Both as weights; *are = false where one is none. `module` is kept by them.
static bool bind_both(weight w[2], const checkpoint *const in[2], const tensor *t,
                      const char *module, bool *are, err *e)
{
    *are = true;
    for (int k = 0; *are && k < 2; k++) {
        err none = ERR_INIT;
        *are = weight_bind(&w[k], in[k], module, "weight", 2, t->shape[0], t->shape[1], &none);
        if (none.kind == ERR_ENV) {
            *e = none;
            return false;
        }
    }
    *are = *are && w[0].codec->form != CODEC_FLOAT && w[1].codec->form == CODEC_FLOAT;
    return true;
}

static bool same_rows(const weight w[2], int64_t rows, const events *v, bool *same, err *e)
{
    scratch s = {0};
    uint64_t n = (uint64_t)(rows * w[0].in);
    dtype type = weight_plain_type(&w[1]);
    float *x = mem_new(3 * n, sizeof *x, "rows", e);
    float *y = x ? x + n : NULL, *rounded = x ? x + 2 * n : NULL;
    bool ok = x != NULL;
    *same = true;
    for (int64_t row = 0; ok && *same && row < w[0].out; row += rows) {
        int64_t some = i64_min(rows, w[0].out - row), values = some * w[0].in;
        ok = event_go_on(v, e) && weight_read_rows(&w[0], row, some, x, &s, e) &&
             weight_read_rows(&w[1], row, some, y, &s, e);
        *same = ok && row_from_f32(rounded, type, x, values) &&
                row_to_f32(x, rounded, type, values) &&
                memcmp(x, y, (size_t)values * sizeof *x) == 0;
    }
    free(x);
    scratch_free(&s);
    return ok;
}

bool copied_same(const checkpoint *a, const tensor *t, const checkpoint *b, const tensor *other,
                 const events *v, bool *same, err *e)
{
    const checkpoint *const in[2] = {a, b};
    char module[NAME_BYTES];
    weight w[2];
    bool are;
    *same = false;
    if (!event_go_on(v, e))
        return false;
    if (t->type == other->type)
        return same_bytes(a, t, b, other, same, e);
    if (t->rank != 2 || other->rank != 2 || memcmp(t->shape, other->shape, 2 * sizeof *t->shape) ||
        !str_ends(t->name, ".weight") || strlen(t->name) >= sizeof module)
        return true;
    (void)snprintf(module, sizeof module, "%.*s", (int)(strlen(t->name) - strlen(".weight")),
                   t->name);
    if (!bind_both(w, in, t, module, &are, e))
        return false;
    return !are || same_rows(w, i64_max(1, VALUES / i64_max(1, w[0].in)), v, same, e);
}
