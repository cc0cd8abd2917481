// SPDX-License-Identifier: Apache-2.0
#include "formats/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const json *lookup(const config *c, const char *dotted)
{
    const json *j = json_path(c->text, dotted);
    if (!j && c->text != c->root)
        j = json_path(c->root, dotted);
    return j;
}

const json *config_get(const config *c, const char *dotted)
{
    const json *j = lookup(c, dotted);
    return j && json_type(j) != JSON_NULL ? j : NULL;
}

static const char *last_name(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot ? dot + 1 : path;
}

// ---- family ----

static bool refuse_unknown(const char *architecture, const char *model_type, err *e)
{
    char a[STR_SHORT], b[STR_SHORT];
    strbuf known = {0};
    for (int i = 0; i < family_count(); i++)
        strbuf_printf(&known, "%s%s (%s)", i ? ", " : "", family_at(i)->facts.family,
                      family_at(i)->architecture[0]);
    if (strbuf_ok(&known, e))
        err_set(e, ERR_INPUT,
                "config.json: architectures '%s' and model_type '%s' name no model family that "
                "this version knows: %s", str_short(architecture ? architecture : "(none)", a),
                str_short(model_type ? model_type : "(none)", b), known.text);
    strbuf_free(&known);
    return false;
}

static bool find_family(config *c, err *e)
{
    const char *architecture = NULL;
    const json *list = json_get(c->root, "architectures");
    if (list && json_type(list) == JSON_ARRAY && json_first(list))
        architecture = json_as_text(json_first(list));
    const json *type = json_get(c->root, "model_type");
    const char *model_type = type ? json_as_text(type) : NULL;
    c->family = family_find(architecture, model_type);
    if (!c->family && c->text != c->root) { // a wrapper: its text model names itself
        type = json_get(c->text, "model_type");
        c->family = family_find(NULL, type ? json_as_text(type) : NULL);
    }
    return c->family || refuse_unknown(architecture, model_type, e);
}

// ---- one key ----

static const config_key *key_of(const family *f, config_field field)
{
    for (int i = 0; i < f->n_keys; i++)
        if (f->key[i].field == field)
            return &f->key[i];
    for (int i = 0; i < config_n_common; i++)
        if (config_common[i].field == field)
            return &config_common[i];
    return NULL;
}

static bool key_applies(const config *c, const config_key *k)
{
    switch (k->when) {
    case READ_GQA: return c->family->facts.mixer == MIXER_GQA;
    case READ_MLA: return c->family->facts.mixer == MIXER_MLA;
    case READ_YARN: return c->arch.scaling == ROPE_YARN;
    case READ_ALWAYS: break;
    }
    return true;
}

static void key_default(config_value *v, const config_key *k)
{
    *v = (config_value){.path = k->path[0]};
    switch (k->kind) {
    case KEY_INT:
    case KEY_BOOL: v->i = (int64_t)k->otherwise; break;
    case KEY_REAL: v->d = k->otherwise; break;
    case KEY_TEXT: v->text = "default"; break;
    }
}

static bool parse_value(config_value *v, const config_key *k, const char *path, const json *j,
                        err *e)
{
    static const char *const wanted[] = {[KEY_INT] = "an integer", [KEY_REAL] = "a number",
                                         [KEY_BOOL] = "true or false", [KEY_TEXT] = "a string"};
    *v = (config_value){.present = true, .path = path};
    bool fits = false, flag = false;
    switch (k->kind) {
    case KEY_INT: fits = json_as_int(j, &v->i); break;
    case KEY_REAL: fits = json_as_double(j, &v->d); break;
    case KEY_BOOL: fits = json_as_bool(j, &flag); v->i = flag; break;
    case KEY_TEXT: v->text = json_as_text(j); fits = v->text != NULL; break;
    }
    if (!fits)
        return err_set(e, ERR_INPUT, "config.json: '%s' is not %s", path, wanted[k->kind]);
    if (k->kind == KEY_INT && ((double)v->i < k->least || (double)v->i > k->most))
        return err_set(e, ERR_INPUT, "config.json: '%s' is %lld, allowed are %.0f to %.0f", path,
                       (long long)v->i, k->least, k->most);
    if (k->kind == KEY_REAL && !(v->d >= k->least && v->d <= k->most))
        return err_set(e, ERR_INPUT, "config.json: '%s' is %g, allowed are %g to %g", path, v->d,
                       k->least, k->most);
    return true;
}

