// SPDX-License-Identifier: Apache-2.0
// One door to everything that holds tensors: a safetensors file of any name, a folder with one or
// many shards (index checked in both directions), a Hub cache snapshot, an expert pack, a GGUF file
// or all parts of a split one (given any of them, or a folder whose only tensor files they are).
// Told apart by content. Headers are read and every range is checked at open; no tensor byte is
// loaded. Knows no family and no role; that is model.h. PyTorch files are refused by name.
#ifndef SCRUPLE_FORMATS_CHECKPOINT_H
#define SCRUPLE_FORMATS_CHECKPOINT_H

#include "base/event.h"
#include "base/file.h"
#include "base/hash.h"
#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "formats/tensor.h"

typedef struct checkpoint checkpoint;

// Warns (events) about safetensors files beside that belong to nothing, an index with a wrong
// total_size, files with holes, bytes behind a GGUF's last tensor. One descriptor a shard stays
// open; where the soft limit of the process is too small for them it is raised.
MUST_USE bool checkpoint_open(checkpoint **out, const char *path, const events *events, err *e);
// The same for those that only look: checkpoint_at and _find are not to be asked, checkpoint_get
// is. Costs less than twice a header's size, however many tensors it names.
MUST_USE bool checkpoint_list(checkpoint **out, const char *path, const events *events, err *e);
void checkpoint_close(checkpoint *c); // NULL is fine

const char *checkpoint_path(const checkpoint *c); // as given
bool checkpoint_is_folder(const checkpoint *c);   // and not one file
const char *checkpoint_dir(const checkpoint *c);  // the folder with config.json beside the tensors
int64_t checkpoint_count(const checkpoint *c);
const tensor *checkpoint_at(const checkpoint *c, int64_t i);      // by file, then by offset
void checkpoint_get(const checkpoint *c, int64_t i, tensor *out); // the same, borrowing the name
int64_t checkpoint_index_of(const checkpoint *c, const char *name); // -1
int64_t checkpoint_index(const checkpoint *c, const tensor *t); // of one of its own tensors
const tensor *checkpoint_find(const checkpoint *c, const char *name); // NULL

int checkpoint_n_files(const checkpoint *c);
const char *checkpoint_file_name(const checkpoint *c, int file); // its base name
const in_file *checkpoint_file(const checkpoint *c, int file);
uint64_t checkpoint_data_start(const checkpoint *c, int file); // bytes in front of the tensors'
void checkpoint_file_tensors(const checkpoint *c, int file, int64_t *first, int64_t *n);
const char *checkpoint_metadata(const checkpoint *c, int file, const char *key); // safetensors'
// Of GGUF the (first) file's header, whose key-values are the whole's; else NULL.
const gguf_header *checkpoint_gguf(const checkpoint *c);

// n bytes of a tensor from `offset` inside it. Thread-safe.
MUST_USE bool checkpoint_read(const checkpoint *c, const tensor *t, uint64_t offset, void *to,
                              uint64_t n, err *e);
// Fails (ERR_INPUT) if any file changed since it was opened: to ask after long work.
MUST_USE bool checkpoint_unchanged(const checkpoint *c, err *e);
// Content digest of one tensor of c: XXH3-128 of its bytes, read ahead in 16 MiB.
MUST_USE bool checkpoint_tensor_digest(const checkpoint *c, const tensor *t, xxh128_digest *out,
                                       err *e);
// One digest for the set of tensors, independent of container, file split and order: SHA-256 over
// the lines "name\tdtype\tshape\txxh128\n" in byte order of names, with shapes as "[3,4]". 16 MiB
// of memory and 24 bytes a tensor; progress in "bytes", stops when asked to.
MUST_USE bool checkpoint_digest(const checkpoint *c, const events *events, sha256_digest *out,
                                err *e);
// The same, and every tensor's own digest by its index: each [checkpoint_count], may be NULL.
MUST_USE bool checkpoint_digests(const checkpoint *c, const events *events, xxh128_digest *each,
                                 sha256_digest *out, err *e);
// What checkpoint_digest says of one of the files alone, out of all tensors' own digests,
// each[checkpoint_count]. Reads nothing.
MUST_USE bool checkpoint_file_digest(const checkpoint *c, int file, const xxh128_digest *each,
                                     sha256_digest *out, err *e);

#endif
