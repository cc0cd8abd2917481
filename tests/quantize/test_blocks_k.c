// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "tests/block_case.h"
#include "tests/quantize/goldens.h"
#include "tests/refused.h"

Suite *suite_blocks_k(void);

enum { SUPER = 256 };

static const struct {
    dtype type;
    int bytes;
    const char *plain, *weighted, *decoded; // ggml's, see block_case.h
    uint64_t by_gguf;                       // tests/data/codecs/kquants.py
    int factors[2];                         // where the binary16 numbers lie
} types[] = {
    {DT_Q2_K, 84, "01083766daa691896bbc1e9da9e83703", "94878e87e1b54b17844e8cbd2dc2bbd3",
     "d2778869c3a355dd19d220ce65d29428", 4060809258747236708u, {80, 82}},
    {DT_Q3_K, 110, "cd1dccc8c550103993684719964daad5", "81d5774b77ab8409a6466e630ae600d7",
     "cf1bfbd9345f73925bdb80a7ebf1eae5", 4091554387928830450u, {108, 108}},
    {DT_Q4_K, 144, "025b5f1c121881de1db63f9e9b391db6", "e69b4c4b514970241627589ee9817d19",
     "6749dfb5da06315a1841b273660b224b", 4074078643772461488u, {0, 2}},
    {DT_Q5_K, 176, "39dabe8ffe206f06e6c6c7c617bd9e58", "e69b1a5e149b230824fab6e7d0a0cc90",
     "ac456db1a7218293e97405309f7ab99c", 4133047635628010081u, {0, 2}},
    {DT_Q6_K, 210, "294d7f0ad68539d4a0901061c17d9359", "95ded204bd727f2c4f8a3072b3df2961",
     "dc575610e659d9913f17f2eb828f695b", 4050199709545940442u, {208, 208}},
};

#define EACH_TYPE(t) for (size_t t = 0; t < COUNT_OF(types); t++)

START_TEST(has_the_bytes_of_ggml)
{
    EACH_TYPE(t)
        block_check_golden(types[t].type, types[t].plain, types[t].weighted, types[t].decoded);
}
END_TEST

// One row of weights from 0 to 65536 in magnitude, evenly spread over the exponents, most without
// importance: sums cancel, and ggml's integers wrap. Digests of the bytes of ggml's library (in
// llama-cpp-python 0.3.36, built for x86-64 without contraction).
START_TEST(has_the_bytes_of_ggml_where_its_integers_wrap)
{
    enum { IN = 64 * SUPER };
    static float x[IN], importance[IN];
    static uint8_t to[64 * 210];
    static const uint64_t EXPECTED[][2] = { // plain, with importance
        {60943098792255388u, 62089312867415572u},   {108049822095408264u, 108026749815610808u},
        {181922943433052779u, 182658563706727165u}, {276849848986657403u, 272756723358598430u},
        {386072880063074153u, 385694868475408584u},
    };
    for (uint32_t i = 0; i < IN; i++) {
        uint32_t h = mix(i * 5 + 1);
        float w = golden_weight(i, 1) * ldexpf(16, (int)(h % 250) - 232);
        x[i] = w > 65536 ? 65536 : w < -65536 ? -65536 : w;
        importance[i] = h >> 24 & 3 ? 0 : (float)(h >> 8 & 255) / 256;
    }
    EACH_TYPE(t)
        EACH_LEVEL(level)
            for (int weighted = 0; weighted < 2; weighted++) {
                uint64_t digest = 0;
                block_ops_at(types[t].type, level)
                    ->encode(&(block_rows){.from = x, .n = 1, .in = IN, .to = to,
                                           .importance = weighted ? importance : NULL,
                                           .search = SEARCH_COMPAT});
                for (int i = 0; i < 64 * types[t].bytes; i++)
                    digest_add(&digest, (uint64_t)i, to[i]);
                ck_assert_msg(digest == EXPECTED[t][weighted], "%s, %s, %s",
                              dtype_name(types[t].type), cpu_name(level),
                              weighted ? "weighted" : "plain");
            }
}
END_TEST

