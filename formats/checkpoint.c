// SPDX-License-Identifier: Apache-2.0
#include "formats/checkpoint.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "formats/gguf_split.h"
#include "formats/shards.h"

// One of the two.
typedef struct {
    st_header st;
    gguf_header *gguf;  // NULL: a safetensors file
} any_header;

struct checkpoint {
    char *path, *dir;
    bool is_folder;
    int n_files;
    in_file *file;      // [n_files]
    any_header *header; // [n_files]
    int64_t *first;     // [n_files + 1]: number of the file's first tensor
    tensor *tensor;     // [count]; NULL where only listed
    name_index names;   // of all files; empty where one file has its own
};

static const tensor_list *list_of(const checkpoint *c, int file)
{
    const any_header *h = &c->header[file];
    return h->gguf ? &h->gguf->list : &h->st.list;
}

// ---- opening ---------------------------------------------------------------------------------

static bool is_gguf(const in_file *f, bool *is, err *e)
{
    char magic[4] = {0};
    if (f->size >= sizeof magic && !in_read(f, 0, magic, sizeof magic, e))
        return false;
    *is = memcmp(magic, "GGUF", sizeof magic) == 0;
    return true;
}

// What people give instead of a safetensors file, each with its own sentence.
static bool sniff(const in_file *f, err *e)
{
    static const char lfs[] = "version https://git-lfs";
    char head[sizeof lfs] = {0};
    size_t n = f->size < sizeof head - 1 ? (size_t)f->size : sizeof head - 1;
    if (!in_read(f, 0, head, n, e))
        return false;
    if (memcmp(head, "GGUF", 4) == 0)
        return err_set(e, ERR_INPUT, "'%s' is a GGUF file under the name of a safetensors file",
                       f->name);
    if (memcmp(head, "PK\3\4", 4) == 0)
        return err_set(e, ERR_INPUT, "'%s' is a zip archive, as PyTorch writes its checkpoints: "
                       "expected a safetensors file", f->name);
    if (memcmp(head, lfs, sizeof lfs - 1) == 0)
        return err_set(e, ERR_INPUT, "'%s' is a Git LFS pointer, not the file itself: "
                       "git lfs pull fetches it", f->name);
    if (head[0] == '{' && n > 8 && head[7] != 0)
        return err_set(e, ERR_INPUT, "'%s' is a JSON file: expected a safetensors file or the "
                       "folder of a checkpoint", f->name);
    if (n > 8 && !memchr("{ \t\r\n", head[8], 5))
        return err_set(e, ERR_INPUT, "'%s' is not a safetensors file: expected '{' behind the "
                       "8-byte header length, found byte 0x%02x", f->name,
                       (unsigned char)head[8]);
    return true;
}

// A hole in front of the end is what an interrupted download or save leaves behind; the header
// cannot tell, for writers put it in place first. One line, however many shards have one.
static void warn_of_holes(const checkpoint *c, const events *v)
{
    const in_file *first = NULL;
    char others[64] = "";
    long long at = 0;
    int n = 0;
    for (int i = 0; i < c->n_files; i++) {
        off_t hole = lseek(c->file[i].fd, 0, SEEK_HOLE);
        if (hole < 0 || (uint64_t)hole >= c->file[i].size)
            continue;
        if (n++ == 0) {
            first = &c->file[i];
            at = hole;
        }
    }
    if (n > 1)
        (void)snprintf(others, sizeof others, ", and %d other files have holes, too", n - 1);
    if (n)
        event_warn(v, "'%s' has a hole at byte %lld of %llu%s: an interrupted download or save?",
                   first->name, at, (unsigned long long)first->size, others);
}

static bool reserve(checkpoint *c, int n, err *e)
{
    c->file = mem_new((uint64_t)n, sizeof *c->file, "files", e);
    c->header = mem_new((uint64_t)n, sizeof *c->header, "headers", e);
    c->first = mem_new((uint64_t)n + 1, sizeof *c->first, "headers", e);
    return c->file && c->header && c->first;
}