static bool same_value(const config_value *a, const config_value *b)
{
    if (a->text || b->text)
        return a->text && b->text && strcmp(a->text, b->text) == 0;
    return a->i == b->i && a->d == b->d;
}

// The spelling that a config of this shape would use: the first whose parent is there.
static const char *likely_path(const config *c, const config_key *k)
{
    for (int p = 0; k->path[p]; p++) {
        const char *dot = strchr(k->path[p], '.');
        char parent[64];
        (void)snprintf(parent, sizeof parent, "%.*s", dot ? (int)(dot - k->path[p]) : 0,
                       k->path[p]);
        if (dot && config_get(c, parent))
            return k->path[p];
    }
    return k->path[0];
}

static bool read_key(config *c, const config_key *k, err *e)
{
    config_value *v = &c->value[k->field];
    key_default(v, k);
    if (k->need == NEED_UNREAD || !key_applies(c, k))
        return true;
    bool is_null = false;
    for (int p = 0; k->path[p]; p++) {
        const json *j = lookup(c, k->path[p]);
        if (!j)
            continue;
        if (json_type(j) == JSON_NULL) {
            is_null = true;
            continue;
        }
        config_value found;
        if (!parse_value(&found, k, k->path[p], j, e))
            return false;
        if (v->present && !same_value(v, &found))
            return err_set(e, ERR_INPUT,
                           "config.json: '%s' and '%s' mean the same and have different values",
                           v->path, found.path);
        if (!v->present)
            *v = found;
    }
    if (v->present || k->need == NEED_DEFAULT || (k->need == NEED_NULLABLE && is_null))
        return true;
    return err_set(e, ERR_INPUT, "config.json: '%s' is %s%s%s", likely_path(c, k),
                   is_null ? "null" : "missing", k->note ? ": " : "", k->note ? k->note : "");
}

static bool check_fixed(const config *c, const config_fixed *f, err *e)
{
    const json *j = config_get(c, f->path);
    if (!j)
        return true;
    double number = 0;
    bool flag = false;
    const char *text = json_as_text(j);
    if (f->text ? text && strcmp(text, f->text) == 0
                : (json_as_bool(j, &flag) ? (double)flag == f->number
                                          : json_as_double(j, &number) && number == f->number))
        return true;
    bool is_bool = json_type(j) == JSON_BOOL;
    char found[64] = "of another kind", only[64];
    if (text)
        (void)snprintf(found, sizeof found, "'%.40s'", text);
    else if (is_bool)
        (void)snprintf(found, sizeof found, "%s", flag ? "true" : "false");
    else if (json_type(j) == JSON_NUMBER)
        (void)snprintf(found, sizeof found, "%g", number);
    if (f->text)
        (void)snprintf(only, sizeof only, "'%s'", f->text);
    else if (is_bool)
        (void)snprintf(only, sizeof only, "%s", f->number != 0 ? "true" : "false");
    else
        (void)snprintf(only, sizeof only, "%g", f->number);
    return err_set(e, ERR_INPUT,
                   "config.json: '%s' is %s, which this version does not compute for family %s "
                   "(only %s)", f->path, found, c->family->facts.family, only);
}

// ---- the whole ----

