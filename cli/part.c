// SPDX-License-Identifier: Apache-2.0
#include "cli/part.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "convert/units.h"

// ---- numbers ---------------------------------------------------------------------------------

static bool number_in(const char *text, size_t len, int64_t *value)
{
    enum { LONGEST = 9 };
    char digits[LONGEST + 1] = {0};
    uint64_t n;
    if (len == 0 || len > LONGEST)
        return false;
    memcpy(digits, text, len);
    if (!str_to_u64(digits, INT32_MAX, &n))
        return false;
    *value = (int64_t)n;
    return true;
}

// The number in a variable. *there = false where it is not set, or where SGE calls it "undefined".
static bool variable(const char *name, bool *there, int64_t *value, err *e)
{
    const char *text = getenv(name);
    *there = text && *text && strcmp(text, "undefined") != 0;
    return !*there || number_in(text, strlen(text), value) ||
           err_set(e, ERR_USAGE, "%s is '%s', which is no number from 0 on", name, text);
}

static bool needed(const char *name, const char *beside, int64_t *value, err *e)
{
    bool there;
    if (!variable(name, &there, value, e))
        return false;
    return there || err_set(e, ERR_USAGE, "%s is set and %s is not; say how many parts there are "
                            "with --parts N", beside, name);
}

// ---- the schedulers --------------------------------------------------------------------------

typedef struct {
    const char *id;    // its variable
    bool from_zero;    // ids are indices
    const char *first, *last, *step, *count; // variables of the whole array, NULL: there is none
} scheduler;

static const scheduler schedulers[] = {
    {.id = "SLURM_ARRAY_TASK_ID", .first = "SLURM_ARRAY_TASK_MIN", .last = "SLURM_ARRAY_TASK_MAX",
     .step = "SLURM_ARRAY_TASK_STEP", .count = "SLURM_ARRAY_TASK_COUNT"},
    {.id = "JOB_COMPLETION_INDEX", .from_zero = true},
    {.id = "AWS_BATCH_JOB_ARRAY_INDEX", .from_zero = true, .count = "AWS_BATCH_JOB_ARRAY_SIZE"},
    {.id = "PBS_ARRAY_INDEX"},
    {.id = "PBS_ARRAYID"},
    {.id = "SGE_TASK_ID", .first = "SGE_TASK_FIRST", .last = "SGE_TASK_LAST",
     .step = "SGE_TASK_STEPSIZE"},
};

// Of an array with a first id and a step: which of its tasks this one is, and how many there are.
static bool from_range(const scheduler *s, int64_t id, int64_t *part, int64_t *of, err *e)
{
    int64_t first, last, step = 1, count = 0;
    bool there;
    if (!needed(s->first, s->id, &first, e) || !needed(s->last, s->id, &last, e) ||
        !variable(s->step, &there, &step, e) || (s->count && !needed(s->count, s->id, &count, e)))
        return false;
    bool even = step > 0 && first <= id && id <= last && (id - first) % step == 0;
    int64_t tasks = even ? (last - first) / step + 1 : 0;
    if (!even || (s->count && count != tasks))
        return err_set(e, ERR_USAGE, "%s is %lld in an array from %lld to %lld%s, which is not one "
                       "even row of tasks; with --parts N the id is the part", s->id,
                       (long long)id, (long long)first, (long long)last,
                       s->count ? " of another number of tasks" : "");
    *part = (id - first) / step + 1;
    *of = tasks;
    return true;
}

static bool from_scheduler(const scheduler *s, int64_t id, int64_t parts, int64_t *part,
                           int64_t *of, err *e)
{
    if (!parts && s->first)
        return from_range(s, id, part, of, e);
    *part = id + s->from_zero;
    *of = parts;
    if (!parts && !s->count)
        return err_set(e, ERR_USAGE, "%s is set, but nothing says how many parts there are; give "
                       "--parts N", s->id);
    if (!parts && !needed(s->count, s->id, of, e))
        return false;
    return (*part >= 1 && *part <= *of) ||
           err_set(e, ERR_USAGE, "%s is %lld, but the parts of %lld have the ids %d to %lld", s->id,
                   (long long)id, (long long)*of, s->from_zero ? 0 : 1,
                   (long long)*of - s->from_zero);
}

static bool from_environment(int64_t parts, int64_t *part, int64_t *of, err *e)
{
    const scheduler *found = NULL;
    int64_t id = 0;
    for (size_t i = 0; i < COUNT_OF(schedulers); i++) {
        bool there;
        int64_t value = 0;
        if (!variable(schedulers[i].id, &there, &value, e))
            return false;
        if (there && found)
            return err_set(e, ERR_USAGE, "both %s and %s are set; name the part with --part i/N",
                           found->id, schedulers[i].id);
        if (there) {
            found = &schedulers[i];
            id = value;
        }
    }
    if (found)
        return from_scheduler(found, id, parts, part, of, e);
    return err_set(e, ERR_USAGE, "--part auto finds no task of an array: none of SLURM_ARRAY_TASK_"
                   "ID, JOB_COMPLETION_INDEX, AWS_BATCH_JOB_ARRAY_INDEX, PBS_ARRAY_INDEX, "
                   "PBS_ARRAYID and SGE_TASK_ID is set");
}

// ---- the option ------------------------------------------------------------------------------

static bool from_text(const char *text, int64_t *part, int64_t *of)
{
    const char *slash = strchr(text, '/');
    return slash && number_in(text, (size_t)(slash - text), part) &&
           number_in(slash + 1, strlen(slash + 1), of) && *part >= 1 && *part <= *of;
}

bool part_choose(const char *text, int64_t parts, int64_t *part, int64_t *of, err *e)
{
    *part = *of = 0;
    if (str_same_nocase(text, "auto")) {
        if (!from_environment(parts, part, of, e))
            return false;
    } else if (!from_text(text, part, of)) {
        return err_set(e, ERR_USAGE, "--part is 'auto' or i/N with i from 1 to N, not '%s'", text);
    } else if (parts && parts != *of) {
        return err_set(e, ERR_USAGE, "--part %s and --parts %lld contradict each other", text,
                       (long long)parts);
    }
    return *of <= UNITS_MOST_PARTS ||
           err_set(e, ERR_USAGE, "%lld parts are too many, the limit is %d", (long long)*of,
                   UNITS_MOST_PARTS);
}
