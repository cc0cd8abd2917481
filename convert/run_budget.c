// SPDX-License-Identifier: Apache-2.0
// How `--memory` is cut. The ceiling counts all of the process: what is resident when the run
// begins (program, libraries, headers) is taken off first, then what every run needs, and the rest
// is shared out by what it buys.
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "convert/run_parts.h"

enum {
    MIB = 1 << 20,
    PROCESS = 24 * MIB,   // program, libraries, stacks; taken where less is resident, so that the
                          // ceiling named does not change from run to run
    SLACK = 6 * MIB,      // threads, blocks of the allocator, what is made before the run begins
    A_RESULT = 56,        // of a tensor: digests and counts of the run,
    A_NOTE = 72,          //   what the journal keeps of a source tensor,
    A_PROOF = 512,        //   the header of a unit, parsed again
    BATCH_MOST = 24 * MIB, // a second's work of one thread at most
    HELD_LEAST = MIB
};

static uint64_t round_up_64(uint64_t n) { return (n + 63) / 64 * 64; }

// ---- rows ------------------------------------------------------------------------------------

// Ranges of rows begin at multiples of both codecs' blocks.
static int64_t quantum_of(const plan_tensor *t)
{
    int64_t a = t->codec->row_quantum, b = weight_quantum(t->source), out = t->source->out;
    int64_t both = i64_lcm(a, b);
    return b >= out || both >= out ? i64_max(i64_ceil_div(out, a), 1) * a : both;
}

// Some 65,000 values: few enough to stay in a second-level cache from decoding to packing and to
// share a weight evenly, many enough not to notice it.
int64_t run_chunk_rows(const plan_tensor *t)
{
    int64_t in = t->source->in, rows = (1 << 16) / (in > 0 ? in : 1);
    rows -= rows % t->codec->row_quantum;
    rows = rows > t->codec->row_quantum ? rows : t->codec->row_quantum;
    return i64_min(rows, t->source->out > 0 ? t->source->out : 1);
}

uint64_t run_stored_bytes(const plan_tensor *t, int64_t rows)
{
    stored_rows s;
    err ignored = ERR_INIT;
    if (!weight_lay_out(&s, t->source, 0, i64_min(rows, t->source->out), &ignored))
        return UINT64_MAX / 4; // more than there ever is
    return s.bytes;
}

uint64_t run_slice_bytes(const weight *w)
{
    uint64_t sum = 0, offset, bytes;
    for (int i = 0; !weight_in_runs(w) && i < w->n_parts; i++) {
        weight_slice_range(w, i, &offset, &bytes);
        sum += round_up_64(bytes);
    }
    return sum;
}

// Parts across are complete with the last rows: there is room for all of them.
static uint64_t encoded_bytes(const plan_tensor *t, int64_t rows, bool across)
{
    uint64_t sum = 0;
    rows = i64_min(rows, t->source->out);
    for (int i = 0; i < codec_written(t->codec); i++)
        if (t->codec->part[i].across == across)
            sum += round_up_64(codec_part_bytes(t->codec, i, across ? t->source->out : rows,
                                                t->source->in));
    return sum;
}

uint64_t run_across_bytes(const plan_tensor *t) { return encoded_bytes(t, 0, true); }

uint64_t run_encoded_bytes(const plan_tensor *t, int64_t rows)
{
    return encoded_bytes(t, rows, false) + encoded_bytes(t, rows, true);
}

uint64_t run_loss_bytes(const plan_tensor *t, int64_t rows)
{
    return t->exact ? round_up_64((uint64_t)i64_min(rows, t->source->out) * sizeof(run_loss)) : 0;
}

static uint64_t batch_bytes(const plan_tensor *t, int64_t rows)
{
    return run_stored_bytes(t, rows) + run_encoded_bytes(t, rows) + run_loss_bytes(t, rows);
}

int64_t run_batch_rows(const plan_tensor *t, uint64_t batch)
{
    int64_t out = t->source->out, quantum = quantum_of(t);
    int64_t most = i64_ceil_div(out, quantum), least = 1;
    while (least < most) { // in quanta
        int64_t middle = least + (most - least + 1) / 2;
        if (batch_bytes(t, middle * quantum) <= batch)
            least = middle;
        else
            most = middle - 1;
    }
    return i64_min(least * quantum, out);
}

// ---- sizes -----------------------------------------------------------------------------------

