// SPDX-License-Identifier: Apache-2.0
#include "convert/fused.h"

static const role fused[][FUSED_MOST] = {
    {ROLE_EXPERT_GATE, ROLE_EXPERT_UP, ROLE_COUNT},
    {ROLE_SHARED_GATE, ROLE_SHARED_UP, ROLE_COUNT},
    {ROLE_FFN_GATE, ROLE_FFN_UP, ROLE_COUNT},
    {ROLE_Q, ROLE_K, ROLE_V},
};

static const role *partners(role r)
{
    for (size_t i = 0; i < COUNT_OF(fused); i++)
        for (int k = 0; k < FUSED_MOST; k++)
            if (fused[i][k] == r && r != ROLE_COUNT)
                return fused[i];
    return NULL;
}

int fused_with(const model *m, role r, int64_t layer, int64_t expert,
               const weight *to[FUSED_MOST])
{
    const role *with = partners(r);
    const weight *own = with ? model_weight(m, r, layer, expert) : NULL;
    int n = 0;
    for (int k = 0; own && k < FUSED_MOST; k++) {
        const weight *w =
            with[k] == ROLE_COUNT ? NULL : model_weight(m, with[k], layer, expert);
        if (w && w->in == own->in)
            to[n++] = w;
    }
    return n;
}
