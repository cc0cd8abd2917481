// SPDX-License-Identifier: Apache-2.0
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/libraries.h"
#include "base/mem.h"

struct sha256 {
    EVP_MD_CTX *ctx;
    bool ok; // a failure inside the library gives the digest of zeros, which equals no other
};

// A library context of our own: OpenSSL's default one is used even where there was no memory to set
// it up, and reads a configuration file that is none of ours. Made once, kept to the end.
static struct {
    pthread_mutex_t lock;
    OSSL_LIB_CTX *library;
    EVP_MD *md;
} shared = {.lock = PTHREAD_MUTEX_INITIALIZER};

static const EVP_MD *the_algorithm(void)
{
    pthread_mutex_lock(&shared.lock);
    if (!shared.library)
        shared.library = OSSL_LIB_CTX_new();
    if (shared.library && !shared.md)
        shared.md = EVP_MD_fetch(shared.library, "SHA256", NULL);
    const EVP_MD *md = shared.md;
    pthread_mutex_unlock(&shared.lock);
    return md;
}

sha256 *sha256_new(err *e)
{
    const EVP_MD *md = the_algorithm();
    sha256 *s = mem_new(1, sizeof *s, "a digest", e);
    if (!s)
        return NULL;
    s->ctx = EVP_MD_CTX_new();
    s->ok = md && s->ctx && EVP_DigestInit_ex(s->ctx, md, NULL) == 1;
    if (s->ok)
        return s;
    sha256_free(s);
    err_set(e, ERR_ENV, "the OpenSSL library cannot make a SHA-256 digest: no memory, or none is "
            "offered here");
    return NULL;
}

void sha256_add(sha256 *s, const void *bytes, size_t n)
{
    if (n)
        s->ok = EVP_DigestUpdate(s->ctx, bytes, n) == 1 && s->ok;
}

void sha256_end(sha256 *s, sha256_digest *out)
{
    if (!s->ok || EVP_DigestFinal_ex(s->ctx, out->b, NULL) != 1)
        memset(out, 0, sizeof *out);
    sha256_free(s);
}

void sha256_free(sha256 *s)
{
    if (s)
        EVP_MD_CTX_free(s->ctx);
    free(s);
}

bool sha256_of(const void *bytes, size_t n, sha256_digest *out, err *e)
{
    memset(out, 0, sizeof *out);
    sha256 *s = sha256_new(e);
    if (!s)
        return false;
    sha256_add(s, bytes, n);
    sha256_end(s, out);
    return true;
}

bool sha256_of_file(const char *path, sha256_digest *out, err *e)
{
    enum { PIECE = 1 << 20 };
    in_file f;
    unsigned char *piece = NULL;
    sha256 *s = NULL;
    bool ok = false;
    memset(out, 0, sizeof *out);
    if (!in_open(&f, path, e))
        return false;
    piece = mem_new_aligned(PIECE, 1, "reading a file", e);
    s = piece ? sha256_new(e) : NULL;
    if (!s)
        goto out;
    for (uint64_t at = 0; at < f.size;) {
        size_t n = f.size - at < PIECE ? (size_t)(f.size - at) : PIECE;
        if (!in_read(&f, at, piece, n, e))
            goto out;
        sha256_add(s, piece, n);
        at += n;
    }
    sha256_end(s, out);
    s = NULL;
    ok = true;
out:
    sha256_free(s);
    free(piece);
    in_close(&f);
    return ok;
}

bool openssl_ready(err *e)
{
    return OSSL_LIB_CTX_get0_global_default() ||
           err_set(e, ERR_ENV, "the OpenSSL library cannot be set up: no memory");
}

const char *openssl_library(char *buf)
{
    (void)buf;
    return OpenSSL_version(OPENSSL_VERSION_STRING);
}