// Takes an open file over as the next one; `index` may be NULL.
static bool add_safetensors(checkpoint *c, in_file *f, shard_index *index, err *e)
{
    int file = c->n_files++;
    st_header *h = &c->header[file].st;
    c->file[file] = *f;
    c->first[file + 1] = c->first[file];
    if (!sniff(f, e) || !st_list_header(h, f, file, e))
        return false;
    for (int64_t i = 0; index && i < h->n_tensors; i++)
        if (!shard_index_meets(index, tensor_list_name(&h->list, i), file, e))
            return err_in(e, "'%s'", c->dir);
    c->first[file + 1] += h->n_tensors;
    return true;
}

// Takes an open file over as the next one.
static bool add_gguf(checkpoint *c, in_file *f, gguf_split *split, err *e)
{
    int file = c->n_files++;
    any_header *h = &c->header[file];
    c->file[file] = *f;
    c->first[file + 1] = c->first[file];
    h->gguf = mem_new(1, sizeof *h->gguf, "a header", e);
    if (!h->gguf || !gguf_list_header(h->gguf, f, file, e))
        return false;
    c->first[file + 1] += h->gguf->n_tensors;
    return gguf_split_of(h->gguf, split, e) || err_in(e, "'%s'", f->name);
}

// ---- folders ---------------------------------------------------------------------------------

typedef struct {
    dir_entry *entry;
    int64_t n;
} listing;

static bool is_safetensors(const dir_entry *entry)
{
    return entry->name[0] != '.' && str_ends(entry->name, ".safetensors");
}

static const dir_entry *first_with(const listing *l, const char *suffix)
{
    for (int64_t i = 0; i < l->n; i++)
        if (str_ends(l->entry[i].name, suffix))
            return &l->entry[i];
    return NULL;
}

static int compare_entry(const void *name, const void *entry)
{
    return strcmp(name, ((const dir_entry *)entry)->name);
}

static bool has(const listing *l, const char *name)
{
    return l->n && bsearch(name, l->entry, (size_t)l->n, sizeof *l->entry, compare_entry);
}

// Safetensors files that are in the folder and were not opened.
static void warn_of_strangers(const checkpoint *c, const listing *l, const events *v)
{
    const char *stranger = NULL;
    int64_t n = 0;
    int file = 0; // both lists are sorted by name
    for (int64_t i = 0; i < l->n; i++) {
        if (!is_safetensors(&l->entry[i]))
            continue;
        while (file < c->n_files && strcmp(checkpoint_file_name(c, file), l->entry[i].name) < 0)
            file++;
        if (file < c->n_files && strcmp(checkpoint_file_name(c, file), l->entry[i].name) == 0)
            continue;
        stranger = stranger ? stranger : l->entry[i].name;
        n++;
    }
    if (n == 1)
        event_warn(v, "'%s/%s' does not belong to the checkpoint beside it and is not read",
                   c->dir, stranger);
    else if (n > 1)
        event_warn(v, "'%s/%s' and %lld more safetensors files do not belong to the checkpoint "
                   "beside them and are not read", c->dir, stranger, (long long)(n - 1));
}

static bool open_beneath(checkpoint *c, const char *name, shard_index *index, err *e)
{
    in_file f;
    return in_open_beneath(&f, c->dir, name, e) && add_safetensors(c, &f, index, e);
}

// DeepSeek-V3 has 163 shards, others 1,433, and the usual soft limit is 1,024 descriptors.
static void make_room_for_files(int n)
{
    struct rlimit limit;
    rlim_t want = (rlim_t)n + 256;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= want ||
        limit.rlim_cur == limit.rlim_max)
        return;
    limit.rlim_cur = want < limit.rlim_max ? want : limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit); // where it fails, opening a shard says so
}

static bool missing_shards(const shard_index *x, const listing *l, err *e)
{
    const char *first = NULL;
    int n = 0, number = 0;
    for (int i = 0; i < x->n_shards; i++) {
        if (has(l, x->shard[i]))
            continue;
        if (n++ == 0) {
            first = x->shard[i];
            number = i;
        }
    }
    if (n == 0)
        return true;
    char buf[STR_SHORT];
    return err_set(e, ERR_INPUT, "shard '%s' with %lld tensors is missing (%d of %d shards are)",
                   str_short(first, buf), (long long)shard_index_expects(x, number), n,
                   x->n_shards);
}