// Every other sub-block has weights most of which are 0.9 to 1 of the largest, of either sign: each
// candidate's scale cuts others of them off. The rest are integers up to 63 or 65, of which those
// for 31.5 and 32.5 make halves. Digests as above.
START_TEST(has_the_bytes_of_ggml_where_codes_are_cut_off_or_ties)
{
    enum { IN = 64 * SUPER };
    static float x[IN], importance[IN];
    static uint8_t to[64 * 210];
    static const struct {
        dtype type;
        int bytes;
        uint64_t expected[2]; // plain, with importance
    } cases[] = {{DT_Q3_K, 110, {107225479934861956u, 107503979157299969u}},
                 {DT_Q6_K, 210, {390057246550816337u, 390259399173211441u}}};
    for (uint32_t i = 0; i < IN; i++) {
        uint32_t h = mix(i * 7 + 3);
        float part = h & 3 ? golden_weight(i, 5) * 8 : 1 - (float)(h >> 8 & 1023) * 0x1p-13f;
        x[i] = (h >> 2 & 1 ? -part : part) * (golden_weight(i / 16, 9) * 4 + 0.5f);
        if (i / 16 % 2) // the largest one is the sixth
            x[i] = (float)(i % 16 == 5 ? 63 + (int)(i / 32 % 2) * 2 : (int)(h % 125) - 62);
        importance[i] = (float)((h >> 24 & 255) + 1) / 256;
    }
    for (size_t t = 0; t < COUNT_OF(cases); t++)
        EACH_LEVEL(level)
            for (int weighted = 0; weighted < 2; weighted++) {
                uint64_t digest = 0;
                block_ops_at(cases[t].type, level)
                    ->encode(&(block_rows){.from = x, .n = 1, .in = IN, .to = to,
                                           .importance = weighted ? importance : NULL,
                                           .search = SEARCH_COMPAT});
                for (int i = 0; i < 64 * cases[t].bytes; i++)
                    digest_add(&digest, (uint64_t)i, to[i]);
                ck_assert_msg(digest == cases[t].expected[weighted], "%s, %s, %s: %" PRIu64,
                              dtype_name(cases[t].type), cpu_name(level),
                              weighted ? "weighted" : "plain", digest);
            }
}
END_TEST

START_TEST(decodes_what_gguf_decodes)
{
    enum { BLOCKS = 400 };
    static uint8_t bytes[BLOCKS * 210];
    static float x[BLOCKS * SUPER];
    EACH_TYPE(t) {
        int size = types[t].bytes;
        for (int i = 0; i < BLOCKS * size; i++)
            bytes[i] = (uint8_t)mix((uint32_t)i);
        for (int b = 0; b < BLOCKS; b++)
            for (int k = 0; k < (types[t].factors[0] == types[t].factors[1] ? 1 : 2); k++)
                bytes[b * size + types[t].factors[k] + 1] &= 0xbb; // below 1: no infinity, no NaN
        EACH_LEVEL(level) {
            uint64_t digest = 0;
            block_ops_at(types[t].type, level)->decode(x, bytes, BLOCKS);
            for (int i = 0; i < BLOCKS * SUPER; i++)
                digest_add(&digest, (uint64_t)i, f32_bits(x[i]));
            ck_assert_msg(digest == types[t].by_gguf, "%s", dtype_name(types[t].type));
        }
    }
}
END_TEST

// Kinds of super-blocks that take every way through the searches.
enum { KINDS = 12 };

static float odd_value(int kind, uint32_t i, float largest)
{
    float x = golden_weight(i, 5) * 8, y = golden_weight(i, 77) * 8;
    uint32_t h = mix(i);
    switch (kind) {
    case 0: return x;
    case 1: return x * f32_from_bits((100 + h % 30) << 23);         // many magnitudes
    case 2: return (float)((int)(h % 9) - 4) * 0.125f;              // ties
    case 3: return h % 8 ? 0.0f : x;
    case 4: return i / 16 % 3 ? -0.75f : x;                         // constant sub-blocks
    case 5: return i % SUPER == 100 ? 1000.0f : x * 1e-3f;          // one outlier
    case 6: return 10.0f + x * 0.01f;                               // far from zero
    case 7: return x * 1e-3f - 10.0f;
    case 8: return x * f32_from_bits((100 + i / 16 % 24) << 23);    // unlike sub-blocks
    case 9: return x * 0x1p-130f;                                   // subnormal
    case 10: return i / 16 % 16 == 3 ? y * 0x1p-20f : x * 0x1p-70f; // all but one next to zero
    default: return h % 3 ? (h % 2 ? largest : -largest) : x * largest; // as large as can be
    }
}

