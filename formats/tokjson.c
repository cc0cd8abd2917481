// SPDX-License-Identifier: Apache-2.0
#include "formats/tokjson.h"

#include <string.h>

bool tokjson_only(const json *object, const char *const *known, const char *part, err *e)
{
    if (json_type(object) != JSON_OBJECT)
        return err_set(e, ERR_INPUT, "%s is not an object", part);
    for (const json *m = json_first(object); m; m = json_next(m)) {
        const char *key = json_key(m);
        bool found = strcmp(key, "type") == 0 || json_type(m) == JSON_NULL;
        for (size_t i = 0; known[i] && !found; i++)
            found = strcmp(known[i], key) == 0;
        if (!found)
            return err_set(e, ERR_INPUT, "%s has '%s', which is not supported", part, key);
    }
    return true;
}

bool tokjson_flag(const json *object, const char *key, const char *part, bool *out, err *e)
{
    const json *j = json_get(object, key);
    *out = false;
    return (j && json_as_bool(j, out)) ||
           err_set(e, ERR_INPUT, "%s: '%s' must be true or false", part, key);
}

bool tokjson_text(const json *object, const char *key, const char *part, const char **out, err *e)
{
    const json *j = json_get(object, key);
    *out = j ? json_as_text(j) : NULL;
    return *out || err_set(e, ERR_INPUT, "%s: '%s' must be text", part, key);
}