static void check_total(const checkpoint *c, const shard_index *x, const events *v)
{
    uint64_t sum = 0;
    for (int64_t i = 0; i < checkpoint_count(c); i++) {
        tensor t;
        checkpoint_get(c, i, &t);
        sum += t.bytes;
    }
    if (x->has_total && x->total_size != sum)
        event_warn(v, "'%s/%s' says total_size %llu, the tensors have %llu bytes", c->dir,
                   SHARD_INDEX_NAME, (unsigned long long)x->total_size, (unsigned long long)sum);
}

static bool open_shards(checkpoint *c, const listing *l, const events *v, err *e)
{
    char *text = NULL;
    size_t len = 0;
    shard_index x = {0};
    bool ok = false;
    if (!file_read_beneath(c->dir, SHARD_INDEX_NAME, SHARD_INDEX_MAX_BYTES, &text, &len, e))
        return false;
    if (!shard_index_parse(&x, text, len, e) || !missing_shards(&x, l, e)) {
        err_in(e, "'%s/%s'", c->dir, SHARD_INDEX_NAME);
        goto out;
    }
    make_room_for_files(x.n_shards);
    if (!reserve(c, x.n_shards, e))
        goto out;
    for (int i = 0; i < x.n_shards; i++)
        if (!event_go_on(v, e) || !open_beneath(c, x.shard[i], &x, e))
            goto out;
    if (!shard_index_all_met(&x, e)) {
        err_in(e, "'%s/%s'", c->dir, SHARD_INDEX_NAME);
        goto out;
    }
    check_total(c, &x, v);
    ok = true;
out:
    shard_index_free(&x);
    free(text);
    return ok;
}

// ---- GGUF ------------------------------------------------------------------------------------

// Takes the first file of a checkpoint back.
static void drop_files(checkpoint *c)
{
    for (int i = 0; i < c->n_files; i++) {
        in_close(&c->file[i]);
        st_free_list(&c->header[i].st);
        if (c->header[i].gguf)
            gguf_free(c->header[i].gguf);
        free(c->header[i].gguf);
    }
    free(c->file);
    free(c->header);
    free(c->first);
    c->file = NULL;
    c->header = NULL;
    c->first = NULL;
    c->n_files = 0;
}

static bool missing_parts(const checkpoint *c, const gguf_set *set, const listing *l, err *e)
{
    char name[GGUF_SET_NAME], first[GGUF_SET_NAME] = "", buf[STR_SHORT];
    int n = 0;
    for (int i = 0; i < set->count; i++)
        if (!has(l, gguf_set_name(set, i, name)) && n++ == 0)
            memcpy(first, name, sizeof first);
    return n == 0 || err_set(e, ERR_INPUT, "'%s/%s' is missing (%d of the %d parts of a split GGUF "
                             "file are)", c->dir, str_short(first, buf), n, set->count);
}

// All parts say the same of the whole, each its own number.
static bool part_fits(const checkpoint *c, const gguf_split *own, const gguf_split *first, err *e)
{
    int number = c->n_files - 1;
    const char *file = c->file[number].name;
    if (own->count != first->count || own->n_tensors != first->n_tensors)
        return err_set(e, ERR_INPUT, "'%s' is part of %llu with %llu tensors, '%s' of %llu with "
                       "%llu", file, (unsigned long long)own->count,
                       (unsigned long long)own->n_tensors, c->file[0].name,
                       (unsigned long long)first->count, (unsigned long long)first->n_tensors);
    if (own->no != (uint64_t)number)
        return err_set(e, ERR_INPUT, "'%s': split.no is %llu, by its name it is part %d, which "
                       "has %d", file, (unsigned long long)own->no, number + 1, number);
    const char *a = gguf_as_text(gguf_find(c->header[number].gguf, "general.architecture"));
    const char *b = gguf_as_text(gguf_find(c->header[0].gguf, "general.architecture"));
    char s[STR_SHORT], t[STR_SHORT];
    return !a || !b || strcmp(a, b) == 0 ||
           err_set(e, ERR_INPUT, "'%s': general.architecture is '%s', in '%s' it is '%s'", file,
                   str_short(a, s), c->file[0].name, str_short(b, t));
}

