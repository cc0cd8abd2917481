// SPDX-License-Identifier: Apache-2.0
#include "base/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "base/libraries.h"
#include "base/mem.h"

enum {
    MAX_PATTERN = 64 * 1024,       // bytes of a regular expression
    MATCH_LIMIT = 10 * 1000 * 1000, // steps of one search
    HEAP_KIB = 64 * 1024,          // of one search in the interpreter
    JIT_STACK_FIRST = 32 * 1024,
    JIT_STACK_MOST = 1024 * 1024
};

struct pattern {
    char *regex; // for sentences
    pcre2_code *code;
    pcre2_match_data *match;
    pcre2_match_context *limits;
    pcre2_jit_stack *stack; // NULL where there is no JIT
};

static bool compile(pattern *p, err *e)
{
    pcre2_compile_context *c = pcre2_compile_context_create(NULL);
    if (!c)
        return err_set(e, ERR_ENV, "no memory for a pattern");
    // Not left to how the library was built: '.' excludes \n only.
    (void)pcre2_set_newline(c, PCRE2_NEWLINE_LF);
    (void)pcre2_set_bsr(c, PCRE2_BSR_UNICODE);
    int code;
    PCRE2_SIZE at;
    p->code = pcre2_compile((PCRE2_SPTR)p->regex, PCRE2_ZERO_TERMINATED,
                            PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &code, &at, c);
    pcre2_compile_context_free(c);
    if (p->code)
        return true;
    if (code == PCRE2_ERROR_HEAP_FAILED)
        return err_set(e, ERR_ENV, "no memory for a pattern");
    PCRE2_UCHAR what[160];
    if (pcre2_get_error_message(code, what, sizeof what) < 0)
        what[0] = 0;
    return err_set(e, ERR_INPUT, "pattern '%s', byte %zu: %s", p->regex, (size_t)at,
                   (const char *)what);
}

static bool prepare(pattern *p, err *e)
{
    p->match = pcre2_match_data_create(1, NULL);
    p->limits = pcre2_match_context_create(NULL);
    if (!p->match || !p->limits)
        return err_set(e, ERR_ENV, "no memory for a pattern");
    (void)pcre2_set_match_limit(p->limits, MATCH_LIMIT);
    (void)pcre2_set_heap_limit(p->limits, HEAP_KIB);
    // Without a JIT (or without executable memory) the interpreter gives the same answers.
    if (pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE) != 0)
        return true;
    p->stack = pcre2_jit_stack_create(JIT_STACK_FIRST, JIT_STACK_MOST, NULL);
    if (!p->stack)
        return err_set(e, ERR_ENV, "no memory for a pattern");
    pcre2_jit_stack_assign(p->limits, NULL, p->stack);
    return true;
}

bool pattern_open(pattern **out, const char *regex, err *e)
{
    *out = NULL;
    size_t len = strlen(regex);
    if (len > MAX_PATTERN)
        return err_set(e, ERR_INPUT, "a pattern of %zu bytes, the limit is %d", len, MAX_PATTERN);
    pattern *p = mem_new(1, sizeof *p, "a pattern", e);
    if (!p)
        return false;
    p->regex = strdup(regex);
    if (!p->regex)
        err_set(e, ERR_ENV, "no memory for a pattern");
    if (!p->regex || !compile(p, e) || !prepare(p, e)) {
        pattern_close(p);
        return false;
    }
    *out = p;
    return true;
}

void pattern_close(pattern *p)
{
    if (!p)
        return;
    pcre2_match_context_free(p->limits);
    pcre2_jit_stack_free(p->stack);
    pcre2_match_data_free(p->match);
    pcre2_code_free(p->code);
    free(p->regex);
    free(p);
}

void pattern_limit(pattern *p, uint32_t steps)
{
    (void)pcre2_set_match_limit(p->limits, steps);
}

bool pattern_find(pattern *p, const char *text, size_t len, size_t from, bool *found,
                  size_t *begin, size_t *end, err *e)
{
    *found = false;
    *begin = *end = 0;
    if (from > len)
        return true;
    int rc = pcre2_match(p->code, (PCRE2_SPTR)text, len, from, PCRE2_NO_UTF_CHECK, p->match,
                         p->limits);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(p->code, (PCRE2_SPTR)text, len, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                         p->match, p->limits);
    if (rc == PCRE2_ERROR_NOMATCH)
        return true;
    if (rc < 0) {
        PCRE2_UCHAR what[160];
        if (pcre2_get_error_message(rc, what, sizeof what) < 0)
            what[0] = 0;
        return err_set(e, rc == PCRE2_ERROR_NOMEMORY ? ERR_ENV : ERR_INPUT,
                       "pattern '%s', searching from byte %zu: %s", p->regex, from,
                       (const char *)what);
    }
    const PCRE2_SIZE *span = pcre2_get_ovector_pointer(p->match);
    *found = true;
    *begin = span[0];
    *end = span[1];
    return true;
}

// Only the last '*' has to be taken up again: what stands before it has matched as early as it can.
bool glob_matches(const char *glob, const char *name)
{
    const char *star = NULL, *retry = NULL;
    while (*name) {
        if (*glob == '*') {
            star = glob++;
            retry = name;
        } else if (*glob == '?' || *glob == *name) {
            glob++;
            name++;
        } else if (star) {
            glob = star + 1;
            name = ++retry;
        } else {
            return false;
        }
    }
    while (*glob == '*')
        glob++;
    return *glob == 0;
}

// "10.42 2022-12-11": the date is cut off.
const char *pcre2_library(char *buf)
{
    if (pcre2_config(PCRE2_CONFIG_VERSION, NULL) > LIBRARY_VERSION ||
        pcre2_config(PCRE2_CONFIG_VERSION, buf) < 0)
        return "unknown";
    buf[strcspn(buf, " ")] = 0;
    return buf;
}
