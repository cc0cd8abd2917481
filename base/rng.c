// SPDX-License-Identifier: Apache-2.0
// xoshiro256** and splitmix64 as Blackman and Vigna define them (prng.di.unimi.it).
#include "base/rng.h"

#include "base/num.h"

#define GOLDEN 0x9e3779b97f4a7c15u

static uint64_t mixed(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t splitmix64(uint64_t *state) { return mixed(*state += GOLDEN); }

uint64_t rng_at(uint64_t key, uint64_t i) { return mixed(key + (i + 1) * GOLDEN); }

static uint64_t rotate_left(uint64_t x, int k) { return x << k | x >> (64 - k); }

void rng_seed(rng *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++)
        r->s[i] = splitmix64(&seed);
}

uint64_t rng_u64(rng *r)
{
    uint64_t *s = r->s;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

uint64_t rng_below(rng *r, uint64_t n)
{
    uint64_t excess = -n % n; // 2^64 mod n: so many values would favour the low results
    uint64_t x;
    do
        x = rng_u64(r);
    while (x < excess);
    return x % n;
}

double rng_unit(rng *r) { return (double)(rng_u64(r) >> 11) * 0x1p-53; }

// Marsaglia's polar method; the second value of each pair is dropped, so that the state is the
// whole of what a stream depends on.
double rng_normal(rng *r)
{
    double u, v, q;
    do {
        u = 2 * rng_unit(r) - 1;
        v = 2 * rng_unit(r) - 1;
        q = u * u + v * v;
    } while (q >= 1 || q == 0);
    return u * num_sqrt(-2 * num_log(q) / q);
}
