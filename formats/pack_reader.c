// SPDX-License-Identifier: Apache-2.0
#include "formats/pack_reader.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/mem.h"

enum {
    HEADER = 96, FILE_ROW = 48, LAYER_ROW = 56, COMPONENT_ROW = 72, RECORD_ROW = 32,
    SUM_AT = 64, HEADER_SUM_AT = 80, LARGEST_INDEX = 256 << 20, LARGEST_HEADER = 100000008,
    LEAST_PAGE = 4096, LARGEST_PAGE = 2 << 20
};

typedef struct {
    char *name;
    in_file in;
    uint64_t data_start;
} shard;

struct pack {
    uint8_t *index;
    uint64_t bytes, page;
    shard *file;
    int64_t n_files;
    pack_layer *layer;
    const uint8_t **layer_row;    // where a layer is described
    int64_t n_layers, n_components;
    uint64_t n_records;
    const uint8_t *components, *records, *strings;
    uint64_t strings_bytes;
    char **suffix;                // [n_components], NUL-terminated
    dtype *type;                  // [n_components]
};

// ---- opening ---------------------------------------------------------------------------------

static bool read_index(pack *p, const char *dir, err *e)
{
    char *text = NULL;
    size_t len = 0;
    xxh128_digest sum;
    if (!file_read_beneath(dir, "experts.idx", LARGEST_INDEX, &text, &len, e))
        return err_in(e, "'%s' is no expert pack", dir);
    p->index = (uint8_t *)text;
    p->bytes = len;
    if (len < HEADER || memcmp(text, "SCRUPLEX", 8) != 0)
        return err_set(e, ERR_INPUT, "experts.idx does not begin with its magic");
    if (load_u32(text + 8) != 1)
        return err_set(e, ERR_INPUT, "experts.idx has version %u; this reader knows 1",
                       load_u32(text + 8));
    xxh128_of(text, HEADER_SUM_AT, &sum);
    if (memcmp(sum.b, text + HEADER_SUM_AT, sizeof sum.b) != 0)
        return err_set(e, ERR_INPUT, "experts.idx: the header does not have its digest");
    if (load_u32(text + 12) != HEADER)
        return err_set(e, ERR_INPUT, "experts.idx says %u bytes of header, version 1 has %d",
                       load_u32(text + 12), HEADER);
    if (load_u64(text + 16) != len)
        return err_set(e, ERR_INPUT, "experts.idx says %llu bytes, the file has %zu",
                       (unsigned long long)load_u64(text + 16), len);
    xxh128_of(text + HEADER, len - HEADER, &sum);
    if (memcmp(sum.b, text + SUM_AT, sizeof sum.b) != 0)
        return err_set(e, ERR_INPUT, "experts.idx: the tables do not have their digest");
    return true;
}

// Where the tables lie follows from their counts; they must fill the file exactly.
static bool place_tables(pack *p, err *e)
{
    const uint8_t *x = p->index;
    p->page = load_u64(x + 24);
    p->n_files = load_u32(x + 32);
    p->n_layers = load_u32(x + 36);
    p->n_components = load_u32(x + 40);
    p->n_records = load_u64(x + 48);
    p->strings_bytes = load_u64(x + 56);
    uint64_t records, at = HEADER;
    bool fits = size_mul(p->n_records, RECORD_ROW, &records) &&
                size_add(at, (uint64_t)p->n_files * FILE_ROW, &at) &&
                size_add(at, (uint64_t)p->n_layers * LAYER_ROW, &at);
    uint64_t components = at;
    fits = fits && size_add(at, (uint64_t)p->n_components * COMPONENT_ROW, &at);
    uint64_t first_record = at;
    fits = fits && size_add(at, records, &at);
    uint64_t strings = at;
    if (!fits || !size_add(at, p->strings_bytes, &at) || at != p->bytes)
        return err_set(e, ERR_INPUT, "experts.idx: its tables do not fill its %llu bytes",
                       (unsigned long long)p->bytes);
    if (p->page < LEAST_PAGE || p->page > LARGEST_PAGE || (p->page & (p->page - 1)) != 0)
        return err_set(e, ERR_INPUT, "experts.idx: page %llu is no power of two from %d to %d",
                       (unsigned long long)p->page, LEAST_PAGE, LARGEST_PAGE);
    p->components = x + components;
    p->records = x + first_record;
    p->strings = x + strings;
    return true;
}