// The file `typed` (NULL: none) is one that a person named.
static bool open_set(checkpoint *c, const gguf_set *set, const listing *l, const char *typed,
                     const events *v, err *e)
{
    gguf_split first = {0}, own;
    char name[GGUF_SET_NAME];
    make_room_for_files(set->count);
    if (!missing_parts(c, set, l, e) || !reserve(c, set->count, e))
        return false;
    for (int i = 0; i < set->count; i++) {
        in_file f;
        gguf_set_name(set, i, name);
        bool is_typed = typed && strcmp(path_base(typed), name) == 0;
        if (!event_go_on(v, e) ||
            !(is_typed ? in_open(&f, typed, e) : in_open_beneath(&f, c->dir, name, e)) ||
            !add_gguf(c, &f, &own, e))
            return false;
        first = i == 0 ? own : first;
        if (!part_fits(c, &own, &first, e))
            return false;
    }
    uint64_t n = (uint64_t)checkpoint_count(c);
    return n == first.n_tensors ||
           err_set(e, ERR_INPUT, "'%s': split.tensors.count is %llu, the %d parts have %llu "
                   "tensors", c->file[0].name, (unsigned long long)first.n_tensors, set->count,
                   (unsigned long long)n);
}

// The file that is open, and where it is one of many all of them.
static bool open_gguf(checkpoint *c, in_file *f, const listing *l, const char *typed,
                      const events *v, err *e)
{
    gguf_split split;
    gguf_set set;
    listing own = {0};
    if (!reserve(c, 1, e)) {
        in_close(f);
        return false;
    }
    if (!add_gguf(c, f, &split, e))
        return false;
    if (split.count < 2)
        return true;
    if (!gguf_set_of(&set, checkpoint_file_name(c, 0), &split, e))
        return err_in(e, "'%s'", c->file[0].name);
    drop_files(c);
    bool ok = l || dir_list(c->dir, &own.entry, &own.n, e);
    ok = ok && open_set(c, &set, l ? l : &own, typed, v, e);
    dir_list_free(own.entry, own.n);
    return ok;
}

static bool is_gguf_name(const char *name) { return name[0] != '.' && str_ends(name, ".gguf"); }

// A folder without safetensors: its GGUF file, or the set that all of them are.
static bool open_gguf_folder(checkpoint *c, const listing *l, const events *v, err *e)
{
    const char *first = NULL, *other = NULL;
    int64_t n = 0;
    for (int64_t i = 0; i < l->n; i++) {
        const char *name = l->entry[i].name;
        if (!is_gguf_name(name))
            continue;
        n++;
        if (first && !gguf_set_same(first, name))
            other = other ? other : name;
        first = first ? first : name;
    }
    in_file f;
    char a[STR_SHORT], b[STR_SHORT];
    if (other)
        return err_set(e, ERR_INPUT, "'%s' holds GGUF files that do not belong together, '%s' and "
                       "'%s' among them: name one of them", c->dir, str_short(first, a),
                       str_short(other, b));
    if (!in_open_beneath(&f, c->dir, first, e) || !open_gguf(c, &f, l, NULL, v, e))
        return false;
    return c->n_files == n ||
           err_set(e, ERR_INPUT, "'%s' holds %lld GGUF files that their names call parts of one, "
                   "but '%s' says that it is one of %d", c->dir, (long long)n,
                   str_short(first, a), c->n_files);
}

// ---- files and folders -----------------------------------------------------------------------

static bool nothing_to_read(const checkpoint *c, const listing *l, err *e)
{
    static const char *const pytorch[] = {".bin", ".pt", ".pth", ".ckpt"};
    for (size_t i = 0; i < COUNT_OF(pytorch); i++)
        if (first_with(l, pytorch[i]))
            return err_set(e, ERR_INPUT, "'%s' holds no safetensors file, but '%s': PyTorch "
                           "checkpoints are not read", c->dir, first_with(l, pytorch[i])->name);
    return err_set(e, ERR_INPUT, "'%s' holds no safetensors and no GGUF file", c->dir);
}

static bool open_listed(checkpoint *c, const listing *l, const events *v, err *e)
{
    const char *only = NULL;
    int64_t n = 0;
    bool gguf = false;
    if (has(l, SHARD_INDEX_NAME))
        return open_shards(c, l, v, e);
    for (int64_t i = 0; i < l->n; i++) {
        gguf = gguf || is_gguf_name(l->entry[i].name);
        if (is_safetensors(&l->entry[i])) {
            only = l->entry[i].name;
            n++;
        }
    }
    if (has(l, "model.safetensors"))
        only = "model.safetensors";
    else if (n == 0)
        return gguf ? open_gguf_folder(c, l, v, e) : nothing_to_read(c, l, e);
    else if (n > 1)
        return err_set(e, ERR_INPUT, "'%s' holds %lld safetensors files and no %s, which says "
                       "what belongs together", c->dir, (long long)n, SHARD_INDEX_NAME);
    return reserve(c, 1, e) && open_beneath(c, only, NULL, e);
}