// Pages of this process that are in memory; 0 where the system does not say.
static uint64_t resident_now(void)
{
    char text[128];
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    (void)close(fd);
    if (n <= 0)
        return 0;
    text[n] = 0;
    char *second;
    (void)strtoull(text, &second, 10);
    return strtoull(second, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}

typedef struct {
    uint64_t process, worker, batch_least, batch_most, held_most;
    uint64_t slice[2]; // of matrices, of vectors
} demands;

static uint64_t most_of(uint64_t a, uint64_t b) { return a > b ? a : b; }
static uint64_t least_of(uint64_t a, uint64_t b) { return a < b ? a : b; }

static demands demands_of(const plan *p, bool begun)
{
    demands d = {.held_most = plan_held_bytes(p)};
    uint64_t header = 0, unit = 0, stack = 0, sources = (uint64_t)checkpoint_count(p->source);
    for (int64_t i = 0; i < p->n_tensors; i++) {
        const plan_tensor *t = &p->tensor[i];
        stack = most_of(stack, t->stack ? stack_bytes(t) : 0);
        if (!t->starts)
            continue;
        // Values, and what the check of exactness decodes; codes and scales before they are packed;
        // the source's scales where blocks are moved, and those of blocks that are encoded.
        uint64_t values = (uint64_t)run_chunk_rows(t) * (uint64_t)t->source->in;
        uint64_t floats = !t->exact ? 2 : p->options.lossy ? 4 : 3;
        bool apart = t->codec->form == CODEC_TOOL || (t->exact && t->codec->form == CODEC_INT);
        uint64_t coded = apart ? values + values / 2 : 0;
        d.worker = most_of(d.worker, round_up_64(values * floats * sizeof(float) + coded));
        uint64_t *slice = &d.slice[slice_kind(t->source)];
        *slice = most_of(*slice, run_slice_bytes(t->source));
        d.batch_least = most_of(d.batch_least, batch_bytes(t, quantum_of(t)));
        d.batch_most = most_of(d.batch_most, batch_bytes(t, t->source->out));
    }
    for (int64_t f = 0; f < p->n_files; f++) {
        header = most_of(header, p->file[f].header.len);
        unit = most_of(unit, (uint64_t)plan_count_written(p->tensor + p->file[f].first,
                                                          p->file[f].n));
    }
    d.process = most_of(resident_now(), PROCESS) + sources * A_NOTE + unit * A_PROOF + header +
                stack;
    if (!begun) // later this is resident
        d.process += SLACK + ((uint64_t)p->n_tensors + sources) * A_RESULT;
    return d;
}

// A bit more than is needed, since no two processes are quite the same.
static bool too_small(uint64_t needed, int threads, uint64_t memory, err *e)
{
    uint64_t enough = (needed + needed / 16 + MIB - 1) / MIB;
    return err_set(e, ERR_ENV, "this run needs %llu MiB with %d threads, --memory allows %llu MiB; "
                   "--memory %lluMiB would do", (unsigned long long)(needed / MIB), threads,
                   (unsigned long long)(memory / MIB), (unsigned long long)enough);
}

bool run_sizes_of(const plan *p, int threads, uint64_t memory, bool begun, run_sizes *out,
                  uint64_t *needed, err *e)
{
    demands d = demands_of(p, begun);
    uint64_t held = least_of(d.held_most, HELD_LEAST);
    *out = (run_sizes){STREAM_LEAST, MIB, d.batch_least, held, d.worker,
                       d.slice[0] + d.slice[1], d.slice[0]};
    uint64_t least = d.process + out->stream + out->ring + out->batch + out->held + out->slice +
                     d.worker * (uint64_t)threads;
    *needed = (least + MIB - 1) / MIB * MIB;
    if (*needed > memory)
        return too_small(*needed, threads, memory, e);
    uint64_t rest = memory - least, batch = least_of(d.batch_most, BATCH_MOST);
    out->stream += least_of(rest / 4, STREAM_ENOUGH - STREAM_LEAST);
    out->ring += least_of(rest / 4, OUT_BEHIND_MOST - MIB);
    out->held += least_of(rest / 8, d.held_most - held);
    out->batch += least_of(rest / 4, batch > out->batch ? batch - out->batch : 0);
    return true;
}

bool run_scratch(const plan *p, run_slice slice, int threads, uint64_t memory, uint64_t *bytes,
                 err *e)
{
    run_sizes sizes;
    uint64_t needed, some;
    *bytes = 0;
    if (!run_sizes_of(p, threads, memory, false, &sizes, &needed, e))
        return false;
    for (int64_t f = slice.first; f < slice.first + slice.n; f++) {
        if (!held_overflow(p, &p->file[f], sizes.held, &some, e))
            return false;
        *bytes = most_of(*bytes, some);
    }
    return true;
}

bool run_fits(const plan *p, int threads, uint64_t memory, uint64_t *needed, err *e)
{
    run_sizes sizes;
    return run_sizes_of(p, threads, memory, false, &sizes, needed, e);
}
