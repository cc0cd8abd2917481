// SPDX-License-Identifier: Apache-2.0
// One small seeded generator (xoshiro256**, seeded by splitmix64) for bootstraps, synthetic data,
// and tests. The same stream everywhere. Not for secrets.
#ifndef SCRUPLE_BASE_RNG_H
#define SCRUPLE_BASE_RNG_H

#include "base/base.h"

typedef struct { uint64_t s[4]; } rng;

void rng_seed(rng *r, uint64_t seed);
uint64_t rng_u64(rng *r);
uint64_t rng_below(rng *r, uint64_t n); // uniform in [0, n), n > 0, unbiased
double rng_unit(rng *r);                // [0, 1), 53 bits
double rng_normal(rng *r);              // mean 0, variance 1 (sum of uniforms is not used: polar)

// Number i of the splitmix64 stream that begins at `key`, without the numbers before it: for data
// that many threads make in any order.
uint64_t rng_at(uint64_t key, uint64_t i);

#endif