static bool open_folder(checkpoint *c, const events *v, err *e)
{
    listing l = {0};
    c->dir = strdup(c->path);
    if (!c->dir)
        return err_set(e, ERR_ENV, "no memory for a path");
    for (size_t n = strlen(c->dir); n > 1 && c->dir[n - 1] == '/'; n--)
        c->dir[n - 1] = 0;
    bool ok = dir_list(c->dir, &l.entry, &l.n, e) && open_listed(c, &l, v, e);
    if (ok)
        warn_of_strangers(c, &l, v);
    dir_list_free(l.entry, l.n);
    return ok;
}

static bool open_path(checkpoint *c, const events *v, err *e)
{
    in_file f;
    bool gguf;
    const char *base = path_base(c->path);
    c->dir = base == c->path ? strdup(".") : strndup(c->path, (size_t)(base - c->path));
    if (!c->dir)
        return err_set(e, ERR_ENV, "no memory for a path");
    for (size_t n = strlen(c->dir); n > 1 && c->dir[n - 1] == '/'; n--)
        c->dir[n - 1] = 0;
    if (!in_open(&f, c->path, e))
        return false;
    bool ok = is_gguf(&f, &gguf, e);
    if (ok && gguf)
        return open_gguf(c, &f, NULL, c->path, v, e);
    if (ok && reserve(c, 1, e))
        return add_safetensors(c, &f, NULL, e);
    in_close(&f);
    return false;
}

