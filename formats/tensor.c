// SPDX-License-Identifier: Apache-2.0
#include "formats/tensor.h"

#include <string.h>

#include "base/str.h"

const char *tensor_shape_text(const tensor *t, char buf[TENSOR_SHAPE_TEXT])
{
    size_t at = 0;
    buf[at++] = '[';
    for (int i = 0; i < t->rank; i++) {
        if (i)
            buf[at++] = ',';
        at += strlen(str_decimal((uint64_t)t->shape[i], buf + at));
    }
    buf[at++] = ']';
    buf[at] = 0;
    return buf;
}
