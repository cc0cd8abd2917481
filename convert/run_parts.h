// SPDX-License-Identifier: Apache-2.0
// The inside of run.h, for its own files only: how a run cuts its memory (run_budget.c), in which
// order it reads the source (run_walk.c), where encoded parts wait (run_hold.c), how a weight is
// coded (run_code.c), how stacks are put together (run_place.c), how what went to the file is
// proven (run_proof.c), what later runs are told (run_note.c).
#ifndef SCRUPLE_CONVERT_RUN_PARTS_H
#define SCRUPLE_CONVERT_RUN_PARTS_H

#include "base/spill.h"
#include "base/stream.h"
#include "convert/run.h"

// ---- budget ----------------------------------------------------------------------------------

typedef struct {
    uint64_t stream, ring;  // read ahead, written behind
    uint64_t batch;         // stored and encoded rows of one weight
    uint64_t held;          // encoded parts that wait in memory; more goes to scratch on disk
    uint64_t worker;        // decoded rows of one thread
    uint64_t slice;         // of a stack whose weights lie among each other; the last bytes of it
    uint64_t slice_vector;  //   from here on are for one of vectors
} run_sizes;

// ERR_ENV as run_fits. `begun`: what that has counted as to come is there by now.
MUST_USE bool run_sizes_of(const plan *p, int threads, uint64_t memory, bool begun, run_sizes *out,
                           uint64_t *needed, err *e);
int64_t run_chunk_rows(const plan_tensor *t);                 // that one thread takes at a time
int64_t run_batch_rows(const plan_tensor *t, uint64_t batch); // that are read together
// Of a batch: stored bytes of all parts of the source, and of the encoded ones; each part begins
// on a multiple of 64.
uint64_t run_stored_bytes(const plan_tensor *t, int64_t rows);
uint64_t run_encoded_bytes(const plan_tensor *t, int64_t rows);
uint64_t run_across_bytes(const plan_tensor *t); // of these the encoded parts across: all rows
// Of a batch that is moved block by block there is a run_loss a row behind the encoded bytes, so
// that sums do not depend on how rows are cut.
uint64_t run_loss_bytes(const plan_tensor *t, int64_t rows);
// Of the slice that a weight lies in, where it is read whole (slice_take); else 0.
uint64_t run_slice_bytes(const weight *w);

// ---- order of reading ------------------------------------------------------------------------

// All bytes that the units of a slice need, in the order in which the run takes them: for each
// tensor of a unit that is moved its bytes, for each weight at its starting part batch after batch
// the rows of its stored parts. Of a weight that lies among others in a slice of a stack the whole
// slice, unless it was the last one of its kind that was read in the unit.
typedef struct {
    const plan *plan;
    const bool *resumed;    // units to leave out
    uint64_t batch;
    int64_t file, end_file, tensor, row;
    int part;
    const weight *slice[2]; // whose slices were read last: of matrices, of vectors
} source_walk;

void walk_begin(source_walk *w, const plan *p, const bool *resumed, run_slice slice,
                uint64_t batch);
bool walk_next(void *walk, stream_range *out, bool *end, err *e); // a stream_ranges
// Its source tensors in that order, each once: calls `fn` until it says false.
bool unit_sources(const plan *p, int64_t file, bool (*fn)(void *ctx, const tensor *t), void *ctx);

// ---- whole files of the source ---------------------------------------------------------------

typedef struct {
    sha256 *sha;            // NULL: nobody asks, or it is not read in order
    const in_file *file;
    uint64_t at, most_padding;
} file_sum;

// For the files that `x` (may be NULL) knows; *out is NULL where there are none.
MUST_USE bool sums_open(file_sum **out, const checkpoint *c, const struct expected *x, err *e);
// Bytes that were read; any others than the next ones of the file end its digest. What pads a
// GGUF's tensors in between is read here.
void sums_bytes(file_sum *sums, int file, uint64_t offset, const void *bytes, uint64_t n);
void sums_end(file_sum *sums, const checkpoint *c, run_result *r);
void sums_close(file_sum *sums, const checkpoint *c);

// ---- stacks ----------------------------------------------------------------------------------

// The digest of a stack of which a unit reads slice after slice. What is read twice, or in another
// order, has none.
typedef struct {
    const tensor *tensor;
    xxh128 *sum;            // NULL: none
    uint64_t at;
} stack_sum;

typedef struct {
    const weight *of;       // NULL: nobody's
    const void *part[CODEC_MAX_PARTS];
} held_slice;

typedef struct {
    stack_sum *sum;         // [n]
    uint64_t n, cap;
    held_slice held[2];     // of a matrix, of a vector: a layer's biases lie between its matrices
    unsigned char *memory;  // [run_sizes.slice], the vector's from run_sizes.slice_vector on
} stacks;

