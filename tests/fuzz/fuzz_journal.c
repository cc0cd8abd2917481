// SPDX-License-Identifier: Apache-2.0
// What runs leave in an output folder for one another, separated by NUL bytes: the header file, the
// first line of a finished file's note (its digest is put behind it), and a unit's note.
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "convert/journal.h"
#include "convert/run_parts.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/small_plan.h"

static void read_header(fuzz_text t)
{
    err e = ERR_INIT;
    journal j = JOURNAL_CLOSED;
    fuzz_file("out/" JOURNAL_NAME, t.text, t.len, t.len);
    if (journal_read(&j, "out", &e)) {
        FUZZ_CHECK(j.plan && j.made_levels >= 0);
        for (uint64_t i = 0; i < j.n_replaces; i++)
            FUZZ_CHECK(file_note_is_plain(j.replaces[i]) && !strchr(j.replaces[i], '/'));
    } else {
        fuzz_refused_or(&e, ERR_ENV);
    }
    journal_close(&j);
}

static void read_file_note(fuzz_text t, bool mend)
{
    static const char name[] = ".model.safetensors.note";
    static const char id[] = "0000000000000000000000000000000000000000000000000000000000000000";
    err e = ERR_INIT;
    file_note note;
    bool counts;
    strbuf text = {0};
    strbuf_add(&text, t.text, t.len);
    if (mend) {
        char hex[33];
        xxh128_digest sum;
        xxh128_of(t.text, t.len, &sum);
        strbuf_printf(&text, "\n%s\n", hex_of(sum.b, sizeof sum.b, hex));
    }
    FUZZ_OK(strbuf_ok(&text, &e), &e);
    fuzz_file("out/.model.safetensors.note", text.text ? text.text : "", text.len, text.len);
    FUZZ_OK(file_note_read(&note, "out", name, id, &counts, &e), &e);
    if (counts) {
        FUZZ_CHECK(strcmp(note.name, "model.safetensors") == 0 && note.staged[0] == '.');
        FUZZ_CHECK(file_note_is_plain(note.staged) && note.bytes <= INT64_MAX);
    } else {
        FUZZ_CHECK(!note.name && !note.staged && !note.text);
    }
    file_note_free(&note);
    strbuf_free(&text);
}

// A note that counts, written again, is the same for who reads it; one that does not leaves no
// trace.
static void read_unit_note(const char *text, int64_t unit)
{
    static run_result r;
    err e = ERR_INIT;
    bool known, again;
    const plan *p = &small_plan_get()->plan;
    if (!r.resumed)
        FUZZ_OK(run_result_init(&r, p, &e), &e);
    FUZZ_OK(note_read(p, unit, text, &r, &known, &e), &e);
    if (!known)
        return;
    fuzz_accept();
    strbuf first = {0}, second = {0};
    FUZZ_OK(note_write(p, unit, &r, &first, &e), &e);
    FUZZ_OK(note_read(p, unit, first.text, &r, &again, &e) && again, &e);
    FUZZ_OK(note_write(p, unit, &r, &second, &e), &e);
    FUZZ_CHECK(first.len == second.len && memcmp(first.text, second.text, first.len) == 0);
    strbuf_free(&first);
    strbuf_free(&second);
}

FUZZ_TARGET(journal, 8 << 20)
{
    err e = ERR_INIT;
    arena a = {0};
    const plan *p = &small_plan_get()->plan;
    fuzz_text header = fuzz_cut(&bytes, &n), note = fuzz_cut(&bytes, &n);
    read_header(header);
    read_file_note(note, n % 8 != 7);
    char *text = arena_text(&a, (const char *)bytes, n, &e);
    FUZZ_CHECK(text);
    for (int64_t unit = 0; n && unit < p->n_files; unit++)
        read_unit_note(text, unit);
    arena_free(&a);
}
