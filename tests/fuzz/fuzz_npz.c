// SPDX-License-Identifier: Apache-2.0
// A zip archive of arrays. Every member is found by its name and read whole or refused.
#include <stdlib.h>
#include <string.h>

#include "formats/npy.h"
#include "tests/fuzz/fuzz.h"

static void read_member(zip_in *z, int64_t i, size_t input)
{
    err e = ERR_INIT;
    void *bytes = NULL;
    uint64_t size = 0;
    const char *name = zip_in_name(z, i);
    FUZZ_CHECK(name && zip_in_find(z, name) >= 0);
    bool ok = zip_in_read(z, i, 1 << 16, &bytes, &size, &e);
    if (ok)
        FUZZ_CHECK(bytes && size <= 1 << 16 && size <= 1100 * input);
    else
        fuzz_refused(&e);
    free(bytes);
    size_t len = strlen(name);
    if (!ok || len < 4 || len > 200 || strcmp(name + len - 4, ".npy") != 0)
        return;
    char array[256];
    npy a;
    memcpy(array, name, len - 4);
    array[len - 4] = 0;
    if (npz_read(&a, z, array, &e)) {
        fuzz_accept();
        FUZZ_CHECK(a.data && (uint64_t)(a.n * npy_type_bytes(a.type)) < size);
    } else {
        fuzz_refused(&e);
    }
    npy_free(&a);
}

FUZZ_TARGET(npz, 4 << 20)
{
    err e = ERR_INIT;
    zip_in *z;
    if (!zip_in_open_bytes(&z, bytes, n, "x.npz", &e)) {
        fuzz_refused(&e);
        FUZZ_CHECK(!z);
        return;
    }
    FUZZ_CHECK(zip_in_count(z) >= 0 && zip_in_count(z) <= 65535);
    for (int64_t i = 0; i < zip_in_count(z) && i < 64; i++)
        read_member(z, i, n);
    zip_in_close(z);
}