// Whether both lie in one slice of the same tensors.
bool slice_is_shared(const weight *a, const weight *b);
// Which of the two slices that are held is of the weight's kind.
static inline int slice_kind(const weight *w) { return w->rank == 1; }
// Where the next bytes of a stack's digest go; *to is NULL where it has none.
MUST_USE bool stack_sum_at(stacks *s, const tensor *t, uint64_t offset, uint64_t n, xxh128 **to,
                           err *e);
// Behind a unit: digests of those stacks that it read from front to end.
void stacks_end_unit(stacks *s, const checkpoint *c, run_result *r); // r NULL: it failed

// ---- held parts ------------------------------------------------------------------------------

typedef struct {
    const weight *source;   // NULL: a place in scratch that is free again
    int part;
    uint64_t bytes;
    bool spills;            // in the scratch file, from `at` on
    uint64_t at;
    void *memory;           // else
    xxh128_digest digest;   // of what was encoded
} held_part;

typedef struct {
    held_part *part;
    uint64_t n, cap;
    uint64_t limit, in_memory;
    spill spill;
    uint64_t spilled;       // bytes of the scratch file in use
} held_store;

// Bytes that a unit puts into scratch where `limit` bytes may wait in memory.
MUST_USE bool held_overflow(const plan *p, const plan_file *f, uint64_t limit, uint64_t *bytes,
                            err *e);
// For one unit: opens the scratch that it needs in `dir`.
MUST_USE bool held_open(held_store *h, const plan *p, const plan_file *f, uint64_t limit,
                        const char *dir, err *e);
void held_close(held_store *h);
// Room for a part that waits; *index is its place until something is dropped.
MUST_USE bool held_add(held_store *h, const weight *source, int part, uint64_t bytes,
                       uint64_t *index, err *e);
MUST_USE bool held_put(held_store *h, uint64_t index, uint64_t offset, const void *bytes,
                       uint64_t n, err *e);
int64_t held_find(const held_store *h, const weight *source, int part); // -1
MUST_USE bool held_get(const held_store *h, uint64_t index, uint64_t offset, void *to, uint64_t n,
                       err *e);
void held_drop(held_store *h, uint64_t index);

// ---- proof in flight -------------------------------------------------------------------------

typedef struct proof proof;

// `header` is the unit's: what it says of names and places is what is proven.
MUST_USE bool proof_open(proof **out, const plan_file *f, err *e);
void proof_bytes(void *proof_, uint64_t offset, const void *bytes, uint64_t n); // an out_watch
// After all bytes: ERR_INTERNAL where a tensor at its address is not the one whose digest is
// given ([f->n], in the order of the plan's tensors). Record digests go to record[n_experts]. `how`
// the bytes came, for the sentence: "as written", "read back".
MUST_USE bool proof_end(proof *p, const char *how, const plan_tensor *tensors,
                        const xxh128_digest *expected, xxh128_digest *record, err *e);
void proof_close(proof *p);

// ---- notes -----------------------------------------------------------------------------------

// What other runs have to know of a unit that is finished, as JSON text.
MUST_USE bool note_write(const plan *p, int64_t file, const run_result *r, strbuf *out, err *e);
// *known = false where the text is no such note; the result is then as it was.
MUST_USE bool note_read(const plan *p, int64_t file, const char *text, run_result *r, bool *known,
                        err *e);

// ---- the run ---------------------------------------------------------------------------------

typedef struct {
    const plan *plan;
    const run_options *options;
    run_result *result;
    run_sizes sizes;
    stream *in;
    file_sum *sums;
    out_file *file;
    held_store held;
    stacks stacks;
    unsigned char *batch;   // sizes.batch bytes
    unsigned char *values;  // sizes.worker bytes a thread
    uint64_t done, total;   // bytes of tensors in the units of this run, for progress
} runner;

// The next n bytes of tensor `index`.
MUST_USE bool runner_append(runner *r, const void *bytes, uint64_t n, err *e);
// Brings the slice that the weight lies in into memory, where it is read whole.
MUST_USE bool slice_take(runner *r, const weight *w, err *e);
// The scale that all of a weight has by its codec (codec.whole), which weights that runtimes join
// with it have, too.
MUST_USE bool whole_scale(runner *r, const plan_tensor *t, float *scale, err *e);
// Reads, encodes and appends the part that tensor `index` is, in which a weight starts; its other
// parts are held, of a weight in stacks all of them. *sum is the digest of what was appended.
MUST_USE bool code_weight(runner *r, int64_t index, xxh128_digest *sum, err *e);
// Codes the weights that start in the pieces of a stack, the first of which is tensor `index`, and
// appends each expert's when all that take turns in it are there. *sum is the digest of the stack
// as it was put together, of parts that came out of the store as they went in (ERR_INTERNAL).
MUST_USE bool write_stack(runner *r, int64_t index, xxh128_digest *sum, err *e);
uint64_t stack_bytes(const plan_tensor *t); // of the rows that it has in hand, of a piece's stack

#endif