static void fill(float *x, int64_t n, float largest)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = odd_value((int)(i / SUPER % KINDS), (uint32_t)i, largest);
}

START_TEST(has_the_same_bytes_at_every_level)
{
    static float x[3 * KINDS * SUPER];
    EACH_TYPE(t) {
        fill(x, COUNT_OF(x), block_ops_at(types[t].type, CPU_PLAIN)->largest);
        block_check_levels(types[t].type, x, 3, KINDS * SUPER);
        block_check_levels(types[t].type, x + SUPER, 1, SUPER); // one super-block alone
    }
}
END_TEST

START_TEST(encodes_rows_alone_as_among_others)
{
    enum { ROWS = 7, IN = 3 * SUPER };
    static float x[ROWS * IN], importance[IN];
    static uint8_t all[ROWS * 3 * 210], alone[3 * 210];
    for (int i = 0; i < ROWS * IN; i++)
        x[i] = golden_weight((uint32_t)i, 3);
    for (int i = 0; i < IN; i++)
        importance[i] = 1.0f + (float)(mix((uint32_t)i) % 50);
    EACH_TYPE(t)
        for (int how = 0; how < 4; how++) {
            block_rows r = {.from = x, .n = ROWS, .in = IN, .to = all,
                            .importance = how & 1 ? importance : NULL,
                            .search = how & 2 ? SEARCH_BEST : SEARCH_COMPAT};
            const block_ops *ops = block_ops_used(types[t].type);
            ops->encode(&r);
            r.n = 1;
            r.to = alone;
            for (int row = 0; row < ROWS; row++) {
                r.from = x + row * IN;
                ops->encode(&r);
                ck_assert(!memcmp(alone, all + row * 3 * types[t].bytes,
                                  (size_t)(3 * types[t].bytes)));
            }
        }
}
END_TEST

static double weighted_error(const float *x, const float *back, const float *importance)
{
    double sum = 0;
    for (int i = 0; i < SUPER; i++) {
        double d = (double)back[i] - (double)x[i];
        sum += (importance ? (double)importance[i] : 1.0) * d * d;
    }
    return sum;
}

START_TEST(searching_never_makes_a_super_block_worse)
{
    enum { BLOCKS = 20 * KINDS };
    static float x[BLOCKS * SUPER], importance[BLOCKS * SUPER], back[2][BLOCKS * SUPER];
    static uint8_t to[BLOCKS * 210];
    for (size_t i = 0; i < COUNT_OF(importance); i++)
        importance[i] = ldexpf(1.0f + (float)(mix((uint32_t)i) % 7), (int)(i / SUPER % 5) * 4 - 8);
    EACH_TYPE(t)
        for (int weighted = 0; weighted < 2; weighted++) {
            const block_ops *ops = block_ops_used(types[t].type);
            fill(x, COUNT_OF(x), ops->largest);
            for (int best = 0; best < 2; best++) {
                ops->encode(&(block_rows){.from = x, .n = 1, .in = COUNT_OF(x), .to = to,
                                          .importance = weighted ? importance : NULL,
                                          .search = best ? SEARCH_BEST : SEARCH_COMPAT});
                ops->decode(back[best], to, BLOCKS);
            }
            for (int b = 0; b < BLOCKS; b++) {
                const float *o = weighted ? importance + b * SUPER : NULL;
                double compat = weighted_error(x + b * SUPER, back[0] + b * SUPER, o);
                double best = weighted_error(x + b * SUPER, back[1] + b * SUPER, o);
                ck_assert_msg(best <= compat && isfinite(compat), "%s, block %d: %g, then %g",
                              dtype_name(types[t].type), b, compat, best);
            }
        }
}
END_TEST

START_TEST(keeps_zeros)
{
    static float x[SUPER], back[SUPER];
    static uint8_t to[210];
    for (int i = 0; i < SUPER; i += 3)
        x[i] = -0.0f;
    EACH_TYPE(t)
        for (int best = 0; best < 2; best++) {
            const block_ops *ops = block_ops_used(types[t].type);
            ops->encode(&(block_rows){.from = x, .n = 1, .in = SUPER, .to = to,
                                      .search = best ? SEARCH_BEST : SEARCH_COMPAT});
            ops->decode(back, to, 1);
            for (int i = 0; i < SUPER; i++)
                ck_assert(back[i] == 0.0f);
        }
}
END_TEST

