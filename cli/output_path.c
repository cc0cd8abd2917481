// SPDX-License-Identifier: Apache-2.0
#include "cli/output_path.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"

bool output_path_split(output_path *p, const char *path, err *e)
{
    const char *base = path_base(path);
    size_t len = (size_t)(base - path);
    *p = (output_path){0};
    while (len > 1 && path[len - 1] == '/')
        len--;
    p->dir = len ? strndup(path, len) : strdup(".");
    p->name = strdup(base);
    if (p->dir && p->name)
        return true;
    output_path_free(p);
    return err_set(e, ERR_ENV, "no memory for a path");
}

bool output_path_open(output_path *p, const char *path, bool force, err *e)
{
    if (!output_path_split(p, path, e))
        return false;
    path_kind kind = PATH_NOTHING, above = PATH_NOTHING;
    bool ok = path_find(path, &kind, e) && path_find(p->dir, &above, e);
    if (ok && !*p->name)
        ok = err_set(e, ERR_USAGE, "'%s' names a folder; a file is to be written", path);
    else if (ok && kind == PATH_FOLDER)
        ok = err_set(e, ERR_ENV, "'%s' is a folder; a file is to be written", path);
    else if (ok && above != PATH_FOLDER)
        ok = err_set(e, ERR_ENV, "cannot write '%s': there is no folder '%s'", path, p->dir);
    else if (ok && !force && kind != PATH_NOTHING)
        ok = err_set(e, ERR_ENV, "'%s' is there already; --force replaces it", path);
    if (!ok)
        output_path_free(p);
    return ok;
}

bool output_path_outside(const char *path, const char *model, err *e)
{
    bool within;
    return path_is_within(path, model, &within, e) &&
           (!within ||
            err_set(e, ERR_USAGE, "the output '%s' lies inside the input '%s'", path, model));
}

bool output_path_is_not(const output_path *p, const char *input, err *e)
{
    char *path = path_join(p->dir, p->name, e);
    char *from = path ? path_resolve(input, e) : NULL;
    char *to = from ? path_resolve(path, e) : NULL;
    bool ok = to != NULL;
    if (ok && strcmp(from, to) == 0)
        ok = err_set(e, ERR_USAGE, "the output '%s' is the input", path);
    free(path);
    free(from);
    free(to);
    return ok;
}

void output_path_free(output_path *p)
{
    free(p->dir);
    free(p->name);
    *p = (output_path){0};
}
