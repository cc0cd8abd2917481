// SPDX-License-Identifier: Apache-2.0
// What each type would cost on the weights of a model: weights are encoded by both searches,
// decoded again and compared. Writes nothing. Numbers for who chooses a type, and the measure of
// what the searches promise: best leaves no weight with a larger error than compat.
#ifndef SCRUPLE_CONVERT_SURVEY_H
#define SCRUPLE_CONVERT_SURVEY_H

#include "base/pool.h"
#include "convert/weighing.h"

typedef struct {
    const model *model;
    plan_scope scope;                    // SCOPE_EXPERTS or SCOPE_ALL_LINEAR
    int64_t most;                        // weights at most, evenly spread; 0: all
    weighing *importance;                // weights of the squared error, its model is this one;
                                         // NULL: all 1
    pool *pool;
    uint64_t memory;                     // ceiling
    const events *events;                // told of "weights"
} survey_options;

// A type. Sums over the elements of all weights that it can hold: importance x (difference)^2
// [by codec_search; a type that is not searched has SEARCH_BEST's only], importance x value^2.
typedef struct {
    const codec *codec;
    bool searched;
    double error[2], power;
    int64_t n_weights, n_skipped;        // skipped: the group does not divide their columns
    uint64_t elements, bytes;            // of these weights; encoded, with all companions
    int64_t n_worse;                     // weights that best leaves with more error than compat
    const weight *worst;                 // the largest ratio best / compat; NULL: not searched, or
    double worst_ratio;                  //   compat's error is 0 in every weight
} survey_row;

typedef struct {
    survey_row *row;                     // [n], in the order of the codecs given
    int64_t n;
    int64_t n_weights, n_in_scope;
} survey;

// Each of the n codecs can encode. Neither threads nor memory change the result. ERR_INPUT for a
// weight with values that are not finite and for a scope that is empty, ERR_ENV where `memory` does
// not hold the largest weight, naming the smallest ceiling that does.
MUST_USE bool survey_weights(survey *out, const codec *const *codecs, int64_t n,
                             const survey_options *o, err *e);
void survey_free(survey *s);

#endif