static char *text_at(const pack *p, const uint8_t *place, err *e)
{
    uint64_t at = load_u32(place), n = load_u32(place + 4);
    if (at > p->strings_bytes || n > p->strings_bytes - at || n > 255 ||
        memchr(p->strings + at, 0, n)) {
        err_set(e, ERR_INPUT, "experts.idx: a name lies outside its strings");
        return NULL;
    }
    char *text = mem_new(n + 1, 1, "a name", e);
    if (text)
        memcpy(text, p->strings + at, n);
    return text;
}

// The shard must be the one that was described: its size, and the digest of its header.
static bool open_shard(pack *p, const char *dir, int64_t i, err *e)
{
    const uint8_t *row = p->index + HEADER + i * FILE_ROW;
    shard *f = &p->file[i];
    xxh128_digest sum;
    f->name = text_at(p, row, e);
    if (!f->name || !in_open_beneath(&f->in, dir, f->name, e))
        return false;
    f->data_start = load_u64(row + 16);
    if (f->in.size != load_u64(row + 8))
        return err_set(e, ERR_INPUT, "'%s' has %llu bytes, experts.idx describes one of %llu",
                       f->name, (unsigned long long)f->in.size,
                       (unsigned long long)load_u64(row + 8));
    if (f->data_start == 0 || f->data_start > f->in.size ||
        f->data_start > LARGEST_HEADER + LARGEST_PAGE || f->data_start % p->page != 0)
        return err_set(e, ERR_INPUT, "'%s': data start %llu is not inside the file on a page",
                       f->name, (unsigned long long)f->data_start);
    void *header = mem_new(f->data_start, 1, "a header", e);
    bool ok = header && in_read(&f->in, 0, header, f->data_start, e);
    if (ok) {
        xxh128_of(header, f->data_start, &sum);
        ok = memcmp(sum.b, row + 24, sizeof sum.b) == 0 ||
             err_set(e, ERR_INPUT, "'%s' is not the shard that experts.idx describes: its header "
                     "differs", f->name);
    }
    free(header);
    return ok;
}

// The shape of component i makes its bytes.
static bool has_size(const pack *p, int64_t i)
{
    const uint8_t *c = p->components + i * COMPONENT_ROW;
    uint64_t rank = load_u32(c + 24), rows = load_u64(c + 32), cols = load_u64(c + 40);
    uint64_t elements = rank ? rows : 1, bits;
    return load_u32(c) <= PACK_DOWN && load_u32(c + 4) <= 1 && rank <= 2 &&
           (rank ? rows > 0 && rows <= INT64_MAX : rows == 0) &&
           (rank == 2 ? cols > 0 && cols <= INT64_MAX : cols == 0) &&
           (rank < 2 || size_mul(rows, cols, &elements)) &&
           size_mul(elements, (uint64_t)dtype_bits(p->type[i]), &bits) && bits % 8 == 0 &&
           bits / 8 == load_u64(c + 64);
}

// Component i of every expert must lie where the layout puts it: those of the record one behind the
// other from its start (*inside is where the next one begins), the others behind all records and
// inside the file.
static bool check_component(const pack *p, const uint8_t *layer_row, int64_t i, uint64_t *inside,
                            err *e)
{
    const uint8_t *c = p->components + i * COMPONENT_ROW;
    const shard *f = &p->file[load_u32(layer_row + 4)];
    uint64_t experts = load_u32(layer_row + 8), first = load_u64(layer_row + 32);
    uint64_t record_bytes = load_u64(layer_row + 40);
    uint64_t offset = load_u64(c + 48), stride = load_u64(c + 56), bytes = load_u64(c + 64);
    uint64_t last, end;
    bool ok = true;
    if (!has_size(p, i))
        return err_set(e, ERR_INPUT, "experts.idx: component %lld of layer %u: its projection, "
                       "place, rank and shape do not make its %llu bytes", (long long)i,
                       load_u32(layer_row), (unsigned long long)bytes);
    if (load_u32(c + 4) == 1) {
        ok = (experts == 1 || stride == record_bytes) && offset == first + *inside &&
             bytes <= record_bytes - *inside;
        *inside += ok ? bytes : 0;
    } else {
        // All of the record come first, and fill it.
        ok = *inside == record_bytes && size_mul(stride, experts - 1, &last) &&
             size_add(last, offset, &last) && size_add(last, bytes, &end) && end <= f->in.size &&
             offset >= first + experts * record_bytes;
    }
    return ok || err_set(e, ERR_INPUT, "experts.idx: component %lld of layer %u does not lie where "
                         "it can", (long long)i, load_u32(layer_row));
}

