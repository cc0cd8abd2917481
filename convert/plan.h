// SPDX-License-Identifier: Apache-2.0
// A plan fixes every byte's address before work starts: which output tensor, from which source
// tensor or weight, by which codec, at which offset of which file. It is a pure function of the
// source's headers and the options; its digest names the run. Makes nothing and writes nothing:
// run.h carries it out. Stacked experts come out one by one (quantize, packs, whenever any of them
// is coded), or their stacks are moved whole; a codec that is `stacked` puts experts into stacks,
// whose tensors many weights fill (plan_stack.h).
#ifndef SCRUPLE_CONVERT_PLAN_H
#define SCRUPLE_CONVERT_PLAN_H

#include "base/hash.h"
#include "convert/recipe.h"
#include "formats/model.h"
#include "formats/pack_index.h"

enum { PLAN_LEAST_PAGE = 4096, PLAN_LARGEST_PAGE = 2 << 20, PLAN_LEAST_ALIGNMENT = 8 };
#define PLAN_SHARD_BYTES 5000000000u
typedef enum { LAYOUT_PLAIN, LAYOUT_EXPERTS, LAYOUT_GGUF } plan_layout;
typedef enum {
    SCOPE_NONE,
    SCOPE_EXPERTS,    // the routed experts' matrices
    SCOPE_ALL_LINEAR, // these, attention, shared experts and dense layers (role_is_linear)
    SCOPE_MATRICES,   // every matrix that is bound to a role; vectors stay as they are. Without a
                      // model: every tensor of floats with two dimensions or more, and all blocks
    SCOPE_STORED      // of these all that are stored in codes
} plan_scope;

typedef struct {
    plan_layout layout;
    plan_scope scope;          // which weights are coded if no rule below decides; all others are
                               // moved as they are
    const codec *codec;        // of the weights in scope; NULL with SCOPE_NONE
    const codec *fallback;     // where the codec's group does not divide the columns; may be NULL
    uint64_t page;             // data start of expert shards: a power of two, 4 KiB to 2 MiB
    uint64_t shard_bytes;      // plain shards and resident parts are cut before their tensors
                               // pass this size, never inside a module,
    int64_t shard_tensors;     // or this number; 0: any
    uint64_t alignment;        // of tensors in a GGUF, a power of two from 8 to 2^24; 0: the
                               // source's, or the format's own
    const char *recipe;        // what else decides bytes (layout, statistics' digest): goes
                               // into the digest as it is
    const recipe *rules;       // ordered, before the scope; NULL: none
    codec_search search;       // of coded weights whose rule says nothing else
    bool positive_scales;
    bool exact;                // coded weights are moved into the codec block by block
                               // (transcode.h): convert
    bool lossy;                // with exact: blocks that it does not hold are encoded
} plan_options;

#define PLAN_DEFAULTS {LAYOUT_PLAIN, SCOPE_NONE, NULL, NULL, 16384, PLAN_SHARD_BYTES, \
                       0, 0, "", NULL, SEARCH_BEST, false, false, false}

// A tensor of the output that a part of all the experts of a layer fills: expert after expert, and
// of each in turns a row of every weight that shares it (gate and up).
typedef struct {
    tensor to;                 // as the file's header has it
    int64_t n;                 // of the plan_tensors that are its pieces; they stand one behind the
                               // other, by experts and then by turns
    int turns;                 // weights whose rows take turns; 1: none do
    uint64_t row;              // bytes of a row of one of them
} plan_stack;

typedef struct {
    const tensor *from;        // moved: the source tensor; NULL where coded
    const weight *source;      // coded, cut from a stack or put into one: the source weight,
    bool cut;                  //   moved as it is, but for being cut or put into a stack,
    const codec *codec;        //   what it becomes,
    codec_search search;       //   how its scales are found,
    bool positive_scales;
    bool exact;                //   or that it is moved into it block by block,
    int part;                  //   and which part of that this tensor is
    bool owned;                // bound to a role; the three below are its
    role role;
    int64_t layer, expert;     // -1 where it has none
    bool starts;               // coded or cut: the first of its weight's parts in its file,
    bool opens;                //   and the first weight of it that is read from these tensors
    plan_stack *stack;         // that it is a piece of, and
    int64_t piece;             //   which; NULL: it is a tensor of the output itself
    tensor to;                 // name, type, shape, bytes, offset in its file. Of a piece what it
                               // would be alone, and where its first row is
} plan_tensor;

typedef struct {
    const char *name;
    int64_t first, n;          // its tensors, in data order
    strbuf header;             // all bytes in front of the data
    uint64_t bytes;            // the whole file
    bool is_gguf;              // else safetensors
    bool holds_experts;        // an expert shard; `records` describes it
    pack_index_layer records;  // digest is NULL: the run computes it
} plan_file;

typedef struct {
    plan_options options;
    const checkpoint *source;
    const model *model;        // NULL where the plan needs no roles
    plan_tensor *tensor;
    int64_t n_tensors;
    int64_t n_written;         // of these tensors of the output: pieces of a stack count as one
    plan_file *file;
    int64_t n_files;
    uint64_t tensor_bytes, expert_bytes; // of all tensors; of the routed experts'
    sha256_digest id;
    arena names;
} plan;

// model may be NULL with LAYOUT_PLAIN or _GGUF, SCOPE_NONE, _MATRICES or _STORED and no rules.
// ERR_INPUT for what the codec or the layout cannot hold and for rules that decide nothing,
// ERR_USAGE for a page, an alignment or a shard size that is none. Source, model and rules outlive
// the plan.
MUST_USE bool plan_make(plan *out, const checkpoint *source, const model *m, const plan_options *o,
                        err *e);
void plan_free(plan *p);
// The type that part t->part of a coded weight is written in.
dtype plan_part_type(const plan_tensor *t);
// The weight that a tensor is a part of, of a moved stack the first one; NULL: of none.
const weight *plan_weight(const plan *p, const plan_tensor *t);
// The tensor of the output that it is, or is a piece of; and whether it is the first piece of that.
static inline const tensor *plan_written(const plan_tensor *t)
{
    return t->stack ? &t->stack->to : &t->to;
}
static inline bool plan_heads(const plan_tensor *t) { return !t->stack || t->piece == 0; }
int64_t plan_count_written(const plan_tensor *t, int64_t n); // tensors of the output
// Bytes of encoded parts that go out with it: pieces whose rows take turns go with the last one.
uint64_t plan_goes_out(const plan_tensor *t);
// Bytes of the largest set of encoded parts that wait for their place at one time.
uint64_t plan_held_bytes(const plan *p);

#endif
