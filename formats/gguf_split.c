// SPDX-License-Identifier: Apache-2.0
#include "formats/gguf_split.h"

#include <stdio.h>
#include <string.h>

enum {
    MOST_PARTS = UINT16_MAX,  // split.count is a U16
    ENDING = 20               // of "-00001-of-00003.gguf"
};

static bool take(const gguf_header *h, const char *key, uint64_t most, uint64_t *out, err *e)
{
    const gguf_value *v = gguf_find(h, key);
    if (!v)
        return err_set(e, ERR_INPUT, "a part of a split GGUF file without %s", key);
    return (gguf_as_u64(v, out) && *out <= most) ||
           err_set(e, ERR_INPUT, "%s is no whole number from 0 to %llu", key,
                   (unsigned long long)most);
}

bool gguf_split_of(const gguf_header *h, gguf_split *out, err *e)
{
    *out = (gguf_split){.count = 1, .n_tensors = (uint64_t)h->n_tensors};
    if (!gguf_find(h, "split.count"))
        return true;
    if (!take(h, "split.count", MOST_PARTS, &out->count, e))
        return false;
    if (out->count < 2) {
        out->count = 1;
        return true;
    }
    if (!take(h, "split.no", MOST_PARTS, &out->no, e) ||
        !take(h, "split.tensors.count", INT32_MAX, &out->n_tensors, e))
        return false;
    return out->no < out->count ||
           err_set(e, ERR_INPUT, "split.no is %llu, split.count is %llu",
                   (unsigned long long)out->no, (unsigned long long)out->count);
}

// The five digits at p.
static bool digits(const char *p, int *out)
{
    *out = 0;
    for (int i = 0; i < 5; i++) {
        if (p[i] < '0' || p[i] > '9')
            return false;
        *out = *out * 10 + (p[i] - '0');
    }
    return true;
}

static bool parse_name(const char *name, size_t *prefix, int *number, int *count)
{
    size_t len = strlen(name);
    if (len < ENDING || len >= GGUF_SET_NAME)
        return false;
    const char *end = name + len - ENDING;
    *prefix = len - ENDING;
    return end[0] == '-' && digits(end + 1, number) && memcmp(end + 6, "-of-", 4) == 0 &&
           digits(end + 10, count) && strcmp(end + 15, ".gguf") == 0;
}

bool gguf_set_of(gguf_set *out, const char *name, const gguf_split *split, err *e)
{
    size_t prefix;
    int number, count;
    if (!parse_name(name, &prefix, &number, &count) || (uint64_t)count != split->count ||
        (uint64_t)number != split->no + 1)
        return err_set(e, ERR_INPUT, "part %llu of %llu of a split GGUF file, whose name has to "
                       "end in -%05llu-of-%05llu.gguf", (unsigned long long)split->no + 1,
                       (unsigned long long)split->count, (unsigned long long)split->no + 1,
                       (unsigned long long)split->count);
    *out = (gguf_set){.count = count};
    memcpy(out->prefix, name, prefix);
    return true;
}

const char *gguf_set_name(const gguf_set *set, int part, char buf[GGUF_SET_NAME])
{
    size_t n = strlen(set->prefix); // leaves room for the ending: it stood in front of one
    memcpy(buf, set->prefix, n);
    (void)snprintf(buf + n, ENDING + 1, "-%05u-of-%05u.gguf", ((unsigned)part + 1) % 100000,
                   (unsigned)set->count % 100000);
    return buf;
}

bool gguf_set_same(const char *a, const char *b)
{
    size_t n, m;
    int number, k, count;
    return parse_name(a, &n, &number, &k) && parse_name(b, &m, &number, &count) && n == m &&
           k == count && memcmp(a, b, n) == 0;
}