// A super-block whose sub-blocks use the ends of the codes, and whose scales (minima) the largest
// integer: the searches have to begin with what it was made of, and nothing can be better.
static void on_grid(dtype type, uint32_t seed, float *x)
{
    bool affine = type == DT_Q2_K || type == DT_Q4_K || type == DT_Q5_K;
    int n = type == DT_Q4_K || type == DT_Q5_K ? 32 : 16, subs = SUPER / n;
    int limit = type == DT_Q2_K ? 15 : type == DT_Q3_K ? 32 : type == DT_Q6_K ? 128 : 63;
    int top = type == DT_Q2_K ? 3 : type == DT_Q3_K ? 4 : type == DT_Q4_K ? 15
              : type == DT_Q5_K ? 31 : 32;
    float d = 0x1.3p-9f, dmin = 0x1.28p-8f;
    int first = (int)(mix(seed) % (uint32_t)subs);
    for (int j = 0; j < subs; j++) {
        uint32_t h = mix(seed * 64 + (uint32_t)j);
        int s = limit / 4 + (int)(h % (uint32_t)(limit - limit / 4));
        int m = (int)(h >> 8) % limit;
        if (j == first)
            s = m = limit;
        if (!affine && (j == first || h >> 31))
            s = -s;
        for (int i = 0; i < n; i++) {
            int q = (int)(mix(h + (uint32_t)i) % (uint32_t)(affine ? top + 1 : 2 * top));
            q = i == 3 ? 0 : i == 7 && affine ? top : q; // the ends
            x[j * n + i] = affine ? d * (float)s * (float)q - dmin * (float)m
                                  : d * (float)s * (float)(q - top);
        }
    }
}

START_TEST(keeps_super_blocks_that_lie_on_its_grid)
{
    enum { BLOCKS = 60 };
    static float x[BLOCKS * SUPER], back[BLOCKS * SUPER], importance[BLOCKS * SUPER];
    static uint8_t to[BLOCKS * 210];
    for (size_t i = 0; i < COUNT_OF(importance); i++)
        importance[i] = 1.0f + (float)(mix((uint32_t)i) % 16);
    EACH_TYPE(t) {
        const block_ops *ops = block_ops_used(types[t].type);
        for (uint32_t b = 0; b < BLOCKS; b++)
            on_grid(types[t].type, b, x + b * SUPER);
        for (int how = 0; how < 4; how++) {
            ops->encode(&(block_rows){.from = x, .n = 1, .in = COUNT_OF(x), .to = to,
                                      .importance = how & 1 ? importance : NULL,
                                      .search = how & 2 ? SEARCH_BEST : SEARCH_COMPAT});
            ops->decode(back, to, BLOCKS);
            for (size_t i = 0; i < COUNT_OF(x); i++)
                ck_assert_msg(back[i] == x[i], "%s, %d, weight %zu: %g became %g",
                              dtype_name(types[t].type), how, i, (double)x[i], (double)back[i]);
        }
    }
}
END_TEST

START_TEST(errs_by_about_a_step_at_most)
{
    static const float STEPS[] = {3, 4, 15, 31, 32}; // over a range of 1 (Q2_K, Q4_K, Q5_K: of 2)
    enum { BLOCKS = 50 };
    static float x[BLOCKS * SUPER], back[BLOCKS * SUPER];
    static uint8_t to[BLOCKS * 210];
    for (uint32_t i = 0; i < COUNT_OF(x); i++)
        x[i] = (float)(int32_t)mix(i) * 0x1p-31f;
    EACH_TYPE(t)
        for (int best = 0; best < 2; best++) {
            const block_ops *ops = block_ops_used(types[t].type);
            // Codes of signed types end a step below the extreme on one side.
            float step = (types[t].type == DT_Q3_K || types[t].type == DT_Q6_K ? 1.5f : 2.0f)
                         / STEPS[t];
            ops->encode(&(block_rows){.from = x, .n = 1, .in = COUNT_OF(x), .to = to,
                                      .search = best ? SEARCH_BEST : SEARCH_COMPAT});
            ops->decode(back, to, BLOCKS);
            for (size_t i = 0; i < COUNT_OF(x); i++)
                ck_assert_msg(fabsf(back[i] - x[i]) < step, "%s: %g became %g",
                              dtype_name(types[t].type), (double)x[i], (double)back[i]);
        }
}
END_TEST

