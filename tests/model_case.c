// SPDX-License-Identifier: Apache-2.0
#include "tests/model_case.h"

#include <check.h>

#include "tests/refused.h"

void model_case_open_path(const char *path, checkpoint **c, model **m)
{
    err e = ERR_INIT;
    ASSERT_OK(checkpoint_open(c, path, NULL, &e), e);
    ASSERT_OK(model_open(m, *c, NULL, &e), e);
}

void model_case_open(tiny *t, const char *config, checkpoint **c, model **m)
{
    tiny_write(t, config);
    model_case_open_path(t->dir, c, m);
}

void model_case_refuses(tiny *t, const char *config, const char *words)
{
    err e = ERR_INIT;
    checkpoint *c;
    model *m;
    tiny_write(t, config);
    ASSERT_OK(checkpoint_open(&c, t->dir, NULL, &e), e);
    ASSERT_REFUSED(model_open(&m, c, NULL, &refused), words);
    ck_assert_ptr_null(m);
    checkpoint_close(c);
}
