// SPDX-License-Identifier: Apache-2.0
// Text that may be packed: never more than the ceiling comes out, and plain text is what it was.
#include <stdlib.h>
#include <string.h>

#include "base/gzip.h"
#include "tests/fuzz/fuzz.h"

FUZZ_TARGET(gzip, 2 << 20)
{
    enum { CEILING = 3000 };
    err e = ERR_INIT;
    char *text;
    size_t len;
    fuzz_file("x.gz", bytes, n, n);
    bool packed = n >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b;
    if (gzip_read_text("x.gz", CEILING, &text, &len, &e)) {
        fuzz_accept();
        FUZZ_CHECK(len <= CEILING && text[len] == 0);
        FUZZ_CHECK(packed || (len == n && memcmp(text, bytes, n) == 0));
    } else {
        fuzz_refused(&e);
        FUZZ_CHECK(!text && !len && (packed || n > CEILING));
    }
    free(text);
}
