// SPDX-License-Identifier: Apache-2.0
#include "cli/rules.h"

static bool choose_type(const rules_options *o, plan_options *out, err *e)
{
    if (!o->type)
        return true;
    if (!codec_from_user(o->type, &out->codec, e))
        return false;
    if (out->codec->form == CODEC_FLOAT)
        return err_set(e, ERR_USAGE, "--type %s is no quantized type; scruple convert --to bf16 "
                       "writes plain values", out->codec->name);
    out->scope = o->scope == 0 ? SCOPE_EXPERTS : SCOPE_ALL_LINEAR;
    return true;
}

bool rules_choose(const rules_options *o, recipe *rules, plan_options *out, err *e)
{
    if (!o->type && !o->recipe && !o->tensor_type.n)
        return err_set(e, ERR_USAGE, "--type TYPE is missing (or --recipe FILE, or --tensor-type "
                       "PATTERN=TYPE)");
    for (uint64_t i = 0; i < o->tensor_type.n; i++)
        if (!recipe_add_option(rules, o->tensor_type.item[i], e))
            return false;
    if ((o->recipe && !recipe_read(rules, o->recipe, e)) || !choose_type(o, out, e) ||
        (o->fallback && !codec_from_user(o->fallback, &out->fallback, e)))
        return false;
    out->search = o->search == 0 ? SEARCH_BEST : SEARCH_COMPAT;
    out->positive_scales = o->positive_scales;
    return true;
}
