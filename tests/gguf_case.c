// SPDX-License-Identifier: Apache-2.0
#include "tests/gguf_case.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/temp.h"

void gguf_case_tensors(const char *dir, const char *file, tensor *t, int64_t n,
                       const gguf_value *values, int64_t n_values, const void *data)
{
    err e = ERR_INIT;
    strbuf out = {0};
    uint64_t bytes;
    const char *from = data;
    ck_assert_msg(gguf_write_header(&out, t, n, values, n_values, &bytes, &e), "%s", e.text);
    for (int64_t i = 0; i < n; i++) {
        while (out.len < t[i].offset)
            strbuf_add(&out, "", 1);
        strbuf_add(&out, from, t[i].bytes);
        from += t[i].bytes;
    }
    while (out.len < bytes)
        strbuf_add(&out, "", 1);
    ck_assert(strbuf_ok(&out, &e));
    temp_write(dir, file, out.text, out.len);
    strbuf_free(&out);
}

void gguf_case_write(const char *dir, const gguf_case *c)
{
    gguf_value v[5] = {{"general.name", GGUF_TEXT, false, 1, "case", 4}};
    int64_t n = 1;
    tensor t = {.name = c->tensor, .type = DT_F32, .rank = 1, .shape = {c->elements}};
    float *values = calloc((size_t)c->elements, sizeof *values);
    ck_assert_ptr_nonnull(values);
    for (int64_t i = 0; i < c->elements; i++)
        values[i] = (float)(i + 1);
    if (c->architecture)
        v[n++] = (gguf_value){"general.architecture", GGUF_TEXT, false, 1, c->architecture,
                              strlen(c->architecture)};
    if (c->count) {
        v[n++] = (gguf_value){"split.no", GGUF_U16, false, 1, &c->no, 2};
        v[n++] = (gguf_value){"split.count", GGUF_U16, false, 1, &c->count, 2};
        v[n++] = (gguf_value){"split.tensors.count", GGUF_I32, false, 1, &c->total, 4};
    }
    gguf_case_tensors(dir, c->name, &t, 1, v, n, values);
    free(values);
}

void gguf_case_f32(const char *dir, const char *file, const char *tensor_name, int64_t elements)
{
    gguf_case_write(dir, &(gguf_case){.name = file, .tensor = tensor_name, .elements = elements});
}

void gguf_case_part(const char *dir, const char *file, uint16_t no, uint16_t count, int32_t total,
                    const char *tensor_name, int64_t elements)
{
    gguf_case_write(dir, &(gguf_case){file, no, count, total, tensor_name, elements, NULL});
}
