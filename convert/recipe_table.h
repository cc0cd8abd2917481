// SPDX-License-Identifier: Apache-2.0
// What a plan decided, as a recipe: scruple-recipe.json of an output folder. A rule for each role,
// or for each run of layers or experts of one type where a role has several. It holds nothing of
// how the types were asked for, so equal results have equal tables; as --recipe for the same
// model, with the same statistics and layout, it gives the same bytes.
#ifndef SCRUPLE_CONVERT_RECIPE_TABLE_H
#define SCRUPLE_CONVERT_RECIPE_TABLE_H

#include "convert/plan.h"

#define RECIPE_TABLE_NAME "scruple-recipe.json"

// The plan has a model. Appends the file's text.
MUST_USE bool recipe_table(const plan *p, strbuf *out, err *e);

#endif
