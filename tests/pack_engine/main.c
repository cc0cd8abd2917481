// SPDX-License-Identifier: Apache-2.0
// What an engine does with an expert pack, against the pack reader and base/ alone (make
// check-pack-reader): opens it, asks for every expert, reads it, maps it, and compares all ways.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/pack_reader.h"

// The components of a record are views of its bytes; those of the tail are read apart.
static bool try_components(const pack *p, const pack_layer *l, int64_t expert,
                           const pack_record *r, const unsigned char *bytes, err *e)
{
    for (int64_t i = 0; i < l->n_components; i++) {
        pack_component c;
        if (!pack_component_at(p, l->layer, expert, i, &c, e))
            return false;
        unsigned char *own = malloc(c.bytes + 1);
        bool ok = own && pack_read_component(p, &c, own, e);
        if (ok && c.in_record && memcmp(own, bytes + (c.offset - r->offset), c.bytes) != 0)
            ok = err_set(e, ERR_INTERNAL, "component %lld read alone differs", (long long)i);
        free(own);
        if (!ok)
            return false;
    }
    return true;
}

static bool try_expert(const pack *p, const pack_layer *l, int64_t expert, err *e)
{
    pack_record r;
    pack_window w;
    if (!pack_find(p, l->layer, expert, &r, e))
        return false;
    pack_prefetch(p, &r);
    unsigned char *bytes = malloc(r.bytes + 1);
    bool ok = bytes && pack_read(p, &r, bytes, e) && pack_verify(p, &r, bytes, e) &&
              pack_map(p, &r, &w, e);
    if (ok) {
        if (memcmp(w.bytes, bytes, r.bytes) != 0)
            ok = err_set(e, ERR_INTERNAL, "expert %lld mapped differs", (long long)expert);
        pack_unmap(&w);
    }
    ok = ok && try_components(p, l, expert, &r, bytes, e);
    free(bytes);
    return ok;
}

int main(int argc, char **argv)
{
    err e = ERR_INIT;
    pack *p = NULL;
    int64_t n = 0;
    bool ok = argc == 2 && pack_open(&p, argv[1], &e);
    for (int64_t i = 0; ok && i < pack_n_layers(p); i++) {
        const pack_layer *l = pack_layer_at(p, i);
        for (int64_t x = 0; ok && x < l->n_experts; x++, n++)
            ok = try_expert(p, l, x, &e);
    }
    pack_close(p);
    if (!ok) {
        (void)fprintf(stderr, "pack_engine: %s\n", argc == 2 ? e.text : "usage: pack_engine PACK");
        return 1;
    }
    (void)printf("pack_engine: %lld experts found, read, mapped and verified\n", (long long)n);
    return 0;
}