static int file_of(const checkpoint *c, int64_t i)
{
    assert(i >= 0 && i < checkpoint_count(c));
    int low = 0, high = c->n_files; // first[low] <= i < first[high]
    while (high - low > 1) {
        int middle = low + (high - low) / 2;
        if (c->first[middle] <= i)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static const char *name_of(const void *ctx, int64_t i)
{
    const checkpoint *c = ctx;
    int file = file_of(c, i);
    return tensor_list_name(list_of(c, file), i - c->first[file]);
}

// Names that are twice in one file were refused by its header, in safetensors shards by the index.
static bool index_names(checkpoint *c, err *e)
{
    int64_t twice = -1;
    char buf[STR_SHORT];
    if (c->n_files > 1 &&
        !name_index_build(&c->names, c, checkpoint_count(c), name_of, &twice, e))
        return false;
    return twice < 0 ||
           err_set(e, ERR_INPUT, "'%s': tensor '%s' is in another part, too",
                   c->file[file_of(c, twice)].name, str_short(name_of(c, twice), buf));
}

// Readers do not look there.
static void warn_of_rest(const checkpoint *c, const events *v)
{
    for (int i = 0; i < c->n_files; i++)
        if (c->header[i].gguf && c->header[i].gguf->behind > 0)
            event_warn(v, "'%s' has %llu bytes behind its last tensor that belong to nothing",
                       c->file[i].name, (unsigned long long)c->header[i].gguf->behind);
}

static bool read_tensors(checkpoint *c, err *e)
{
    c->tensor = mem_new((uint64_t)checkpoint_count(c), sizeof *c->tensor, "tensors", e);
    for (int64_t i = 0; c->tensor && i < checkpoint_count(c); i++)
        checkpoint_get(c, i, &c->tensor[i]);
    return c->tensor != NULL;
}

bool checkpoint_list(checkpoint **out, const char *path, const events *v, err *e)
{
    *out = NULL;
    checkpoint *c = mem_new(1, sizeof *c, "a checkpoint", e);
    if (!c)
        return false;
    path_kind kind = PATH_NOTHING;
    c->path = strdup(path);
    bool ok = c->path ? path_find(path, &kind, e) : err_set(e, ERR_ENV, "no memory for a path");
    c->is_folder = kind == PATH_FOLDER;
    ok = ok && (c->is_folder ? open_folder(c, v, e) : open_path(c, v, e));
    if (ok && index_names(c, e)) {
        warn_of_holes(c, v);
        warn_of_rest(c, v);
        *out = c;
    } else {
        checkpoint_close(c);
    }
    return *out != NULL;
}

bool checkpoint_open(checkpoint **out, const char *path, const events *v, err *e)
{
    if (!checkpoint_list(out, path, v, e))
        return false;
    if (read_tensors(*out, e))
        return true;
    checkpoint_close(*out);
    *out = NULL;
    return false;
}

void checkpoint_close(checkpoint *c)
{
    if (!c)
        return;
    drop_files(c);
    free(c->tensor);
    free(c->path);
    free(c->dir);
    name_index_free(&c->names);
    free(c);
}

// ---- looking ---------------------------------------------------------------------------------

const char *checkpoint_path(const checkpoint *c) { return c->path; }

bool checkpoint_is_folder(const checkpoint *c) { return c->is_folder; }

const char *checkpoint_dir(const checkpoint *c) { return c->dir; }

int64_t checkpoint_count(const checkpoint *c) { return c->first[c->n_files]; }

const tensor *checkpoint_at(const checkpoint *c, int64_t i)
{
    assert(c->tensor && i >= 0 && i < checkpoint_count(c));
    return &c->tensor[i];
}

void checkpoint_get(const checkpoint *c, int64_t i, tensor *out)
{
    int file = file_of(c, i);
    tensor_list_get(list_of(c, file), i - c->first[file], out);
}

int64_t checkpoint_index_of(const checkpoint *c, const char *name)
{
    return c->n_files == 1 ? tensor_list_find(list_of(c, 0), name)
                           : name_index_find(&c->names, c, name_of, name);
}

int64_t checkpoint_index(const checkpoint *c, const tensor *t)
{
    assert(c->tensor && t >= c->tensor && t < c->tensor + checkpoint_count(c));
    return t - c->tensor;
}

const tensor *checkpoint_find(const checkpoint *c, const char *name)
{
    int64_t i = checkpoint_index_of(c, name);
    return i < 0 ? NULL : checkpoint_at(c, i);
}

int checkpoint_n_files(const checkpoint *c) { return c->n_files; }

const char *checkpoint_file_name(const checkpoint *c, int file)
{
    return path_base(checkpoint_file(c, file)->name);
}

const in_file *checkpoint_file(const checkpoint *c, int file)
{
    assert(file >= 0 && file < c->n_files);
    return &c->file[file];
}

uint64_t checkpoint_data_start(const checkpoint *c, int file)
{
    assert(file >= 0 && file < c->n_files);
    const any_header *h = &c->header[file];
    return h->gguf ? h->gguf->data_start : h->st.data_start;
}

void checkpoint_file_tensors(const checkpoint *c, int file, int64_t *first, int64_t *n)
{
    assert(file >= 0 && file < c->n_files);
    *first = c->first[file];
    *n = c->first[file + 1] - *first;
}

const char *checkpoint_metadata(const checkpoint *c, int file, const char *key)
{
    assert(file >= 0 && file < c->n_files);
    const st_header *h = &c->header[file].st;
    for (int64_t i = 0; i < h->n_metadata; i++)
        if (strcmp(h->metadata[i].key, key) == 0)
            return h->metadata[i].value;
    return NULL;
}

const gguf_header *checkpoint_gguf(const checkpoint *c) { return c->header[0].gguf; }

// ---- reading ---------------------------------------------------------------------------------

bool checkpoint_read(const checkpoint *c, const tensor *t, uint64_t offset, void *to, uint64_t n,
                     err *e)
{
    char buf[STR_SHORT];
    if (offset > t->bytes || n > t->bytes - offset)
        return err_set(e, ERR_INTERNAL,
                       "tensor '%s' has %llu bytes, %llu were asked for at offset %llu",
                       str_short(t->name, buf), (unsigned long long)t->bytes,
                       (unsigned long long)n, (unsigned long long)offset);
    return in_read(checkpoint_file(c, t->file), t->offset + offset, to, n, e) ||
           err_in(e, "tensor '%s'", str_short(t->name, buf));
}

bool checkpoint_unchanged(const checkpoint *c, err *e)
{
    for (int i = 0; i < c->n_files; i++)
        if (!in_unchanged(&c->file[i], e))
            return false;
    return true;
}
