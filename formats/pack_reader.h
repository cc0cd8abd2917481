// SPDX-License-Identifier: Apache-2.0
// Reads expert packs (docs/expert-pack.md), for engines that stream experts. Needs only base/ and
// itself. experts.idx is read and checked at open, against itself and against the shards' sizes and
// headers; then finding an expert is arithmetic, and its bytes are one read or one map window.
// Decodes nothing and writes nothing. All functions but open and close are thread-safe.
#ifndef SCRUPLE_FORMATS_PACK_READER_H
#define SCRUPLE_FORMATS_PACK_READER_H

#include "base/dtype.h"
#include "base/hash.h"

typedef enum { PACK_GATE, PACK_UP, PACK_DOWN } pack_projection;

typedef struct pack pack;

// One MoE layer.
typedef struct {
    int64_t layer;          // as the model counts
    int64_t n_experts;
    int64_t n_components;   // tensors an expert
    uint64_t record_bytes;
} pack_layer;

// One expert's contiguous bytes: gate, up, down, each with the scales that follow its rows.
typedef struct {
    int file;
    uint64_t offset, bytes; // in that file
    xxh128_digest digest;   // XXH3-128 of the bytes
} pack_record;

// One tensor of one expert, in its record or in the shard's tail.
typedef struct {
    pack_projection projection;
    const char *suffix;     // "weight_packed"; lives as long as the pack
    dtype type;
    int rank;               // 1 or 2
    int64_t shape[2];
    bool in_record;
    int file;
    uint64_t offset, bytes; // absolute in the file
} pack_component;

// A window of a shard in memory.
typedef struct {
    const void *bytes;      // the record's first byte
    void *map;              // page-aligned start, for pack_unmap
    uint64_t map_bytes;
} pack_window;

// dir holds experts.idx and the shards it names. ERR_INPUT where there is none, where it is corrupt
// or where a shard is not the one it describes (size, header).
MUST_USE bool pack_open(pack **out, const char *dir, err *e);
void pack_close(pack *p); // NULL is fine; windows must be gone before

uint64_t pack_page(const pack *p);               // alignment of record 0 of each shard
int64_t pack_n_layers(const pack *p);
const pack_layer *pack_layer_at(const pack *p, int64_t i);  // ascending layers
const char *pack_file_name(const pack *p, int file);
// ERR_INPUT for a layer that is no MoE layer or an expert that it does not have.
MUST_USE bool pack_find(const pack *p, int64_t layer, int64_t expert, pack_record *out, err *e);
// Component i (0 .. n_components-1) of an expert: those of the record first, in their order.
MUST_USE bool pack_component_at(const pack *p, int64_t layer, int64_t expert, int64_t i,
                                pack_component *out, err *e);
// The record into the caller's buffer of r->bytes.
MUST_USE bool pack_read(const pack *p, const pack_record *r, void *to, err *e);
// A component's bytes into the caller's buffer of c->bytes.
MUST_USE bool pack_read_component(const pack *p, const pack_component *c, void *to, err *e);
// ERR_INPUT where the bytes of a record do not have its digest.
MUST_USE bool pack_verify(const pack *p, const pack_record *r, const void *bytes, err *e);
// Maps the pages that hold the record, read-only. A file that is cut short while mapped raises
// SIGBUS on access: map only packs that nobody changes.
MUST_USE bool pack_map(const pack *p, const pack_record *r, pack_window *out, err *e);
void pack_unmap(pack_window *w);
// Tells the system that the record will be wanted soon; a hint that never fails.
void pack_prefetch(const pack *p, const pack_record *r);

#endif
