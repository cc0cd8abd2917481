// SPDX-License-Identifier: Apache-2.0
// --type as a list of codecs by their names, for commands that look at many.
#ifndef SCRUPLE_CLI_TYPES_H
#define SCRUPLE_CLI_TYPES_H

#include "base/option.h"
#include "quantize/codec.h"

// The codecs of the registry, in its order, that are named (any case); all where no name is given.
// Each is one that `fits` (NULL: all do); a name that is no codec's, or of one that does not fit,
// is ERR_USAGE. *out is to be freed in any case.
MUST_USE bool types_choose(const text_list *names, bool (*fits)(const codec *c),
                           const codec ***out, int64_t *n, err *e);

#endif
