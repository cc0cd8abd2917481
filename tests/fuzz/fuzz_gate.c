// SPDX-License-Identifier: Apache-2.0
// A gate file: thresholds. What was read, written and read again judges the same.
#include <math.h>
#include <string.h>

#include "base/jsonscan.h"
#include "tests/fuzz/fuzz.h"
#include "verify/gate.h"

static bool same_numbers(const gate *a, const gate *b)
{
    for (int i = 0; i < GATE_COUNT; i++)
        if (a->has[i] != b->has[i] || (a->has[i] && a->value[i] != b->value[i]))
            return false;
    for (int i = 0; a->by_type && i < GATE_MAX_TYPES; i++)
        if (isnan(a->sqnr[i]) ? !isnan(b->sqnr[i]) : a->sqnr[i] != b->sqnr[i])
            return false;
    return a->by_type == b->by_type;
}

// The name is the file's and no threshold, so it is taken out.
static void check_round_trip(const gate *g)
{
    err e = ERR_INIT;
    gate again;
    strbuf text = {0}, nameless = {0};
    json_writer w = {.out = &text};
    gate_write(g, &w, NULL);
    FUZZ_OK(strbuf_ok(&text, &e) &&
            json_set_member(text.text, text.len, "name", NULL, &nameless, &e), &e);
    fuzz_file("y.json", nameless.text, nameless.len, nameless.len);
    FUZZ_OK(gate_read(&again, "y.json", &e), &e);
    FUZZ_CHECK(same_numbers(g, &again));
    gate_free(&again);
    strbuf_free(&text);
    strbuf_free(&nameless);
}

FUZZ_TARGET(gate, 1 << 20)
{
    err e = ERR_INIT;
    gate g;
    fuzz_file("x.json", bytes, n, n);
    if (!gate_read(&g, "x.json", &e)) {
        fuzz_refused_or(&e, ERR_USAGE);
        return;
    }
    fuzz_accept();
    for (int i = 0; i < GATE_COUNT; i++)
        FUZZ_CHECK(!g.has[i] || isfinite(g.value[i]) || (g.by_type && i == GATE_MIN_SQNR_DB));
    check_round_trip(&g);
    gate_free(&g);
}
