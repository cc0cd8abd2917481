// SPDX-License-Identifier: Apache-2.0
// model.safetensors.index.json: which shard is said to hold which tensor. Hostile until the
// shards' own headers agree with it, name by name, in both directions. Opens no shard; that is
// checkpoint.h's, and so is the question whether a shard's name may be followed.
#ifndef SCRUPLE_FORMATS_SHARDS_H
#define SCRUPLE_FORMATS_SHARDS_H

#include "base/str.h"
#include "formats/safetensors.h"

#define SHARD_INDEX_NAME "model.safetensors.index.json"

enum {
    SHARD_INDEX_MAX_BYTES = 256 << 20,
    SHARD_INDEX_MAX_TENSORS = 4 << 20
};

typedef struct {
    int shard;
    uint32_t name; // where it begins in shard_index's texts
    bool seen;
} shard_entry;

typedef struct {
    const char **shard; // [n_shards], distinct, sorted by their bytes
    int n_shards;
    bool has_total;
    uint64_t total_size; // metadata.total_size, where it is a whole number

    shard_entry *entry;
    int64_t n_entries;
    uint64_t cap_entries;
    strbuf texts;        // the tensors' names, each with its NUL
    name_index names;    // tensor -> entry
    arena a;
} shard_index;

// ERR_INPUT; names twice, a shard that is no .safetensors file or whose name may not be followed,
// and a weight_map that is absent or empty are among it.
MUST_USE bool shard_index_parse(shard_index *x, const char *text, size_t len, err *e);
void shard_index_free(shard_index *x);
// A tensor that shard number `shard` really holds; ERR_INPUT where the index says otherwise.
MUST_USE bool shard_index_meets(shard_index *x, const char *name, int shard, err *e);
// After all shards: ERR_INPUT where the index names a tensor that none of them holds.
MUST_USE bool shard_index_all_met(const shard_index *x, err *e);
// How many tensors the index expects of a shard.
int64_t shard_index_expects(const shard_index *x, int shard);

#endif
