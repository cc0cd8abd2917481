#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes formats/unidata.c: where our libraries' Unicode differs from the tokenizers package's.

usage: unicode_tables.py          writes the file
       unicode_tables.py --check  fails unless the file is what would be written

Needs the tokenizers package (the reference: its Oniguruma knows Unicode 16, its normaliser
Unicode 9), unicodedata2 (the newest Unicode there is) and a Python whose unicodedata is 14.0 (3.11;
the same version as PCRE2 10.42, the oldest that we build with). The program itself needs none.
"""
import pathlib, sys, unicodedata

import tokenizers, unicodedata2 as newest
from tokenizers import Regex, normalizers, pre_tokenizers

FILE = pathlib.Path(__file__).resolve().parents[2] / "formats" / "unidata.c"
CODES = [c for c in range(1, 0x110000) if not 0xD800 <= c < 0xE000]
ALL = "".join(map(chr, CODES))
CATEGORIES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cf".split()
SCRIPTS = "Han Hiragana Katakana Hangul".split()


def package_set(pattern):
    """The code points that a pattern for one character matches in the tokenizers package."""
    split = pre_tokenizers.Split(Regex(pattern + "+"), "removed", invert=True)
    return {ord(c) for piece, _ in split.pre_tokenize_str(ALL) for c in piece}


def ranges(codes):
    out = []
    for c in sorted(codes):
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def since_14():
    rows = []
    for name in CATEGORIES:
        new = {c for c in package_set(r"\p{%s}" % name) if unicodedata.category(chr(c)) == "Cn"}
        rows += [(a, b, name) for a, b in ranges(new)]
    for name in SCRIPTS:
        new = {c for c in package_set(r"\p{%s}" % name) if unicodedata.category(chr(c)) == "Cn"}
        rows += [(a, b, name) for a, b in ranges(new)]
    return sorted(rows)


def unnormalised():
    """What the newest Unicode decomposes, reorders or composes and the package's normaliser
    does not know. Of a composite that it does not know also the character that begins it, so
    that the pair does not become one."""
    asked = [c for c in CODES if newest.combining(chr(c)) or newest.decomposition(chr(c))]
    # Canonically ordered, a mark of class > 1 goes behind U+0334 (class 1), one of class < 240
    # in front of U+0345 (class 240); what the normaliser does not know stays where it stands.
    still = ["A" + chr(c) + "\u0334B\u0345" + chr(c) for c in asked]
    moved = normalizers.NFKD().normalize_str("\n".join(still)).split("\n")
    out = {c for c, s, m in zip(asked, still, moved, strict=True) if s == m}
    for c in list(out):
        pair = newest.decomposition(chr(c)).split()
        if len(pair) == 2 and not pair[0].startswith("<"):
            out.add(int(pair[0], 16))
    return ranges(out)


def text():
    head = f"""// SPDX-License-Identifier: Apache-2.0
// check-style: data table
// Written by scripts/oracle/unicode_tables.py from tokenizers {tokenizers.__version__}; do not edit.
#include "formats/unidata.h"

"""
    body = "const unidata_class unidata_since_14[] = {\n"
    rows = since_14()
    body += "".join(f'    {{0x{a:05x}, 0x{b:05x}, "{n}"}},\n' for a, b, n in rows)
    body += f"}};\nconst int unidata_n_since_14 = {len(rows)};\n\n"
    rows = unnormalised()
    body += "const unidata_range unidata_unnormalised[] = {\n"
    body += "".join(f"    {{0x{a:05x}, 0x{b:05x}}},\n" for a, b in rows)
    body += f"}};\nconst int unidata_n_unnormalised = {len(rows)};\n"
    return head + body


if unicodedata.unidata_version != "14.0.0":
    sys.exit(f"unicode_tables.py: Python's Unicode is {unicodedata.unidata_version}, not 14.0.0")
if sys.argv[1:] == ["--check"]:
    if FILE.read_text() != text():
        sys.exit(f"unicode_tables.py: {FILE.name} is not what this tokenizers package gives")
    print("unicode_tables.py: the same")
else:
    FILE.write_text(text())
