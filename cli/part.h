// SPDX-License-Identifier: Apache-2.0
// Which part of a plan a task of a job array is to make: --part i/N as it is written, or what the
// scheduler says in the environment. Guesses nothing: what is contradictory or missing is refused
// with what was looked at.
#ifndef SCRUPLE_CLI_PART_H
#define SCRUPLE_CLI_PART_H

#include "base/err.h"

// "2/8", "auto"; `parts` is --parts, 0 where it was not given. ERR_USAGE.
//
// auto, by the variables of              the part                      of how many
//   Slurm      SLURM_ARRAY_TASK_ID       (ID - _MIN) / _STEP + 1       _COUNT
//   SGE        SGE_TASK_ID               (ID - _FIRST) / _STEPSIZE + 1 up to _LAST
//   Kubernetes JOB_COMPLETION_INDEX      index + 1                     --parts
//   AWS Batch  AWS_BATCH_JOB_ARRAY_INDEX index + 1                     ..._ARRAY_SIZE
//   PBS        PBS_ARRAY_INDEX, PBS_ARRAYID  ID                        --parts
//
// With --parts the id of Slurm, SGE and PBS is the part itself, whichever tasks the array has: that
// is how some parts are submitted again.
MUST_USE bool part_choose(const char *text, int64_t parts, int64_t *part, int64_t *of, err *e);

#endif
