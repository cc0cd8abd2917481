// SPDX-License-Identifier: Apache-2.0
// config.json -> family, dimensions and layer plan, through the config key map of family.h. Every
// number is checked against its range and against the others before anybody allocates from it.
// Refuses what this version does not compute, naming the key; follows no auto_map and fills no
// missing key silently. Tensors are model.c's business.
#ifndef SCRUPLE_FORMATS_CONFIG_H
#define SCRUPLE_FORMATS_CONFIG_H

#include "base/event.h"
#include "base/json.h"
#include "base/mem.h"
#include "formats/family.h"

enum { CONFIG_MAX_BYTES = 64 << 20 };

typedef struct {
    bool present;     // a value was found in the config
    const char *path; // where; the map's first path where nothing was found
    int64_t i;        // KEY_INT, KEY_BOOL
    double d;         // KEY_REAL
    const char *text; // KEY_TEXT, borrowed from the tree
} config_value;

typedef struct {
    json *root;       // the whole tree
    const json *text; // text_config, or root
    const family *family;
    config_value value[CF_COUNT];
    arch arch;
    ffn_kind *ffn;    // [arch.n_layers]
    bool *linear;     // [arch.n_layers] linear attention
} config;

// What a layer is like, as far as it decides which tensors it has.
typedef struct {
    bool mixture, linear;
} layer_kind;

// From the text of a config.json. ERR_INPUT. Unknown keys are listed as a note.
MUST_USE bool config_init(config *c, const char *text, size_t len, const events *v, err *e);
void config_free(config *c);

int64_t config_dim(const config *c, dim d);
// Of a layer of the model; of others, and of what lies outside of layers (-1), as an ordinary one.
layer_kind config_layer(const config *c, int64_t layer);
// Whether a model of this config has the row's tensors in such a layer, or outside of layers.
bool config_has_row(const config *c, const role_row *r, layer_kind in);
// "num_attention_heads 4 x (qk_nope_head_dim 32 + qk_rope_head_dim 16)", for sentences.
void config_dim_text(const config *c, dim d, strbuf *out);
// The member at a dotted path, in text_config first; NULL where absent or null.
const json *config_get(const config *c, const char *dotted);

#endif
