// SPDX-License-Identifier: Apache-2.0
#include "convert/companions.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/pattern.h"

enum { LARGEST = 64 << 20 };

static bool in_list(const char *name, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (glob_matches(list[i], name))
            return true;
    return false;
}

static bool is_made_anew(const checkpoint *c, const char *name)
{
    static const char *const made[] = {"config.json", "model.safetensors.index.json",
                                       "scruple.json", "SHA256SUMS", "experts.idx"};
    for (int f = 0; f < checkpoint_n_files(c); f++)
        if (strcmp(checkpoint_file_name(c, f), name) == 0)
            return true;
    return in_list(name, made, COUNT_OF(made));
}

static bool is_copied(const dir_entry *entry)
{
    static const char *const kinds[] = {"*.json", "*.jinja", "*.model", "*.txt", "LICENSE*",
                                        "README*"};
    return entry->is_file && entry->size <= LARGEST && entry->name[0] != '.' &&
           in_list(entry->name, kinds, COUNT_OF(kinds));
}

static bool add_name(char ***list, uint64_t *n, const char *name, err *e)
{
    uint64_t cap = *n; // grown one by one: folders are small
    if (!mem_grow((void **)list, &cap, *n + 1, sizeof **list, "file names", e))
        return false;
    (*list)[*n] = strdup(name);
    return (*list)[(*n)++] || err_set(e, ERR_ENV, "no memory for a file name");
}

bool companions_find(companions *c, const checkpoint *source, err *e)
{
    dir_entry *entry = NULL;
    int64_t n = 0;
    *c = (companions){0};
    if (!dir_list(checkpoint_dir(source), &entry, &n, e))
        return false;
    bool ok = true;
    for (int64_t i = 0; ok && i < n; i++) {
        if (is_made_anew(source, entry[i].name))
            continue;
        if (is_copied(&entry[i])) {
            c->bytes += entry[i].size;
            ok = add_name(&c->copied, &c->n_copied, entry[i].name, e);
        } else {
            ok = add_name(&c->left, &c->n_left, entry[i].name, e);
        }
    }
    dir_list_free(entry, n);
    if (!ok)
        companions_free(c);
    return ok;
}

void companions_free(companions *c)
{
    for (uint64_t i = 0; i < c->n_copied; i++)
        free(c->copied[i]);
    for (uint64_t i = 0; i < c->n_left; i++)
        free(c->left[i]);
    free(c->copied);
    free(c->left);
    *c = (companions){0};
}

bool companions_copy(const companions *c, const checkpoint *source, output *out, err *e)
{
    for (uint64_t i = 0; i < c->n_copied; i++) {
        char *bytes = NULL;
        size_t n = 0;
        bool ok = file_read_beneath(checkpoint_dir(source), c->copied[i], LARGEST, &bytes, &n,
                                    e) &&
                  output_small(out, c->copied[i], bytes, n, e);
        free(bytes);
        if (!ok)
            return false;
    }
    return true;
}
