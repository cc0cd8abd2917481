// SPDX-License-Identifier: Apache-2.0
#include "formats/tensor.h"

#include <stdio.h>

const char *tensor_shape_text(const tensor *t, char buf[TENSOR_SHAPE_TEXT])
{
    size_t at = 0;
    buf[at++] = '[';
    for (int i = 0; i < t->rank; i++)
        at += (size_t)snprintf(buf + at, TENSOR_SHAPE_TEXT - at, i ? ",%lld" : "%lld",
                               (long long)t->shape[i]);
    buf[at++] = ']';
    buf[at] = 0;
    return buf;
}
