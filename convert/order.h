// SPDX-License-Identifier: Apache-2.0
// What a user asked of `convert` or `quantize`, as far as it decides bytes: filled in from options
// or from a plan file, written into scruple.json and into plan files. Holds no paths, threads or
// memory. Refuses what it does not know.
#ifndef SCRUPLE_CONVERT_ORDER_H
#define SCRUPLE_CONVERT_ORDER_H

#include "base/json.h"
#include "convert/plan.h"

typedef struct {
    bool quantize;          // the command; else convert
    plan_options plan;      // its `recipe` is not used: whoever makes a plan sets it (order_write)
    encode_options encode;
    bool allow_lossy;       // convert: values may change
    bool weighted;          // with statistics,
    sha256_digest statistics; // which are in a file of this digest
} order;

#define ORDER_DEFAULTS {.plan = PLAN_DEFAULTS, .encode = ENCODE_DEFAULTS}

extern const char *const order_forms[];    // of convert --to; NULL at the end
extern const char *const order_scopes[];   // of quantize
extern const char *const order_searches[];
extern const char *const order_layouts[];  // in the order of plan_layout

const char *order_command(const order *o); // "quantize"
bool order_needs_model(const order *o);    // roles are needed (all but --to safetensors)
// convert --to FORM, in any case; ERR_USAGE with the nearest.
MUST_USE bool order_set_form(order *o, const char *form, err *e);
// The object that scruple.json has under "options", on one line.
void order_write(const order *o, json_writer *w, const char *key);
// Reads what order_write wrote, and nothing else: ERR_INPUT.
MUST_USE bool order_parse(order *o, const char *command, const json *options, err *e);

#endif
