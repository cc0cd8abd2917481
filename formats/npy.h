// SPDX-License-Identifier: Apache-2.0
// NumPy arrays in and out: .npy files and members of .npz. Only plain little-endian numbers in C
// order; no pickles, no structures, no Fortran order.
#ifndef SCRUPLE_FORMATS_NPY_H
#define SCRUPLE_FORMATS_NPY_H

#include "base/err.h"
#include "base/str.h"
#include "base/zip.h"

typedef enum { NPY_F32, NPY_F64, NPY_I32, NPY_I64, NPY_U8 } npy_type;
enum { NPY_MAX_RANK = 8 };

typedef struct {
    npy_type type;
    int rank;
    int64_t shape[NPY_MAX_RANK];
    int64_t n;     // elements
    void *data;    // owned; freed by npy_free
} npy;

void npy_free(npy *a);
int npy_type_bytes(npy_type t);
// Parses the bytes of a .npy file (`name` for sentences). ERR_INPUT.
MUST_USE bool npy_parse(npy *out, const void *bytes, uint64_t n, const char *name, err *e);
MUST_USE bool npy_read(npy *out, const char *path, err *e);
MUST_USE bool npz_read(npy *out, zip_in *z, const char *member, err *e); // member without ".npy"
// The header bytes in front of the data (version 1.0, padded to 64).
MUST_USE bool npy_header(strbuf *out, npy_type type, int rank, const int64_t *shape, err *e);
MUST_USE bool npy_write(const char *dir, const char *name, npy_type type, int rank,
                        const int64_t *shape, const void *data, bool replace, err *e);

#endif