static bool read_rope_type(config *c, err *e)
{
    static const struct {
        const char *name;
        rope_scaling kind;
    } known[] = {{"default", ROPE_PLAIN}, {"yarn", ROPE_YARN}};
    const config_value *v = &c->value[CF_ROPE_TYPE];
    for (size_t i = 0; i < COUNT_OF(known); i++) {
        if (strcmp(known[i].name, v->text) == 0) {
            c->arch.scaling = known[i].kind;
            return true;
        }
    }
    char found[STR_SHORT];
    return err_set(e, ERR_INPUT,
                   "config.json: '%s' is '%s', which this version does not compute (only 'default' "
                   "and 'yarn')", v->path, str_short(v->text, found));
}

static bool read_keys(config *c, err *e)
{
    for (int field = CF_NONE + 1; field < CF_COUNT; field++) {
        const config_key *k = key_of(c->family, (config_field)field);
        if (!read_key(c, k, e) || (field == CF_ROPE_TYPE && !read_rope_type(c, e)))
            return false;
    }
    for (int i = 0; !c->family->facts.no_forward && i < config_n_common_fixed; i++)
        if (!check_fixed(c, &config_common_fixed[i], e))
            return false;
    for (int i = 0; i < c->family->n_fixed; i++)
        if (!check_fixed(c, &c->family->fixed[i], e))
            return false;
    return true;
}

static bool derive(config *c, err *e)
{
    config_value *heads = &c->value[CF_HEADS], *kv = &c->value[CF_KV_HEADS];
    config_value *head_dim = &c->value[CF_HEAD_DIM], *hidden = &c->value[CF_HIDDEN];
    if (!kv->present)
        kv->i = heads->i;
    if (c->family->facts.mixer == MIXER_GQA && !head_dim->present) {
        if (hidden->i % heads->i != 0)
            return err_set(e, ERR_INPUT,
                           "config.json: 'head_dim' is missing and 'hidden_size' %lld is no "
                           "multiple of 'num_attention_heads' %lld",
                           (long long)hidden->i, (long long)heads->i);
        head_dim->i = hidden->i / heads->i;
    }
    return true;
}

static void fill_arch(config *c)
{
    const config_value *v = c->value;
    arch *a = &c->arch;
    a->hidden = v[CF_HIDDEN].i;
    a->n_layers = v[CF_LAYERS].i;
    a->n_extra_layers = v[CF_EXTRA_LAYERS].i;
    a->vocab = v[CF_VOCAB].i;
    a->bos = v[CF_BOS].i;
    a->tied_head = v[CF_TIED].i;
    a->norm_eps = v[CF_NORM_EPS].d;
    a->n_heads = v[CF_HEADS].i;
    a->n_kv_heads = v[CF_KV_HEADS].i;
    a->head_dim = v[CF_HEAD_DIM].i;
    a->attention_bias = v[CF_BIAS].i;
    a->q_lora = v[CF_Q_LORA].i;
    a->kv_lora = v[CF_KV_LORA].i;
    a->qk_nope = v[CF_QK_NOPE].i;
    a->qk_rope = v[CF_QK_ROPE].i;
    a->v_dim = v[CF_V_DIM].i;
    a->dense_inter = v[CF_DENSE_INTER].i;
    a->moe_inter = v[CF_MOE_INTER].i;
    a->shared_inter = v[CF_SHARED_INTER].present ? v[CF_SHARED_INTER].i
                                                 : config_dim(c, DIM_SHARED_INTER);
    a->n_experts = v[CF_EXPERTS].i;
    a->top_k = v[CF_TOP_K].i;
    a->n_group = v[CF_GROUPS].i;
    a->topk_group = v[CF_TOPK_GROUP].i;
    a->renorm = v[CF_RENORM].i;
    a->route_scale = v[CF_ROUTE_SCALE].d;
    a->rope_theta = v[CF_THETA].d;
    a->yarn_factor = v[CF_YARN_FACTOR].d;
    a->yarn_original = v[CF_YARN_ORIGINAL].d;
    a->yarn_beta_fast = v[CF_YARN_BETA_FAST].d;
    a->yarn_beta_slow = v[CF_YARN_BETA_SLOW].d;
    a->yarn_mscale = v[CF_YARN_MSCALE].d;
    a->yarn_mscale_all_dim = v[CF_YARN_MSCALE_ALL_DIM].d;
    a->yarn_attention_factor = v[CF_YARN_ATTENTION_FACTOR].d;
    if (a->mixer == MIXER_MLA)
        a->rope = v[CF_ROPE_INTERLEAVE].i ? ROPE_PAIR : ROPE_HALF;
}

