// SPDX-License-Identifier: Apache-2.0
// What a user asked of `convert` or `quantize`, as far as it decides bytes: filled in from options
// or from a plan file, written into scruple.json and into plan files. Holds no paths, threads or
// memory. Refuses what it does not know.
#ifndef SCRUPLE_CONVERT_ORDER_H
#define SCRUPLE_CONVERT_ORDER_H

#include "base/json.h"
#include "convert/plan.h"
#include "convert/recipe.h"

typedef struct {
    bool quantize;          // the command; else convert
    plan_options plan;      // `recipe` and `rules` are not used: whoever makes a plan sets them
    recipe rules;           // quantize: in front of the scope
    bool allow_lossy;       // convert: values may change
    bool weighted;          // with statistics,
    sha256_digest statistics; // which are in a file of this digest
} order;

#define ORDER_DEFAULTS {.plan = PLAN_DEFAULTS}

extern const char *const order_forms[];    // of convert --to; NULL at the end
extern const char *const order_scopes[];   // of quantize
extern const char *const order_convert_scopes[]; // of convert into a type of codes
extern const char *const order_searches[];
extern const char *const order_layouts[];  // of quantize, in the order of plan_layout

const char *order_command(const order *o); // "quantize"
bool order_needs_model(const order *o);    // roles are needed (not by --to safetensors and gguf)
// convert --to FORM, in any case: an order_form or a type of codes; ERR_USAGE with the nearest.
MUST_USE bool order_set_form(order *o, const char *form, err *e);
// Of convert into a type of codes: which weights, an index of order_convert_scopes.
void order_set_scope(order *o, int scope);
// Sets the layout of a quantization whose types and rules are known: `asked`, or (NULL) GGUF where
// they are ggml's, plain where they stack experts, else what it was. ERR_USAGE where types of GGUF
// and of safetensors stand side by side, the layout is the other one's, a pack is to hold
// stacks, or weights are to fall back on a type of stacks; rules may be NULL.
MUST_USE bool order_set_layout(plan_options *p, const recipe *rules, const plan_layout *asked,
                               err *e);
// ERR_USAGE for a page (0: none was asked for) without an expert pack.
MUST_USE bool order_set_page(plan_options *p, uint64_t page, err *e);
// ERR_USAGE for an alignment (0: none was asked for) without a GGUF.
MUST_USE bool order_set_alignment(plan_options *p, uint64_t alignment, err *e);
// The order whole, as an object.
void order_write(const order *o, json_writer *w, const char *key);
// What scruple.json has under "options" and the plan's identity covers: without what decides types
// in quantize. That is in the plan, weight by weight, and in scruple-recipe.json, so the same
// decisions give the same bytes however they were asked for.
void order_write_settled(const order *o, json_writer *w, const char *key);
// Reads what order_write wrote, and nothing else: ERR_INPUT. To be freed in any case.
MUST_USE bool order_parse(order *o, const char *command, const json *options, err *e);
void order_free(order *o);

#endif
