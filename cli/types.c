// SPDX-License-Identifier: Apache-2.0
#include "cli/types.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/str.h"

static bool is_named(const text_list *names, const char *name)
{
    for (uint64_t i = 0; i < names->n; i++)
        if (str_same_nocase(names->item[i], name))
            return true;
    return names->n == 0;
}

static bool check_names(const text_list *names, const codec *const *fitting, int64_t n, err *e)
{
    const char **known = mem_new((uint64_t)n, sizeof *known, "names", e);
    bool ok = known != NULL;
    for (int64_t i = 0; ok && i < n; i++)
        known[i] = fitting[i]->name;
    for (uint64_t i = 0; ok && i < names->n; i++) {
        bool found = false;
        for (int64_t k = 0; k < n; k++)
            found = found || str_same_nocase(names->item[i], known[k]);
        const char *near = found ? NULL : str_nearest(names->item[i], known, (size_t)n);
        if (!found)
            ok = err_set(e, ERR_USAGE, "no codec of use here is called '%s'%s%s%s", names->item[i],
                         near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    }
    free(known);
    return ok;
}

bool types_choose(const text_list *names, bool (*fits)(const codec *c), const codec ***out,
                  int64_t *n, err *e)
{
    int64_t fitting = 0;
    *n = 0;
    *out = mem_new((uint64_t)codec_count(), sizeof **out, "a list of types", e);
    if (!*out)
        return false;
    for (int64_t i = 0; i < codec_count(); i++)
        if (!fits || fits(codec_at(i)))
            (*out)[fitting++] = codec_at(i);
    if (!check_names(names, *out, fitting, e))
        return false;
    for (int64_t i = 0; i < fitting; i++)
        if (is_named(names, (*out)[i]->name))
            (*out)[(*n)++] = (*out)[i];
    return true;
}