static bool disagree(const config *c, config_field a, const char *relation, config_field b, err *e)
{
    const config_value *x = &c->value[a], *y = &c->value[b];
    return err_set(e, ERR_INPUT, "config.json: '%s' %lld %s '%s' %lld", x->path, (long long)x->i,
                   relation, y->path, (long long)y->i);
}

// Relations that the forward pass stands on.
static bool check_relations(const config *c, err *e)
{
    const arch *a = &c->arch;
    if (a->mixer == MIXER_MLA && a->n_kv_heads != a->n_heads)
        return disagree(c, CF_KV_HEADS, "has to equal", CF_HEADS, e);
    if (a->n_heads % a->n_kv_heads != 0)
        return disagree(c, CF_HEADS, "is no multiple of", CF_KV_HEADS, e);
    config_field rotated = a->mixer == MIXER_MLA ? CF_QK_ROPE : CF_HEAD_DIM;
    if (c->value[rotated].i % 2 != 0)
        return err_set(e, ERR_INPUT, "config.json: '%s' %lld is odd, and RoPE rotates pairs",
                       c->value[rotated].path, (long long)c->value[rotated].i);
    if (a->top_k > a->n_experts)
        return disagree(c, CF_TOP_K, "is more than", CF_EXPERTS, e);
    if (a->n_experts % a->n_group != 0)
        return disagree(c, CF_EXPERTS, "is no multiple of", CF_GROUPS, e);
    if (a->topk_group > a->n_group)
        return disagree(c, CF_TOPK_GROUP, "is more than", CF_GROUPS, e);
    int64_t group_size = a->n_experts / a->n_group;
    if (a->top_k > a->topk_group * group_size)
        return err_set(e, ERR_INPUT,
                       "config.json: '%s' %lld experts cannot be chosen out of 'topk_group' %lld "
                       "groups of %lld", c->value[CF_TOP_K].path, (long long)a->top_k,
                       (long long)a->topk_group, (long long)group_size);
    if (a->n_group > 1 && a->group_score == GROUP_TOP2_SUM && group_size < 2)
        return err_set(e, ERR_INPUT,
                       "config.json: 'n_group' %lld leaves groups of one expert, and a group's "
                       "score is the sum of its two best", (long long)a->n_group);
    if (a->bos >= a->vocab)
        return disagree(c, CF_BOS, "is outside", CF_VOCAB, e);
    return true;
}

// ---- the layer plan ----

static bool rule_int(const layer_rule *r, const json *j, int64_t least, int64_t most, int64_t *out,
                     err *e)
{
    if (json_as_int(j, out) && *out >= least && *out <= most)
        return true;
    return err_set(e, ERR_INPUT, "config.json: '%s' has a value that is no integer from %lld to "
                   "%lld", r->key, (long long)least, (long long)most);
}

static bool apply_types(config *c, const layer_rule *r, const json *j, err *e)
{
    int64_t i = 0;
    if (json_type(j) != JSON_ARRAY || json_len(j) != c->arch.n_layers)
        return err_set(e, ERR_INPUT, "config.json: '%s' is no list of %lld layers", r->key,
                       (long long)c->arch.n_layers);
    for (const json *item = json_first(j); item; item = json_next(item), i++) {
        const char *text = json_as_text(item);
        c->linear[i] = text && strcmp(text, "linear_attention") == 0;
        if (!text || (!c->linear[i] && strcmp(text, "full_attention") != 0))
            return err_set(e, ERR_INPUT, "config.json: '%s' has a layer that is neither "
                           "'full_attention' nor 'linear_attention'", r->key);
    }
    return true;
}

