// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <string.h>

#include "base/bitscan.h"
#include "base/cpu.h"

Suite *suite_bitscan(void);

enum { MOST = 1200 }; // elements: one step of the widest vectors with bytes, and a rest

// By definition, element after element.
static bool by_hand(const bit_pattern *p, const unsigned char *at, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        uint64_t v = 0;
        for (int k = p->width - 1; k >= 0; k--)
            v = v << 8 | at[i * p->width + k];
        if ((p->all && (v & p->all) == p->all) || (p->none && (v & p->none) == 0))
            return true;
    }
    return false;
}

static const bit_pattern patterns[] = {
    {1, 0x7f, 0}, {1, 0x7c, 0}, {1, 0xff, 0}, {1, 0x7f, 0x7f}, {2, 0x7f80, 0}, {2, 0x7c00, 0x7fff},
    {4, 0x7f800000, 0x7fffffff}, {4, 0x7f800000, 0}, {4, 0, 0x7fffffff}, {4, 0, 0},
    {8, 0x7ff0000000000000, 0x7fffffffffffffff}, {8, 0x7ff0000000000000, 0},
};

static void all_agree(const bit_pattern *p, const unsigned char *at, int64_t n)
{
    bool is = by_hand(p, at, n);
    err e = ERR_INIT;
    for (cpu_level level = 0; level < CPU_LEVELS; level++) {
        if (!cpu_has(level))
            continue;
        ck_assert_msg(cpu_use(level, &e), "%s", e.text);
        ck_assert_msg(bitscan(p, at, n) == is, "width %d, %lld elements, %s", p->width,
                      (long long)n, cpu_name(level));
    }
    ck_assert_msg(cpu_use(cpu_best(), &e), "%s", e.text);
}

START_TEST(finds_one_element_anywhere_on_every_level)
{
    static unsigned char bytes[8 * MOST + 8];
    for (size_t i = 0; i < COUNT_OF(patterns); i++) {
        const bit_pattern *p = &patterns[i];
        for (int shift = 0; shift < 3; shift++) {
            unsigned char *at = bytes + shift;
            for (int64_t place = -1, step = 1; place < MOST; place += step) {
                step = place < 20 || place > MOST - 70 ? 1 : 67;
                memset(bytes, 0x11, sizeof bytes);
                uint64_t special = i % 2 ? UINT64_MAX : p->all | 1;
                if (p->none && place % 2)
                    special = 0;
                if (place >= 0)
                    memcpy(at + place * p->width, &special, (size_t)p->width);
                all_agree(p, at, MOST);
                all_agree(p, at, place);
            }
        }
    }
}
END_TEST

START_TEST(agrees_with_the_definition_on_random_bytes)
{
    static unsigned char bytes[8 * MOST];
    uint32_t x = 7;
    for (int round = 0; round < 60; round++) {
        for (size_t i = 0; i < sizeof bytes; i++) {
            x = x * 1664525u + 1013904223u;
            bytes[i] = (unsigned char)(x >> 24) & (round % 3 ? 0xff : 0x7e);
        }
        for (size_t i = 0; i < COUNT_OF(patterns); i++)
            all_agree(&patterns[i], bytes + round % 5, x % 300);
    }
}
END_TEST

Suite *suite_bitscan(void)
{
    Suite *s = suite_create("bitscan");
    TCase *c = tcase_create("bitscan");
    tcase_add_test(c, finds_one_element_anywhere_on_every_level);
    tcase_add_test(c, agrees_with_the_definition_on_random_bytes);
    suite_add_tcase(s, c);
    return s;
}
