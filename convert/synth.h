// SPDX-License-Identifier: Apache-2.0
// Synthetic checkpoints of any family: the names and shapes that its table binds, seeded numbers,
// shards as the official writer leaves them. Any size, down to a few megabytes for CI and up to
// terabytes of holes for planning. The same options give the same bytes on every machine and any
// number of threads. The numbers mean nothing: no tokenizer is written.
#ifndef SCRUPLE_CONVERT_SYNTH_H
#define SCRUPLE_CONVERT_SYNTH_H

#include "base/event.h"
#include "base/pool.h"
#include "formats/model.h"
#include "quantize/codec.h"

typedef struct {
    const char *family;       // "deepseek_v3"
    bool published;           // the sizes of the published model, else small ones
    const codec *type;        // bf16 or fp8-block; NULL: as its maker publishes it
    int64_t layers, experts;  // 0: as the sizes say
    uint64_t size;            // 0, or: as many experts as make about so many bytes of tensors
    const char *const *set;   // "KEY=JSON" for config.json
    uint64_t n_set;
    uint64_t seed;
    uint64_t shard_bytes;     // a shard is cut before its tensors pass it
    bool sparse;              // holes in the place of numbers
} synth_options;

#define SYNTH_DEFAULTS {.shard_bytes = 5000000000u}

typedef struct synth synth;

typedef struct {
    const arch *arch;         // borrowed
    const char *type;         // codec of the matrices that get it
    int64_t n_tensors, n_files;
    uint64_t tensor_bytes, file_bytes;
} synth_facts;

// What there will be: config, tensors, shards. ERR_USAGE for options that make no model.
MUST_USE bool synth_plan(synth **out, const synth_options *o, err *e);
void synth_free(synth *s); // NULL is fine
synth_facts synth_tell(const synth *s);

// Writes it into `dir`, which is absent or empty, or, with `replace`, holds nothing but an earlier
// synthetic checkpoint (else ERR_ENV). Shards, index, config.json, in this order. A run that fails
// or is stopped removes what it wrote. Buffers take `memory` at most, and SYNTH_LEAST at least.
enum { SYNTH_LEAST = 8 << 20 };
MUST_USE bool synth_write(const synth *s, const char *dir, bool replace, pool *p, uint64_t memory,
                          const events *v, err *e);

#endif