static bool apply_rule(config *c, const layer_rule *r, err *e)
{
    int64_t layers = c->arch.n_layers, value;
    const json *j = config_get(c, r->key);
    if (!j && r->need == NEED_DEFAULT)
        return true;
    if (!j)
        return err_set(e, ERR_INPUT, "config.json: '%s' is missing: it says which layers are dense",
                       r->key);
    switch (r->kind) {
    case DENSE_FIRST:
        if (!rule_int(r, j, 0, layers, &value, e))
            return false;
        for (int64_t i = 0; i < value; i++)
            c->ffn[i] = FFN_DENSE;
        return true;
    case DENSE_LIST:
        if (json_type(j) != JSON_ARRAY)
            return err_set(e, ERR_INPUT, "config.json: '%s' is not a list", r->key);
        for (const json *item = json_first(j); item; item = json_next(item)) {
            if (!rule_int(r, item, 0, layers - 1, &value, e))
                return false;
            c->ffn[value] = FFN_DENSE;
        }
        return true;
    case DENSE_EVERY:
        if (!rule_int(r, j, 1, INT32_MAX, &value, e))
            return false;
        for (int64_t i = 0; i < layers; i++)
            if ((i + 1) % value != 0)
                c->ffn[i] = FFN_DENSE;
        return true;
    case LINEAR_EVERY:
        if (!rule_int(r, j, 1, INT32_MAX, &value, e))
            return false;
        for (int64_t i = 0; i < layers; i++)
            c->linear[i] = (i + 1) % value != 0;
        return true;
    case LINEAR_TYPES: return apply_types(c, r, j, e);
    }
    return true;
}

static bool plan_layers(config *c, err *e)
{
    c->ffn = mem_new((uint64_t)c->arch.n_layers, sizeof *c->ffn, "the layer plan", e);
    c->linear = mem_new((uint64_t)c->arch.n_layers, sizeof *c->linear, "the layer plan", e);
    if (!c->ffn || !c->linear)
        return false;
    for (int64_t i = 0; i < c->arch.n_layers; i++)
        c->ffn[i] = FFN_MOE;
    for (int i = 0; i < c->family->n_layers; i++)
        if (!apply_rule(c, &c->family->layers[i], e))
            return false;
    return true;
}

// ---- keys that nothing reads ----

static bool path_begins(const char *path, const char *key)
{
    size_t len = strlen(key);
    return strncmp(path, key, len) == 0 && (path[len] == 0 || path[len] == '.');
}

static bool is_read(const family *f, const char *key)
{
    static const char *const others[] = {"architectures", "model_type", "text_config",
                                         "quantization_config", "quantization", "expert_dtype"};
    for (size_t i = 0; i < COUNT_OF(others); i++)
        if (strcmp(others[i], key) == 0)
            return true;
    for (int field = CF_NONE + 1; field < CF_COUNT; field++) {
        const config_key *k = key_of(f, (config_field)field);
        for (int p = 0; k->need != NEED_UNREAD && k->path[p]; p++)
            if (path_begins(k->path[p], key))
                return true;
    }
    for (int i = 0; i < config_n_common_fixed; i++)
        if (path_begins(config_common_fixed[i].path, key))
            return true;
    for (int i = 0; i < f->n_fixed; i++)
        if (path_begins(f->fixed[i].path, key))
            return true;
    for (int i = 0; i < f->n_layers; i++)
        if (strcmp(f->layers[i].key, key) == 0)
            return true;
    return false;
}