START_TEST(holds_values_as_large_as_can_be)
{
    static float x[SUPER], back[SUPER];
    static uint8_t to[210];
    EACH_TYPE(t)
        for (int best = 0; best < 2; best++) {
            const block_ops *ops = block_ops_used(types[t].type);
            for (uint32_t i = 0; i < SUPER; i++)
                x[i] = mix(i) % 2 ? ops->largest : -ops->largest;
            ops->encode(&(block_rows){.from = x, .n = 1, .in = SUPER, .to = to,
                                      .search = best ? SEARCH_BEST : SEARCH_COMPAT});
            ops->decode(back, to, 1);
            for (int i = 0; i < SUPER; i++)
                ck_assert_msg(fabsf(back[i] - x[i]) < 0.35f * ops->largest, "%s: %g became %g",
                              dtype_name(types[t].type), (double)x[i], (double)back[i]);
        }
}
END_TEST

START_TEST(refuses_values_whose_scale_would_be_infinite)
{
    static float x[2 * SUPER];
    static uint8_t to[2 * 210];
    EACH_TYPE(t) {
        const codec *c = codec_find(dtype_name(types[t].type));
        float largest = block_ops_used(types[t].type)->largest;
        encode_options o = ENCODE_DEFAULTS;
        err e = ERR_INIT;
        char words[80];
        x[SUPER + 9] = nextafterf(largest, INFINITY);
        snprintf(words, sizeof words, "row 1, column 9: %.9g is too large for %s",
                 (double)x[SUPER + 9], c->name);
        ASSERT_REFUSED(c->encode(c, SUPER, 2, x, &o, (void *const[]){to}, &refused), words);
        x[SUPER + 9] = -largest;
        ASSERT_OK(c->encode(c, SUPER, 2, x, &o, (void *const[]){to}, &e), e);
    }
}
END_TEST

// Bytes depend on the ratios of the importance alone, in a range that real ones do not leave.
START_TEST(takes_importance_of_any_size)
{
    enum { IN = 4 * SUPER };
    static float x[IN], importance[IN], scaled[IN];
    static uint8_t to[2][4 * 210];
    static const float FACTORS[] = {0x1p100f, 0x1p-110f, 0x1p12f};
    for (uint32_t i = 0; i < IN; i++) {
        x[i] = golden_weight(i, 3);
        importance[i] = 1.0f + (float)(mix(i) % 50) / 64;
    }
    EACH_TYPE(t)
        for (size_t f = 0; f < COUNT_OF(FACTORS); f++)
            for (int best = 0; best < 2; best++) {
                const block_ops *ops = block_ops_used(types[t].type);
                block_rows r = {.from = x, .n = 1, .in = IN, .to = to[0],
                                .importance = importance,
                                .search = best ? SEARCH_BEST : SEARCH_COMPAT};
                ops->encode(&r);
                for (int i = 0; i < IN; i++)
                    scaled[i] = importance[i] * FACTORS[f];
                r.importance = scaled;
                r.to = to[1];
                ops->encode(&r);
                ck_assert(!memcmp(to[0], to[1], (size_t)(4 * types[t].bytes)));
            }
}
END_TEST

Suite *suite_blocks_k(void)
{
    Suite *s = suite_create("blocks_k");
    TCase *c = tcase_create("blocks_k");
    tcase_add_test(c, has_the_bytes_of_ggml);
    tcase_add_test(c, has_the_bytes_of_ggml_where_its_integers_wrap);
    tcase_add_test(c, has_the_bytes_of_ggml_where_codes_are_cut_off_or_ties);
    tcase_add_test(c, decodes_what_gguf_decodes);
    tcase_add_test(c, has_the_same_bytes_at_every_level);
    tcase_add_test(c, encodes_rows_alone_as_among_others);
    tcase_add_test(c, searching_never_makes_a_super_block_worse);
    tcase_add_test(c, keeps_zeros);
    tcase_add_test(c, keeps_super_blocks_that_lie_on_its_grid);
    tcase_add_test(c, errs_by_about_a_step_at_most);
    tcase_add_test(c, holds_values_as_large_as_can_be);
    tcase_add_test(c, refuses_values_whose_scale_would_be_infinite);
    tcase_add_test(c, takes_importance_of_any_size);
    suite_add_tcase(s, c);
    return s;
}
