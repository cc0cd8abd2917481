// SPDX-License-Identifier: Apache-2.0
#include "formats/checkpoint.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/stream.h"
#include "formats/shards.h"

enum { AHEAD = 16 << 20 }; // of memory, for what digests read ahead

struct checkpoint {
    char *path, *dir;
    bool is_folder;
    int n_files;
    in_file *file;      // [n_files]
    st_header *header;  // [n_files]
    int64_t *first;     // [n_files + 1]: number of the file's first tensor
    tensor *tensor;     // [count]; NULL where only listed
    name_index names;   // of all files; empty where one file has its own
};

// ---- opening ---------------------------------------------------------------------------------

// What people give instead of a safetensors file, each with its own sentence.
static bool sniff(const in_file *f, err *e)
{
    static const char lfs[] = "version https://git-lfs";
    char head[sizeof lfs] = {0};
    size_t n = f->size < sizeof head - 1 ? (size_t)f->size : sizeof head - 1;
    if (!in_read(f, 0, head, n, e))
        return false;
    if (memcmp(head, "GGUF", 4) == 0)
        return err_set(e, ERR_INPUT, "'%s' is a GGUF file: GGUF is not read by this version",
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
static bool add_file(checkpoint *c, in_file *f, shard_index *index, err *e)
{
    int file = c->n_files++;
    st_header *h = &c->header[file];
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

static bool open_path(checkpoint *c, err *e)
{
    in_file f;
    const char *base = path_base(c->path);
    c->dir = base == c->path ? strdup(".") : strndup(c->path, (size_t)(base - c->path));
    if (!c->dir)
        return err_set(e, ERR_ENV, "no memory for a path");
    for (size_t n = strlen(c->dir); n > 1 && c->dir[n - 1] == '/'; n--)
        c->dir[n - 1] = 0;
    return reserve(c, 1, e) && in_open(&f, c->path, e) && add_file(c, &f, NULL, e);
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
    return in_open_beneath(&f, c->dir, name, e) && add_file(c, &f, index, e);
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

static bool nothing_to_read(const checkpoint *c, const listing *l, err *e)
{
    static const char *const pytorch[] = {".bin", ".pt", ".pth", ".ckpt"};
    if (first_with(l, ".gguf"))
        return err_set(e, ERR_INPUT, "'%s' holds no safetensors file, but '%s': GGUF is not read "
                       "by this version", c->dir, first_with(l, ".gguf")->name);
    for (size_t i = 0; i < COUNT_OF(pytorch); i++)
        if (first_with(l, pytorch[i]))
            return err_set(e, ERR_INPUT, "'%s' holds no safetensors file, but '%s': PyTorch "
                           "checkpoints are not read", c->dir, first_with(l, pytorch[i])->name);
    return err_set(e, ERR_INPUT, "'%s' holds no safetensors file", c->dir);
}

static bool open_listed(checkpoint *c, const listing *l, const events *v, err *e)
{
    const char *only = NULL;
    int64_t n = 0;
    if (has(l, SHARD_INDEX_NAME))
        return open_shards(c, l, v, e);
    for (int64_t i = 0; i < l->n; i++) {
        if (is_safetensors(&l->entry[i])) {
            only = l->entry[i].name;
            n++;
        }
    }
    if (has(l, "model.safetensors"))
        only = "model.safetensors";
    else if (n == 0)
        return nothing_to_read(c, l, e);
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
    return tensor_list_name(&c->header[file].list, i - c->first[file]);
}

// Names that are there twice were refused by the headers and the index.
static bool index_names(checkpoint *c, err *e)
{
    int64_t twice;
    return c->n_files == 1 ||
           name_index_build(&c->names, c, checkpoint_count(c), name_of, &twice, e);
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
    ok = ok && (c->is_folder ? open_folder(c, v, e) : open_path(c, e));
    if (ok && index_names(c, e)) {
        warn_of_holes(c, v);
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
    for (int i = 0; i < c->n_files; i++) {
        in_close(&c->file[i]);
        st_free_list(&c->header[i]);
    }
    free(c->file);
    free(c->header);
    free(c->tensor);
    free(c->first);
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
    tensor_list_get(&c->header[file].list, i - c->first[file], out);
}

int64_t checkpoint_index_of(const checkpoint *c, const char *name)
{
    return c->n_files == 1 ? tensor_list_find(&c->header[0].list, name)
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

const st_header *checkpoint_header(const checkpoint *c, int file)
{
    assert(file >= 0 && file < c->n_files);
    return &c->header[file];
}

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

// Tensors [next, end) in the files' order.
typedef struct {
    const checkpoint *c;
    int64_t next, end;
} tensor_walk;

static bool next_tensor(void *ctx, stream_range *out, bool *end, err *e)
{
    tensor_walk *w = ctx;
    (void)e;
    *end = w->next == w->end;
    if (!*end) {
        const tensor *t = checkpoint_at(w->c, w->next++);
        *out = (stream_range){checkpoint_file(w->c, t->file), t->offset, t->bytes};
    }
    return true;
}

// Progress over all tensors of a digest; NULL where nobody asks.
typedef struct {
    const events *v;
    uint64_t done, total;
} pace;

// `s` is at the tensor's first byte.
static bool digest_tensor(const tensor *t, stream *s, pace *p, xxh128_digest *out, err *e)
{
    char buf[STR_SHORT];
    xxh128 *x = xxh128_new(e);
    bool ok = x != NULL;
    for (uint64_t at = 0, n = 0; ok && at < t->bytes; at += n) {
        const void *bytes;
        ok = !p || event_go_on(p->v, e);
        if (!ok || !stream_take(s, t->bytes - at, &bytes, &n, e)) {
            ok = ok && err_in(e, "tensor '%s'", str_short(t->name, buf));
            break;
        }
        xxh128_add(x, bytes, (size_t)n);
        if (p) {
            p->done += n;
            event_progress(p->v, "bytes", p->done, p->total);
        }
    }
    if (ok)
        xxh128_end(x, out);
    else
        xxh128_free(x);
    return ok;
}

bool checkpoint_tensor_digest(const checkpoint *c, const tensor *t, xxh128_digest *out, err *e)
{
    int64_t i = checkpoint_index_of(c, t->name);
    tensor_walk walk = {c, i, i + 1};
    const stream_options o = {.memory = AHEAD, .readers = t->bytes < AHEAD / 4 ? 1 : 0};
    stream *s;
    *out = (xxh128_digest){0};
    bool ok = stream_open(&s, next_tensor, &walk, &o, e) && digest_tensor(t, s, NULL, out, e);
    stream_close(s);
    return ok;
}

typedef struct {
    const tensor *t;
    xxh128_digest digest;
} content;

static int compare_contents(const void *a, const void *b)
{
    return strcmp(((const content *)a)->t->name, ((const content *)b)->t->name);
}

static void add_line(sha256 *s, const content *item)
{
    char shape[TENSOR_SHAPE_TEXT], hex[2 * sizeof item->digest.b + 1];
    const char *part[] = {item->t->name, "\t", dtype_name(item->t->type), "\t",
                          tensor_shape_text(item->t, shape), "\t",
                          hex_of(item->digest.b, sizeof item->digest.b, hex), "\n"};
    for (size_t i = 0; i < COUNT_OF(part); i++)
        sha256_add(s, part[i], strlen(part[i]));
}

// Orders the items by name.
static bool digest_contents(content *item, int64_t n, sha256_digest *out, err *e)
{
    sha256 *s = sha256_new(e);
    if (!s)
        return false;
    if (n)
        qsort(item, (size_t)n, sizeof *item, compare_contents);
    for (int64_t i = 0; i < n; i++)
        add_line(s, &item[i]);
    sha256_end(s, out);
    return true;
}

bool checkpoint_file_digest(const checkpoint *c, int file, const xxh128_digest *each,
                            sha256_digest *out, err *e)
{
    int64_t first = c->first[file], n = c->first[file + 1] - first;
    content *item = mem_new((uint64_t)n, sizeof *item, "digests", e);
    if (!item)
        return false;
    for (int64_t i = 0; i < n; i++)
        item[i] = (content){checkpoint_at(c, first + i), each[first + i]};
    bool ok = digest_contents(item, n, out, e);
    free(item);
    return ok;
}

bool checkpoint_digest(const checkpoint *c, const events *v, sha256_digest *out, err *e)
{
    return checkpoint_digests(c, v, NULL, out, e);
}

bool checkpoint_digests(const checkpoint *c, const events *v, xxh128_digest *each,
                        sha256_digest *out, err *e)
{
    int64_t n = checkpoint_count(c);
    pace p = {.v = v};
    *out = (sha256_digest){0};
    tensor_walk walk = {c, 0, n};
    stream *ahead = NULL;
    content *item = mem_new((uint64_t)n, sizeof *item, "digests", e);
    bool ok = item != NULL;
    for (int64_t i = 0; ok && i < n; i++) {
        item[i].t = checkpoint_at(c, i);
        p.total += item[i].t->bytes;
    }
    // Read in the files' order, written down in the names'.
    ok = ok && stream_open(&ahead, next_tensor, &walk, &(stream_options){.memory = AHEAD}, e);
    for (int64_t i = 0; ok && i < n; i++)
        ok = digest_tensor(item[i].t, ahead, &p, &item[i].digest, e);
    stream_close(ahead);
    for (int64_t i = 0; each && ok && i < n; i++)
        each[i] = item[i].digest;
    ok = ok && checkpoint_unchanged(c, e) && digest_contents(item, n, out, e);
    free(item);
    return ok;
}
