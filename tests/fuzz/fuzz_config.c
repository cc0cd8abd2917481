// SPDX-License-Identifier: Apache-2.0
// config.json: family, dimensions, layer plan, and what quantization_config declares.
#include <math.h>
#include <string.h>

#include "formats/config.h"
#include "formats/quant_config.h"
#include "tests/fuzz/fuzz.h"

static void take_line(void *ctx, const char *line)
{
    (void)ctx;
    FUZZ_CHECK(*line);
}

static void check_arch(const arch *a)
{
    const int64_t sizes[] = {a->hidden, a->n_layers, a->vocab, a->n_heads, a->n_experts};
    FUZZ_CHECK(a->family && *a->family);
    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        FUZZ_CHECK(sizes[i] >= (i < 4 ? 1 : 0) && sizes[i] < (int64_t)1 << 31);
    FUZZ_CHECK(a->top_k >= 0 && a->top_k <= a->n_experts);
    FUZZ_CHECK(isfinite(a->norm_eps) && isfinite(a->rope_theta) && isfinite(a->route_scale));
    FUZZ_CHECK(a->bos >= -1 && a->n_extra_layers >= 0);
    if (a->mixer == MIXER_GQA)
        FUZZ_CHECK(a->n_kv_heads >= 1 && a->n_heads % a->n_kv_heads == 0 && a->head_dim >= 1);
    else
        FUZZ_CHECK(a->kv_lora >= 1 && a->q_lora >= 0 && a->qk_nope >= 0 && a->v_dim >= 1);
}

FUZZ_TARGET(config, 4 << 20)
{
    err e = ERR_INIT;
    config c;
    quant_config q;
    events v = {.warn = take_line, .note = take_line};
    if (!config_init(&c, (const char *)bytes, n, &v, &e)) {
        fuzz_refused(&e);
        FUZZ_CHECK(!c.root && !c.ffn && !c.family);
        return;
    }
    fuzz_accept();
    check_arch(&c.arch);
    for (int64_t i = 0; i < c.arch.n_layers; i++)
        FUZZ_CHECK(c.ffn[i] == FFN_DENSE || c.ffn[i] == FFN_MOE);
    for (int d = 0; d < DIM_COUNT; d++) {
        strbuf text = {0};
        FUZZ_CHECK(config_dim(&c, (dim)d) >= 0);
        config_dim_text(&c, (dim)d, &text);
        strbuf_free(&text);
    }
    if (quant_config_read(&q, &c, &e)) {
        char buf[200];
        FUZZ_CHECK(q.n >= 0 && q.n <= QUANT_MAX_DECLARED && (q.n == 0 || q.method));
        FUZZ_CHECK(strlen(quant_config_text(&q, buf, sizeof buf)) < sizeof buf);
    } else {
        fuzz_refused(&e);
    }
    config_free(&c);
}
