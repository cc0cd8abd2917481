// SPDX-License-Identifier: Apache-2.0
#include "convert/companions.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/pattern.h"
#include "base/utf8.h"

enum { LARGEST = 64 << 20, LONGEST_NAME = 200, BLOCK = 1 << 20 };

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
                                       "scruple.json", "scruple-recipe.json", "SHA256SUMS",
                                       "experts.idx"};
    for (int f = 0; f < checkpoint_n_files(c); f++)
        if (strcmp(checkpoint_file_name(c, f), name) == 0)
            return true;
    return in_list(name, made, COUNT_OF(made));
}

// Names that stand in SHA256SUMS and scruple.json as they are, and that leave room for the ends
// that temporary names get.
static bool is_plain(const char *name)
{
    size_t len = strlen(name);
    uint32_t code;
    if (name[0] == '.' || len > LONGEST_NAME || strpbrk(name, "\\:"))
        return false;
    for (size_t at = 0; at < len;) {
        int n = utf8_decode(name + at, len - at, &code);
        if (n == 0 || code < 0x20 || code == 0x7f)
            return false;
        at += (size_t)n;
    }
    return true;
}

static bool describes_codes(const char *name)
{
    static const char *const files[] = {"hf_quant_config.json", "quantize_config.json",
                                        "quant_config.json"};
    return in_list(name, files, COUNT_OF(files));
}

static bool is_copied(const dir_entry *entry)
{
    static const char *const kinds[] = {"*.json", "*.jinja", "*.model", "*.txt", "LICENSE*",
                                        "README*"};
    return entry->is_file && entry->size <= LARGEST && is_plain(entry->name) &&
           in_list(entry->name, kinds, COUNT_OF(kinds));
}

static bool add_copied(companions *c, const char *dir, const char *name, err *e)
{
    char *bytes = NULL;
    size_t n = 0;
    companion new = {0};
    bool ok = mem_grow((void **)&c->copied, &c->copied_cap, c->n_copied + 1, sizeof *c->copied,
                       "file names", e) &&
              file_read_beneath(dir, name, LARGEST, &bytes, &n, e) &&
              sha256_of(bytes, n, &new.sha, e);
    free(bytes);
    if (!ok)
        return false;
    new.bytes = n;
    new.name = strdup(name);
    if (!new.name)
        return err_set(e, ERR_ENV, "no memory for a file name");
    c->copied[c->n_copied++] = new;
    c->bytes += n;
    return true;
}

static bool add_left(companions *c, const char *name, err *e)
{
    if (!mem_grow((void **)&c->left, &c->left_cap, c->n_left + 1, sizeof *c->left, "file names",
                  e))
        return false;
    char *copy = strdup(name);
    if (!copy)
        return err_set(e, ERR_ENV, "no memory for a file name");
    c->left[c->n_left++] = copy;
    return true;
}

static bool is_lone_file(const checkpoint *c, err *e, bool *lone)
{
    path_kind kind;
    if (!path_find_in(checkpoint_dir(c), "config.json", &kind, e))
        return false;
    *lone = !checkpoint_is_folder(c) && kind == PATH_NOTHING;
    return true;
}

bool companions_find(companions *c, const checkpoint *source, bool recoded, err *e)
{
    dir_entry *entry = NULL;
    int64_t n = 0;
    bool lone;
    *c = (companions){0};
    if (!is_lone_file(source, e, &lone))
        return false;
    if (lone)
        return true;
    if (!dir_list(checkpoint_dir(source), &entry, &n, e))
        return false;
    bool ok = true;
    for (int64_t i = 0; ok && i < n; i++) {
        if (is_made_anew(source, entry[i].name))
            continue;
        bool copied = is_copied(&entry[i]) && !(recoded && describes_codes(entry[i].name));
        ok = copied ? add_copied(c, checkpoint_dir(source), entry[i].name, e)
                    : add_left(c, entry[i].name, e);
    }
    dir_list_free(entry, n);
    if (!ok)
        companions_free(c);
    return ok;
}

void companions_free(companions *c)
{
    for (uint64_t i = 0; i < c->n_copied; i++)
        free(c->copied[i].name);
    for (uint64_t i = 0; i < c->n_left; i++)
        free(c->left[i]);
    free(c->copied);
    free(c->left);
    *c = (companions){0};
}

static bool copy_one(const companion *one, const char *dir, void *block, output *out, err *e)
{
    in_file in = IN_FILE_CLOSED;
    out_file file = OUT_FILE_CLOSED;
    sha256_digest sha;
    bool ok = in_open_beneath(&in, dir, one->name, e);
    if (ok && in.size != one->bytes)
        ok = err_set(e, ERR_INPUT, "'%s' changed while the run was at work: %llu bytes before, "
                     "%llu now", in.name, (unsigned long long)one->bytes,
                     (unsigned long long)in.size);
    ok = ok && output_begin(out, &file, one->name, one->bytes, NULL, 0, e);
    for (uint64_t at = 0; ok && at < one->bytes;) {
        uint64_t n = one->bytes - at < BLOCK ? one->bytes - at : BLOCK;
        ok = in_read(&in, at, block, n, e) && out_append(&file, block, n, e);
        at += n;
    }
    ok = ok && output_end(out, &file, one->name, NULL, e);
    if (!ok)
        out_discard(&file);
    else if (output_has(out, one->name, &sha) && memcmp(sha.b, one->sha.b, sizeof sha.b) != 0)
        ok = err_set(e, ERR_INPUT, "'%s' changed while the run was at work", in.name);
    in_close(&in);
    return ok;
}

bool companions_copy(const companions *c, const checkpoint *source, output *out, err *e)
{
    void *block = mem_new(BLOCK, 1, "a copy block", e);
    bool ok = block != NULL;
    for (uint64_t i = 0; ok && i < c->n_copied; i++)
        if (!output_has(out, c->copied[i].name, NULL))
            ok = copy_one(&c->copied[i], checkpoint_dir(source), block, out, e);
    free(block);
    return ok;
}