static bool check_layer(pack *p, int64_t i, uint64_t *record, err *e)
{
    const uint8_t *row = p->index + HEADER + p->n_files * FILE_ROW + i * LAYER_ROW;
    uint64_t file = load_u32(row + 4), experts = load_u32(row + 8), n = load_u32(row + 12);
    uint64_t component = load_u32(row + 16), first = load_u64(row + 32);
    uint64_t bytes = load_u64(row + 40), all, end;
    if (file >= (uint64_t)p->n_files || experts == 0 || component > (uint64_t)p->n_components ||
        n > (uint64_t)p->n_components - component || load_u64(row + 24) != *record ||
        experts > p->n_records - *record || !size_mul(bytes, experts, &all) ||
        !size_add(first, all, &end) || end > p->file[file].in.size ||
        first != p->file[file].data_start ||
        (i > 0 && load_u32(row) <= (uint64_t)p->layer[i - 1].layer))
        return err_set(e, ERR_INPUT, "experts.idx: the row of layer %u contradicts the rest",
                       load_u32(row));
    p->layer[i] = (pack_layer){load_u32(row), (int64_t)experts, (int64_t)n, bytes};
    p->layer_row[i] = row;
    for (uint64_t x = 0; x < experts; x++) {
        const uint8_t *r = p->records + (*record + x) * RECORD_ROW;
        if (load_u64(r) != first + x * bytes || load_u64(r + 8) != bytes)
            return err_set(e, ERR_INPUT, "experts.idx: record %llu of layer %u is not contiguous",
                           (unsigned long long)x, load_u32(row));
    }
    *record += experts;
    uint64_t inside = 0;
    for (uint64_t c = component; c < component + n; c++)
        if (!check_component(p, row, (int64_t)c, &inside, e))
            return false;
    return inside == bytes || err_set(e, ERR_INPUT, "experts.idx: the tensors of layer %u have "
                                      "%llu bytes of a record of %llu", load_u32(row),
                                      (unsigned long long)inside, (unsigned long long)bytes);
}

static bool read_names(pack *p, err *e)
{
    for (int64_t i = 0; i < p->n_components; i++) {
        const uint8_t *c = p->components + i * COMPONENT_ROW;
        p->suffix[i] = text_at(p, c + 8, e);
        char *type = p->suffix[i] ? text_at(p, c + 16, e) : NULL;
        bool known = type && dtype_from_name(type, strlen(type), &p->type[i]);
        if (type && !known)
            err_set(e, ERR_INPUT, "experts.idx: '%s' is no element type", type);
        free(type);
        if (!known)
            return false;
    }
    return true;
}

static bool open_all(pack *p, const char *dir, err *e)
{
    if (!read_index(p, dir, e) || !place_tables(p, e))
        return false;
    p->file = mem_new((uint64_t)p->n_files, sizeof *p->file, "shards", e);
    if (!p->file)
        return false;
    for (int64_t i = 0; i < p->n_files; i++)
        p->file[i].in.fd = -1;
    p->layer = mem_new((uint64_t)p->n_layers, sizeof *p->layer, "layers", e);
    p->layer_row = mem_new((uint64_t)p->n_layers, sizeof *p->layer_row, "layers", e);
    p->suffix = mem_new((uint64_t)p->n_components, sizeof *p->suffix, "components", e);
    p->type = mem_new((uint64_t)p->n_components, sizeof *p->type, "components", e);
    if (!p->layer || !p->layer_row || !p->suffix || !p->type || !read_names(p, e))
        return false;
    for (int64_t i = 0; i < p->n_files; i++)
        if (!open_shard(p, dir, i, e))
            return false;
    uint64_t record = 0;
    for (int64_t i = 0; i < p->n_layers; i++)
        if (!check_layer(p, i, &record, e))
            return false;
    return record == p->n_records ||
           err_set(e, ERR_INPUT, "experts.idx: %llu records, its layers have %llu experts",
                   (unsigned long long)p->n_records, (unsigned long long)record);
}

bool pack_open(pack **out, const char *dir, err *e)
{
    *out = NULL;
    pack *p = mem_new(1, sizeof *p, "an expert pack", e);
    if (!p)
        return false;
    if (!open_all(p, dir, e)) {
        pack_close(p);
        return false;
    }
    *out = p;
    return true;
}

void pack_close(pack *p)
{
    if (!p)
        return;
    for (int64_t i = 0; p->file && i < p->n_files; i++) {
        in_close(&p->file[i].in);
        free(p->file[i].name);
    }
    for (int64_t i = 0; p->suffix && i < p->n_components; i++)
        free(p->suffix[i]);
    free(p->file);
    free(p->layer);
    free(p->layer_row);
    free(p->suffix);
    free(p->type);
    free(p->index);
    free(p);
}

// ---- finding ---------------------------------------------------------------------------------

uint64_t pack_page(const pack *p) { return p->page; }

