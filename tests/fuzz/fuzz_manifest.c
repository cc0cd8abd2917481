// SPDX-License-Identifier: Apache-2.0
// scruple.json in an output folder, which --force trusts with names of files to replace.
#include <string.h>

#include "convert/manifest.h"
#include "tests/fuzz/fuzz.h"

FUZZ_TARGET(manifest, 1 << 20)
{
    err e = ERR_INIT;
    manifest_facts m;
    bool ours;
    fuzz_file("out/scruple.json", bytes, n, n);
    FUZZ_OK(manifest_read(&m, "out", &ours, &e), &e);
    if (!ours) {
        FUZZ_CHECK(!m.file && !m.n_files && !m.source && !m.n_source);
        return;
    }
    fuzz_accept();
    FUZZ_CHECK(strlen(m.plan) == sizeof m.plan - 1);
    for (uint64_t i = 0; i < m.n_files; i++)
        FUZZ_CHECK(m.file[i][0] && !strchr(m.file[i], '/') && strcmp(m.file[i], "..") != 0 &&
                   strcmp(m.file[i], ".") != 0);
    manifest_facts_free(&m);
}
