// SPDX-License-Identifier: Apache-2.0
// What other people's loaders are known not to read of a plan that is right by its format: said as
// warnings before the work starts, so that nobody finds out on a cluster. Refuses nothing.
// docs/quantization-config.md has the loaders and versions.
#ifndef SCRUPLE_CONVERT_LOADERS_H
#define SCRUPLE_CONVERT_LOADERS_H

#include "base/event.h"
#include "convert/plan.h"

void loaders_warn(const plan *p, const events *v);

#endif