int64_t pack_n_layers(const pack *p) { return p->n_layers; }

const pack_layer *pack_layer_at(const pack *p, int64_t i) { return &p->layer[i]; }

const char *pack_file_name(const pack *p, int file) { return p->file[file].name; }

static const uint8_t *find_row(const pack *p, int64_t layer, int64_t expert, err *e)
{
    int64_t lo = 0, hi = p->n_layers;
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        if (p->layer[mid].layer < layer)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == p->n_layers || p->layer[lo].layer != layer) {
        err_set(e, ERR_INPUT, "layer %lld has no experts in this pack", (long long)layer);
        return NULL;
    }
    if (expert < 0 || expert >= p->layer[lo].n_experts) {
        err_set(e, ERR_INPUT, "layer %lld has experts 0 to %lld, not %lld", (long long)layer,
                (long long)p->layer[lo].n_experts - 1, (long long)expert);
        return NULL;
    }
    return p->layer_row[lo];
}

bool pack_find(const pack *p, int64_t layer, int64_t expert, pack_record *out, err *e)
{
    *out = (pack_record){0};
    const uint8_t *row = find_row(p, layer, expert, e);
    if (!row)
        return false;
    const uint8_t *r = p->records + (load_u64(row + 24) + (uint64_t)expert) * RECORD_ROW;
    out->file = (int)load_u32(row + 4);
    out->offset = load_u64(r);
    out->bytes = load_u64(r + 8);
    memcpy(out->digest.b, r + 16, sizeof out->digest.b);
    return true;
}

bool pack_component_at(const pack *p, int64_t layer, int64_t expert, int64_t i,
                       pack_component *out, err *e)
{
    *out = (pack_component){0};
    const uint8_t *row = find_row(p, layer, expert, e);
    if (!row)
        return false;
    if (i < 0 || i >= (int64_t)load_u32(row + 12))
        return err_set(e, ERR_INPUT, "layer %lld: experts have %u tensors, there is no %lld",
                       (long long)layer, load_u32(row + 12), (long long)i);
    int64_t index = (int64_t)load_u32(row + 16) + i;
    const uint8_t *c = p->components + index * COMPONENT_ROW;
    out->projection = (pack_projection)load_u32(c);
    out->in_record = load_u32(c + 4) == 1;
    out->suffix = p->suffix[index];
    out->type = p->type[index];
    out->rank = (int)load_u32(c + 24);
    out->shape[0] = (int64_t)load_u64(c + 32);
    out->shape[1] = (int64_t)load_u64(c + 40);
    out->file = (int)load_u32(row + 4);
    out->offset = load_u64(c + 48) + (uint64_t)expert * load_u64(c + 56);
    out->bytes = load_u64(c + 64);
    return true;
}

// ---- bytes -----------------------------------------------------------------------------------

bool pack_read(const pack *p, const pack_record *r, void *to, err *e)
{
    return in_read(&p->file[r->file].in, r->offset, to, r->bytes, e);
}

bool pack_read_component(const pack *p, const pack_component *c, void *to, err *e)
{
    return in_read(&p->file[c->file].in, c->offset, to, c->bytes, e);
}

bool pack_verify(const pack *p, const pack_record *r, const void *bytes, err *e)
{
    xxh128_digest sum;
    xxh128_of(bytes, r->bytes, &sum);
    if (memcmp(sum.b, r->digest.b, sizeof sum.b) == 0)
        return true;
    return err_set(e, ERR_INPUT, "'%s': the record at %llu does not have its digest",
                   p->file[r->file].name, (unsigned long long)r->offset);
}

bool pack_map(const pack *p, const pack_record *r, pack_window *out, err *e)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), begin = r->offset / page * page;
    *out = (pack_window){0};
    uint64_t bytes = r->offset + r->bytes - begin;
    void *map = mmap(NULL, bytes ? bytes : 1, PROT_READ, MAP_SHARED, p->file[r->file].in.fd,
                     (off_t)begin);
    if (map == MAP_FAILED)
        return err_sys(e, "cannot map '%s'", p->file[r->file].name);
    out->map = map;
    out->map_bytes = bytes ? bytes : 1;
    out->bytes = (const uint8_t *)map + (r->offset - begin);
    return true;
}

void pack_unmap(pack_window *w)
{
    if (w->map)
        (void)munmap(w->map, w->map_bytes);
    *w = (pack_window){0};
}

void pack_prefetch(const pack *p, const pack_record *r)
{
    (void)posix_fadvise(p->file[r->file].in.fd, (off_t)r->offset, (off_t)r->bytes,
                        POSIX_FADV_WILLNEED);
}
