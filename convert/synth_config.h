// SPDX-License-Identifier: Apache-2.0
// Configs of synthetic models: for every family of formats/family.c the published sizes of one of
// its models and small ones of the same architecture, key by key. A family without a row here is a
// failure of tests/convert/test_synth.c.
#ifndef SCRUPLE_CONVERT_SYNTH_CONFIG_H
#define SCRUPLE_CONVERT_SYNTH_CONFIG_H

#include "formats/family.h"

typedef struct {
    const char *key, *small, *published; // JSON; published NULL: as small
} synth_key_row;

// Tensors of a multi-token-prediction layer beside those of an ordinary mixture layer; all plain.
typedef struct {
    role_row row;   // its role says nothing
    int64_t in_times; // columns: so many times the row's dimension
} synth_mtp_row;

typedef struct {
    const char *family;
    const char *model;        // whose sizes the published ones are
    const char *layers_key, *experts_key;
    const char *type;         // how its maker publishes it: a codec's name
    const synth_key_row *key;
    int n_keys;
    const synth_mtp_row *mtp;
    int n_mtp;
} synth_family;

// NULL with ERR_USAGE and the nearest name where there is none.
const synth_family *synth_family_find(const char *name, err *e);

typedef struct {
    bool published;
    bool fp8;                        // declare FP8 blocks of 128 x 128
    int64_t layers, experts;         // 0: as the sizes say
    uint64_t seed;                   // only written down
    const char *const *set;          // "KEY=JSON", the last of a key counts
    uint64_t n_set;
} synth_config_options;

// The text of the config.json. ERR_USAGE for a key that the family's config does not have and for
// a value that is no JSON.
MUST_USE bool synth_config_write(const synth_family *f, const synth_config_options *o, strbuf *out,
                                 err *e);

#endif