static void note_unread(const config *c, const events *v)
{
    strbuf list = {0};
    for (const json *j = json_first(c->text); j; j = json_next(j))
        if (!is_read(c->family, json_key(j)))
            strbuf_printf(&list, "%s%s", list.len ? ", " : "", json_key(j));
    if (list.len && !list.failed)
        event_note(v, "config.json: keys without effect here: %s", list.text);
    strbuf_free(&list);
}

// ---- doors ----

bool config_init(config *c, const char *text, size_t len, const events *v, err *e)
{
    *c = (config){0};
    if (!json_parse(&c->root, text, len, "config.json", e))
        return false;
    if (json_type(c->root) != JSON_OBJECT) {
        err_set(e, ERR_INPUT, "config.json: not an object");
        goto failed;
    }
    const json *inner = json_get(c->root, "text_config");
    c->text = inner && json_type(inner) == JSON_OBJECT ? inner : c->root;
    if (!find_family(c, e))
        goto failed;
    c->arch = c->family->facts;
    if (!read_keys(c, e) || !derive(c, e))
        goto failed;
    fill_arch(c);
    if (!check_relations(c, e) || !plan_layers(c, e))
        goto failed;
    note_unread(c, v);
    return true;
failed:
    config_free(c);
    return false;
}

void config_free(config *c)
{
    json_free(c->root);
    free(c->ffn);
    free(c->linear);
    *c = (config){0};
}

static int64_t field_or(const config *c, config_field f, int64_t none)
{
    return f == CF_NONE ? none : c->value[f].i;
}

int64_t config_dim(const config *c, dim d)
{
    const dim_row *r = &dim_table[d];
    if (d == DIM_ONE)
        return 1;
    return field_or(c, r->times, 1) * (field_or(c, r->a, 0) + field_or(c, r->b, 0)) +
           field_or(c, r->heads, 0) * field_or(c, r->size, 0);
}

layer_kind config_layer(const config *c, int64_t layer)
{
    bool of_model = layer >= 0 && layer < c->arch.n_layers;
    return (layer_kind){of_model && c->ffn[layer] == FFN_MOE, of_model && c->linear[layer]};
}

bool config_has_row(const config *c, const role_row *r, layer_kind in)
{
    switch (r->when) {
    case WHEN_ALWAYS: return true;
    case WHEN_UNTIED: return !c->arch.tied_head;
    case WHEN_BIAS: return c->arch.attention_bias;
    case WHEN_Q_LORA: return c->arch.q_lora > 0;
    case WHEN_Q_DIRECT: return c->arch.q_lora == 0;
    case WHEN_DENSE: return !in.mixture;
    case WHEN_MOE: return in.mixture;
    case WHEN_SHARED: return in.mixture && c->arch.shared_inter > 0;
    case WHEN_FULL: return !in.linear;
    case WHEN_LINEAR: return in.linear;
    }
    return false;
}

static void field_text(const config *c, config_field f, strbuf *out)
{
    const config_value *v = &c->value[f];
    strbuf_printf(out, "%s %lld", last_name(v->path), (long long)v->i);
}

void config_dim_text(const config *c, dim d, strbuf *out)
{
    const dim_row *r = &dim_table[d];
    bool product = r->times != CF_NONE, sum = r->b != CF_NONE;
    if (d == DIM_ONE)
        strbuf_puts(out, "1");
    if (product)
        field_text(c, r->times, out);
    if (product)
        strbuf_puts(out, sum ? " x (" : " x ");
    if (r->a != CF_NONE)
        field_text(c, r->a, out);
    if (sum) {
        strbuf_puts(out, " + ");
        field_text(c, r->b, out);
    }
    if (product && sum)
        strbuf_puts(out, ")");
    if (r->heads == CF_NONE)
        return;
    strbuf_puts(out, " + ");
    field_text(c, r->heads, out);
    strbuf_puts(out, " x ");
    field_text(c, r->size, out);
}
