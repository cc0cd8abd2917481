// SPDX-License-Identifier: Apache-2.0
// The parts of tokenizer.json are read strictly: a member that is not known here may change ids, so
// it is refused by name, and what the tokenizers package demands has to be there.
#ifndef SCRUPLE_FORMATS_TOKJSON_H
#define SCRUPLE_FORMATS_TOKJSON_H

#include "base/json.h"

// The object's members are among `known`, a NULL-terminated list; "type" is always known. A member
// of another name passes where its value is null. `part` is for sentences.
MUST_USE bool tokjson_only(const json *object, const char *const *known, const char *part, err *e);
// A member that must be true or false.
MUST_USE bool tokjson_flag(const json *object, const char *key, const char *part, bool *out,
                           err *e);
// A member that must be text; borrowed.
MUST_USE bool tokjson_text(const json *object, const char *key, const char *part,
                           const char **out, err *e);

#endif
