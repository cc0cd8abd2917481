// SPDX-License-Identifier: Apache-2.0
// scruple.json: what an output folder was made from and how. The same bytes everywhere: no times,
// hosts or paths. verify repeats it in its report. Fields: docs/manifest.md.
#ifndef SCRUPLE_CONVERT_MANIFEST_H
#define SCRUPLE_CONVERT_MANIFEST_H

#include "convert/companions.h"
#include "convert/run.h"
#include "formats/source_sums.h"

#define MANIFEST_NAME "scruple.json"

typedef struct {
    const char *command;            // "quantize"
    const char *options;            // JSON object text: the options that decide bytes
    const plan *plan;
    const source_id *source;        // [source files]
    const sha256_digest *config;    // of the source's config.json, NULL where it has none
    const char *statistics;         // JSON object text with sha256 and coverage, or NULL
    const companions *companions;
    const run_result *result;
} manifest;

MUST_USE bool manifest_write(const manifest *m, strbuf *out, err *e);
// Bits a weight: bytes x 8 / parameters, of the routed experts' tensors and of all tensor files.
double manifest_bits(const plan *p, bool experts_only);

// What a later run has to know of a manifest.
typedef struct {
    char plan[65];
    char **file;                    // all files of the output
    uint64_t n_files, files_cap;
    char **source;                  // "name digest" of the source's tensor files
    uint64_t n_source, source_cap;
} manifest_facts;

// Reads dir/scruple.json. *ours = false (and nothing to free) where it is something else: no JSON,
// not of this tool, another schema, names that are not plain. Errors are those of reading.
MUST_USE bool manifest_read(manifest_facts *m, const char *dir, bool *ours, err *e);
void manifest_facts_free(manifest_facts *m);
// ERR_ENV naming the first tensor file of the source that is not what the output was made from.
MUST_USE bool manifest_same_source(const manifest_facts *m, const char *dir, const checkpoint *c,
                                   const source_id *ids, err *e);

#endif
