#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares `scruple tokens` with the Hugging Face tokenizers package, id by id.

usage: tokenizer.py [SCRUPLE] [--shared ../shared] [--fuzz 500] [--patterns 300] [--seed 1] [-v]

Real tokenizers (nano, mini) and a Qwen2-style one trained here on the shared texts, over all shared
texts, a list of tricky texts and random Unicode; then every kind of pre-tokenizer, normaliser and
added token that the program knows, over the tricky texts and random Unicode. Random texts go through
a model that merges any two bytes, so that a piece that begins or ends elsewhere changes the ids; the
members of every Unicode property are compared character by character. Exit status 1 where ids differ.

tokenizer.py --write-goldens writes tests/data/tokenizer/ instead (the results that `make test` uses).
"""
import argparse, copy, hashlib, json, os, pathlib, random, struct, subprocess, sys, tempfile, time

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, trainers

ROOT = pathlib.Path(__file__).resolve().parents[2]
END = "<|endoftext|>"
QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
         r"|\s*[\r\n]+|\s+(?!\S)|\s+")
LLAMA3 = QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
QWEN35 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
          r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
UPPER, LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
ENDING = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
O200K = (rf"[^\r\n\p{{L}}\p{{N}}]?[{UPPER}]*[{LOWER}]+{ENDING}|[^\r\n\p{{L}}\p{{N}}]?[{UPPER}]+[{LOWER}]*"
         rf"{ENDING}|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
KIMI = (rf"[\p{{Han}}]+|[^\r\n\p{{L}}\p{{N}}]?[{UPPER}&&[^\p{{Han}}]]*[{LOWER}&&[^\p{{Han}}]]+{ENDING}"
        rf"|[^\r\n\p{{L}}\p{{N}}]?[{UPPER}&&[^\p{{Han}}]]+[{LOWER}&&[^\p{{Han}}]]*{ENDING}|\p{{N}}{{1,3}}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
CL100K = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
          r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s")
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
DEEPSEEK_V2 = [r"[\r\n]", r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ϿЀ-ҁҊ-ԯ]+",
               r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", r"[一-龥ࠀ-一가-퟿]+", r"\p{N}+"]
BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]

TRICKY = [
    "", " ", "  ", "\n", "\r\n", "\r\n\r\n \r", "\t\t x", "a", " a", "a ", "  a  b   c    ",
    "It's we'LL THEY'RE i'Ve 'tis 'S 'ſ 'K don't''s", "caf\u00e9 cafe\u0301 CAFE\u0301", "\u212b \u00c5 A\u030a",
    "e\u0301\u0323 e\u0323\u0301 \u0344 \u0390 \u1fd3", "\u1100\u1161\u11a8 \uac01 \u1100\u1161 \u11a8", "ﬁ ﬀ ß ẞ ŉ İ ı ǰ",
    "Der König aß süße Äpfel – „schön“!", "L’été où naïve œuvre", "Příliš žluťoučký kůň", "Tiếng Việt ngữ pháp".encode().decode(),
    "Tie\u0302\u0301ng Vie\u0323\u0302t", "Привет, мир! Ёлка ёж й й", "Ελληνικά ΐ ΰ", "漢字かな交じり文、カタカナ。１２３", "你好，世界！一二三",
    "中文English混排abc123", "한국어 텍스트 안녕하세요", "العربية نصٌّ مُشَكَّلٌ ١٢٣", "עִבְרִית שָׁלוֹם", "हिन्दी पाठ क़ ड़", "ภาษาไทย น้ำ",
    "👨\u200d👩\u200d👧\u200d👦 👍🏽 🏳️\u200d🌈 🇩🇪🇫🇷 ❤️ 1️⃣", "🩷🫨🫩 \U0001fadf", "a\u200bb\u200cc\u200dd\ufeffe", "x\u00a0y\u202fz\u3000w\u180ev\u0085u",
    "\u2028\u2029", "\x00\x01\x1b[0m\x7f\x1c\x1d\x1e\x1f", "a\x00b", "\ufffd\ufffe\uffff\U0010ffff\ue000", "1234567890 3.14159e-10 1,000,000",
    "٣٤٥ ௧௨ ⅫⅣ ½ ² ①", "!!!???... --- === ###", "foo(bar)[baz]{qux};\n\tif (x != y) { return; }\n", "https://example.org/a?b=c&d=%20#e",
    "\u0301start", "a\u0300\u0301\u0302\u0303\u0304", "\u0315\u0300\u05ae\u0062", "q\u0307\u0323 \u0344", "\u0958 \u2adc \ufb1d",
    "\u0f71\u0f72\u0f74\u0f80", "\U0001d15e \U0001d1c0", "\u1e9b\u0323", "x\u0897y\u0301", "a\u07fd\u0323\u0301", "\U00011935\U00011930 \U00011938",
    "\U000105d2\u0307", "<|endoftex", "|>", "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n",
    "a<|im_end|>b", " <|im_start|> ", "<|im_start|><|im_start|>", "<|im_start", "<|im_start|", "<<|im_end|>>", "<tool_call>\n{}\n</tool_call>",
    "<｜begin▁of▁sentence｜>x<｜end▁of▁sentence｜>", "word" * 50, " " * 300, "\n" * 300, "9" * 300, "=" * 300, "ab" * 300, "é" * 200, "e\u0301" * 200, "日" * 200,
]

POOLS = {
    "ascii": [chr(c) for c in range(32, 127)], "letters": list("etaoinsrhlETAOIN"),
    "digits": list("0123456789") + list("٣٤௧Ⅻ½²①१߀") + ["\U00010d40", "\U0001d7d8", "\U00011de0"],
    "space": [" "] * 6 + list("\t\n\r\v\f\x1c\x1f\x85\xa0\u1680\u180e\u2000\u200a\u200b\u2028\u2029\u202f\u205f\u3000\ufeff"),
    "lines": ["\n", "\r", "\r\n", " \n", "\n\n"],
    "apostrophe": ["'s", "'S", "'ſ", "'t", "'T", "'re", "'RE", "'rE", "'ve", "'m", "'ll", "'LL", "'d", "'", "’s", "'K", "'\u212a"],
    "punct": list("!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~¡§«»–—‘’“”…、。，！（）؟।"),
    "symbols": list("©®°±×÷€£¥¢^~`+<=>|$∑∞→⇒■♠☃") + ["\U0001fbf0", "\U0001d100"],
    "latin": list("àáâãäåæçèéêëìíîïñòóôõöøùúûüýÿßẞœšžƒǅǈǋǲıİŉ") + ["\u212b", "\u1e9e"],
    "cyrillic": list("абвгдежзийклмнопрстуфхцчшщъыьэюяЁЙґ"), "greek": list("αβγδεζηθικλμνξοπρσςτυφχψωΆΐΰ"),
    "han": list("的一是在不了有和人这中大为上个国我以要他") + ["\u3007", "\U00020000", "\U0002ebf0", "\U00031350", "龥", "龦", "\u9fff", "\u4e00"],
    "kana": list("ぁあいうんゟ゠ァアイヿー・ｱﾞ"), "hangul": list("가각힣각ㄱ") + ["\u1100\u1161", "\u1161\u11a8", "\uac00\u11a8"],
    "arabic": list("ابتثجحخدذرزسشصضطظعغفقكلمنهويءآأؤ") + list("\u064b\u064e\u0651\u0670\u0653"),
    "hebrew": list("אבגדהוזחטיכלמ") + list("\u05b0\u05b4\u05bc\u05c1\ufb1d"), "indic": list("कखगघड़क़ािीु्ँं") + ["\u0915\u093c"], "thai": list("กขคงำา้็"),
    "marks": [chr(c) for c in range(0x300, 0x370)] + list("\u0315\u031b\u0323\u0327\u0328\u0338\u0345\u0591\u05ae\u0610\u064b\u0897\u0898\u07fd\u09fe\u0c3c\u1dfa\u20d0\u302a\u3099\u309a\ufe20") + ["\U0001e130", "\U00010d24", "\U00010d69", "\U0001d165", "\U00011930"],
    "emoji": ["👍", "👍🏽", "❤️", "🇩", "🇪", "\u200d", "\ufe0f", "👨\u200d👩", "🩷", "\U0001fadf", "⚕"],
    "added": ["<|im_start|>", "<|im_end|>", "<|", "|>", "<|im_", "<s>", "XX", "Wort", "caf\u00e9", "cafe\u0301"],
    "new": [chr(c) for c in (0x897, 0x1c89, 0x1c8a, 0x105d2, 0x10d4a, 0x10d50, 0x11382, 0x113c2, 0x1611e, 0x16d40, 0x1e5d0, 0x1cc00, 0x1f8b2, 0x2ffc, 0x31350, 0x1b132, 0x11f00, 0x11b00)],
}


def random_text(rng):
    """A short random string: a few runs out of one or two pools each, now and then any character."""
    out = []
    names = list(POOLS)
    for _ in range(rng.randint(1, 6)):
        roll = rng.random()
        if roll < 0.1:
            while True:
                c = rng.randrange(0x110000)
                if not 0xD800 <= c < 0xE000:
                    break
            out.append(chr(c) * rng.choice((1, 1, 2)))
        elif roll < 0.2:
            out.append(rng.choice(POOLS[rng.choice(names)]) * rng.randint(1, 9))
        else:
            pools = [POOLS[rng.choice(names)] for _ in range(rng.choice((1, 1, 2)))]
            out += [rng.choice(rng.choice(pools)) for _ in range(rng.randint(1, 6))]
    return "".join(out)


def byte_letters():
    """GPT-2's alphabet: the character that stands for each byte."""
    printable = [b for b in range(256) if 0x21 <= b <= 0x7E or 0xA1 <= b <= 0xAC or b >= 0xAE]
    letters, extra = {b: chr(b) for b in printable}, 0
    for b in range(256):
        if b not in letters:
            letters[b] = chr(256 + extra)
            extra += 1
    return letters


def added(identifier, content, **flags):
    base = dict(id=identifier, content=content, single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
    return {**base, **flags}


def split(regex, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: regex}, "behavior": behavior, "invert": invert}


def byte_level(prefix=False, regex=False):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": regex}


def sequence(*parts):
    return {"type": "Sequence", "pretokenizers": list(parts)}


def pairs_tokenizer(pre, normalizer=None, extra=(), seed=7):
    """A tokenizer that merges any two bytes, in a random order of ranks: whether a place is a
    border between two pieces shows in the ids."""
    letters = byte_letters()
    pairs = [(x, y) for x in letters.values() for y in letters.values()]
    random.Random(seed).shuffle(pairs)
    return small_tokenizer(pairs, pre, normalizer, extra)


def small_tokenizer(pairs, pre, normalizer=None, extra=()):
    """All bytes and these merges, END, and added tokens with the ids that they get."""
    letters = byte_letters()
    vocab = {letters[b]: b for b in range(256)}
    for x, y in pairs:
        vocab[x + y] = len(vocab)
    tokens, free = [added(len(vocab), END)], len(vocab) + 1
    for t in extra:
        known = t["content"] in vocab
        tokens.append({**t, "id": vocab[t["content"]] if known else free})
        free += not known
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": tokens, "normalizer": normalizer,
            "pre_tokenizer": pre, "post_processor": None, "decoder": None,
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
                      "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "vocab": vocab, "merges": [f"{x} {y}" for x, y in pairs]}}


def train_qwen2(texts, size):
    """A small tokenizer with exactly Qwen2's pipeline."""
    t = Tokenizer(models.BPE(byte_fallback=False))
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN2), "isolated", invert=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=False)])
    t.decoder = decoders.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    t.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False))
    t.add_special_tokens([AddedToken(END, special=True, normalized=False), AddedToken("<|im_start|>", special=True, normalized=False),
                          AddedToken("<|im_end|>", special=True, normalized=False)])
    t.add_tokens([AddedToken("<tool_call>", special=False, normalized=False), AddedToken("</tool_call>", special=False, normalized=False)])
    return json.loads(t.to_str())


class Oracle:
    def __init__(self, program, verbose):
        self.program, self.verbose, self.bad = program, verbose, 0
        self.folder = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self.folder.name)
        self.n_ids = self.n_texts = 0

    def ours(self, model, text):
        (self.path / "text").write_bytes(text.encode())
        out = self.path / "ids.npy"
        out.unlink(missing_ok=True)
        run = subprocess.run([self.program, "tokens", str(model), "--text", str(self.path / "text"), "-o", str(out)], capture_output=True, text=True)
        if run.returncode == 3 and "gives no token" in run.stderr:
            return []
        if run.returncode:
            return f"status {run.returncode}: {run.stderr.strip()}"
        raw = out.read_bytes()
        start = 10 + struct.unpack("<H", raw[8:10])[0]
        return list(struct.unpack(f"<{(len(raw) - start) // 4}i", raw[start:]))

    def fail(self, name, what):
        self.bad += 1
        print(f"FAIL {name}: {what}")

    def text(self, name, model, tokenizer, text):
        """One text as a whole."""
        want, got = tokenizer.encode(text, add_special_tokens=False).ids, self.ours(model, text)
        self.n_ids += len(want)
        self.n_texts += 1
        if want != got:
            if isinstance(got, str):
                return self.fail(name, got)
            at = next((i for i, (a, b) in enumerate(zip(want, got)) if a != b), min(len(want), len(got)))
            return self.fail(name, f"id {at}: package {want[at - 2:at + 4]}, program {got[at - 2:at + 4]}")
        if self.verbose:
            print(f"same {name}: {len(want)} ids")

    def texts(self, name, model, tokenizer, texts):
        """Many texts at once, between END tokens, which cut text before everything else."""
        end = tokenizer.token_to_id(END)
        want = tokenizer.encode(END.join(texts), add_special_tokens=False).ids
        got = self.ours(model, END.join(texts))
        self.n_ids += len(want)
        self.n_texts += len(texts)
        if want == got:
            if self.verbose:
                print(f"same {name}: {len(texts)} texts, {len(want)} ids")
            return
        if isinstance(got, str):
            return self.fail(name, got)

        def parts(ids):
            out = [[]]
            for i in ids:
                if i == end:
                    out.append([])
                else:
                    out[-1].append(i)
            return out

        wrong = [(t, w, g) for t, w, g in zip(texts, parts(want), parts(got)) if w != g]
        shortest = min(wrong, key=lambda x: len(x[0]), default=("?", [], []))
        self.fail(name, f"{len(wrong)} of {len(texts)} texts, {ascii(shortest[0])}: package {shortest[1]}, program {shortest[2]}")

    def model(self, j):
        folder = self.path / "model"
        folder.mkdir(exist_ok=True)
        (folder / "tokenizer.json").write_text(json.dumps(j, ensure_ascii=False), encoding="utf-8")
        return folder, Tokenizer.from_file(str(folder / "tokenizer.json"))


def pre_tokenizers_to_try():
    yield "qwen2", sequence(split(QWEN2), byte_level())
    yield "llama3", sequence(split(LLAMA3), byte_level())
    yield "qwen3.5", sequence(split(QWEN35), byte_level())
    yield "o200k", sequence(split(O200K), byte_level())
    yield "kimi", sequence(split(KIMI), byte_level())
    yield "cl100k", sequence(split(CL100K), byte_level())
    yield "cl100k removed inverted", sequence(split(CL100K, "Removed", True), byte_level())
    yield "bloom", sequence(split(BLOOM), byte_level())
    yield "deepseek v2", sequence(*map(split, DEEPSEEK_V2), byte_level())
    yield "gpt2", byte_level(regex=True)
    yield "gpt2 with prefix space", byte_level(prefix=True, regex=True)
    yield "prefix space alone", byte_level(prefix=True)
    yield "prefix space behind a split", sequence(split(r"\p{N}+"), byte_level(prefix=True, regex=True))
    yield "digits", sequence({"type": "Digits", "individual_digits": False}, byte_level(regex=True))
    yield "single digits", sequence({"type": "Digits", "individual_digits": True}, byte_level(regex=True))
    yield "nested sequence", sequence(sequence(split(r"\p{L}+"), sequence()), sequence(byte_level()))
    for behavior in BEHAVIORS:
        for invert in (False, True):
            yield f"letters {behavior} {invert}", sequence(split(r"\p{L}", behavior, invert), byte_level())
            yield f"empty matches {behavior} {invert}", sequence(split(r"\p{N}*", behavior, invert), byte_level())
            yield f"text {behavior} {invert}", sequence(split(" ", behavior, invert, "String"), byte_level())
    for regex in (r"^.", r".$", r"\s+$", r"(?<=\p{L})\p{N}", r"(?<!\p{L})[\p{N}'](?=s|\p{L})", r"[^\S\r\n]+|[^\P{L}a-z]+",
                  r"[\p{L}&&[^\p{Han}]&&[^a-f]]+", r"[\p{L}\p{N}&&a-f3-5]+", r"[a-f[x-z]\S]+", r"\D{2,}?", r"\d{,2}x?",
                  r"(?i)sk?[a-f]|'d", r"(a|b)*+c|(?:ab?){2,3}", r"a{2,3}+|b{2}", r"[\-a\]]+|[+-]", r"\p{^L}", r"\P{^N}", r"\u3042|\x{1F469}|\x41|\t",
                  r"x{a}|{", r"", r"|a", r"a??b", r"\p{Hiragana}+|\p{Katakana}+|\p{Hangul}+"):
        yield f"pattern {regex}", sequence(split(regex), byte_level())


def normalizers_to_try():
    for name in ("NFC", "NFD", "NFKC", "NFKD"):
        yield name, {"type": name}
    yield "empty sequence", {"type": "Sequence", "normalizers": []}
    yield "NFD NFC", {"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "NFC"}]}


def added_to_try():
    flags = ("single_word", "lstrip", "rstrip", "normalized", "special")
    contents = ["XX", "<s>", "cafe\u0301", "Wort", "ab", "aba", "b"]
    for mask in range(32):
        chosen = {f: bool(mask >> i & 1) for i, f in enumerate(flags)}
        yield str(mask), [added(0, c, **chosen) for c in contents]
    yield "spaces", [added(0, "XX", rstrip=True), added(0, " y", special=False), added(0, "<s>", lstrip=True, rstrip=True)]


def random_set(rng, fold, depth=0):
    def char():
        c = rng.choice("abcdfksz'0 AKS") if fold else rng.choice(rng.choice((*POOLS["letters"], "-", "]", "^", "&", *POOLS["space"], *POOLS["latin"], *POOLS["han"])))
        return "\\" + c if c in "\\^$.|?*+()[]{}-&" else c

    def member():
        roll = rng.random()
        if fold or roll < 0.5:
            return char()
        if roll < 0.65:
            low, high = sorted(rng.sample(POOLS["letters"] + POOLS["greek"] + POOLS["kana"], 2))
            return f"{low}-{high}"
        if roll < 0.8:
            return rng.choice([r"\s", r"\S", r"\d", r"\D", r"\n", r"\x{3042}"])
        if roll < 0.9 or depth > 1:
            return rng.choice([r"\p{%s}", r"\P{%s}", r"\p{^%s}"]) % rng.choice("L N P S M Lu Ll Lo Han".split())
        return random_set(rng, fold, depth + 1)

    members = "".join(member() for _ in range(rng.randint(1, 4)))
    while not fold and rng.random() < 0.15:
        members += "&&" + ("[^" + member() + "]" if rng.random() < 0.5 else member())
    return "[" + ("^" if not fold and not depth and "&&" not in members and rng.random() < 0.3 else "") + members + "]"


def random_pattern(rng, fold=False, depth=0):
    def atom():
        roll = rng.random()
        if roll < 0.4:
            return random_set(rng, fold)
        if roll < 0.7 or depth > 2:
            return rng.choice(list("abdks'0 ") if fold else list("abcstx' 1") + ["\\.", ".", "é", "あ", r"\p{L}", r"\s", r"\P{N}", r"\r"])
        head = rng.choice(["(?:", "(", "(?i:", "(?=", "(?!", "(?<=", "(?<!"])
        group = head + random_pattern(rng, fold or head == "(?i:", depth + 1) + ")"
        return group

    def repeated():
        a = atom()
        if a.startswith(("(?=", "(?!", "(?<")) or rng.random() < 0.5:
            return a
        return a + rng.choice(["*", "+", "?", "*?", "+?", "??", "*+", "++", "?+", "{2}", "{1,3}", "{,2}", "{1,3}?", "{1,3}+", "{2,}"])

    return "|".join("".join(repeated() for _ in range(rng.randint(1, 3))) for _ in range(rng.choice((1, 1, 2, 3))))


def check_patterns(o, n, rng):
    """Random patterns of the syntax that is translated. Every piece gets a space in front, which
    shows its borders. What either side refuses is counted, not compared."""
    refused = compared = 0
    for _ in range(n):
        regex = random_pattern(rng)
        j = small_tokenizer([], sequence(split(regex), byte_level(prefix=True)))
        text = "".join(random_text(rng) for _ in range(12))
        try:
            model, t = o.model(j)
            want = t.encode(text, add_special_tokens=False).ids
        except BaseException:  # the package panics where Oniguruma gives up
            refused += 1
            continue
        got = o.ours(model, text)
        if isinstance(got, str) and ("not supported" in got or "too many tries" in got):
            refused += 1
        elif want != got:
            o.fail(f"pattern {ascii(regex)}", got if isinstance(got, str) else f"splits {ascii(text)} otherwise")
        else:
            compared += 1
    o.n_texts += compared
    print(f"{n} random patterns: {compared} compared, {refused} refused by one side or the other")


def check_properties(o):
    """Every class of characters the program translates, over all code points: only what matches
    is kept, so each member shows."""
    # Without most of the private use planes, which would exceed the longest piece that is encoded.
    everything = "".join(chr(c) for c in [*range(1, 0xD800), *range(0xE000, 0xF0100), 0xFFFFD, 0xFFFFF, *range(0x10FF00, 0x110000)])
    names = "L M N P S Z Lu Ll Lt Lm Lo Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Han Hiragana Katakana Hangul"
    for regex in [r"\p{%s}" % n for n in names.split()] + [r"\s", r"\d", ".", "[^a]", "(?i:s)", "(?i:[a-z])"]:
        model, t = o.model(small_tokenizer([], sequence(split(regex + "+", "Removed", True), byte_level())))
        o.text(f"members of {regex}", model, t, everything)
    for single in (False, True):
        model, t = o.model(small_tokenizer([], sequence({"type": "Digits", "individual_digits": single}, byte_level(prefix=True))))
        o.text("members of Digits", model, t, everything)
    # Ideographs, syllables and private use do not interact with marks.
    scripts = [c for c in everything if "\x7f" < c < "\u3400" or "\ua000" < c < "\uac80" or "\uf8ff" < c < "\U0001a000" or "\U0001b000" < c < "\U0001fc00"]
    for name in ("NFC", "NFD", "NFKC", "NFKD"):
        model, t = o.model(small_tokenizer([], byte_level(), {"type": name}))
        o.text(f"{name} of all characters", model, t, everything)
        model, t = o.model(small_tokenizer([], sequence(split(" "), byte_level()), {"type": name}))
        o.text(f"{name} of all characters, between marks", model, t, "".join(f"{c}\u0334 {c}\u0301 \u0345{c}\u0323x" for c in scripts))
    for flag in ("single_word", "lstrip", "rstrip"):
        model, t = o.model(small_tokenizer([], byte_level(), None, [added(0, "XX", **{flag: True})]))
        o.text(f"{flag} beside all characters", model, t, "".join(f"{c}XX{c}" for c in everything if c != "X"))


def real_models(o, shared, fuzz, rng):
    texts = sorted((shared / "text").glob("*.txt"))
    contents = [p.read_bytes().decode() for p in texts]
    found = [(n, shared / "models" / n) for n in ("nano", "mini") if (shared / "models" / n).is_dir()]
    if not found:
        found = [("nano", ROOT / "tests/data/nano")]
        contents = [p.read_bytes().decode() for p in sorted((ROOT / "tests/data/text").glob("*.txt"))]
    qwen2, _ = o.model(train_qwen2(contents, 6000))
    for name, model in found + [("qwen2-style", qwen2)]:
        t = Tokenizer.from_file(str(model / "tokenizer.json"))
        for content in contents:
            o.text(f"{name}, a shared text", model, t, content)
        for tricky in TRICKY:
            o.text(f"{name}, {ascii(tricky[:40])}", model, t, tricky)
        for run in ("a", " ", "\n", "=", "7", "ab ", "\u4e00", "e\u0301", "\u0301", "' "):
            o.text(f"{name}, a long run of {ascii(run)}", model, t, run * 30000)
        if name == "qwen2-style":
            o.texts(f"{name}, random texts", model, t, [random_text(rng) for _ in range(5 * fuzz)])
    return contents


def speed(o, contents):
    text = "\n".join(contents)
    while len(text) < 20e6:
        text += text
    model, t = ROOT / "tests/data/nano", Tokenizer.from_file(str(ROOT / "tests/data/nano/tokenizer.json"))
    begin = time.time()
    o.ours(model, text)
    ours = time.time() - begin
    begin = time.time()
    t.encode(text[:2000000], add_special_tokens=False)
    size = len(text[:2000000].encode())
    theirs = time.time() - begin
    print(f"speed: program {len(text.encode()) / ours / 1e6:.1f} MB/s with start and files, package {size / theirs / 1e6:.1f} MB/s")


def encode(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).ids


def digest(ids):
    return {"ids": len(ids), "sha256": hashlib.sha256(struct.pack(f"<{len(ids)}i", *ids)).hexdigest()}


def golden_pipelines(text):
    """Every pipeline over the tricky texts, by a model of bytes; where ByteLevel allows it every
    piece gets a space in front, which shows its borders."""
    tries = [(name, pre, None, ()) for name, pre in pre_tokenizers_to_try()]
    tries += [(name, byte_level(), normalizer, ()) for name, normalizer in normalizers_to_try()]
    tries += [(f"added tokens {name}", sequence(split(QWEN2), byte_level()), {"type": "NFC"}, tokens) for name, tokens in added_to_try() if name in "0 1 6 8 15 16 31 spaces".split()]
    for name, pre, normalizer, tokens in tries:
        j = small_tokenizer([], pre, normalizer, tokens)
        if not normalizer and pre["type"] == "Sequence" and pre["pretokenizers"][-1]["type"] == "ByteLevel":
            pre["pretokenizers"][-1]["add_prefix_space"] = True
        parts = {k: json.dumps(j[k], ensure_ascii=False, separators=(",", ":")) for k in ("added_tokens", "normalizer", "pre_tokenizer")}
        yield {"name": name, **parts, **digest(encode(Tokenizer.from_str(json.dumps(j)), text))}


def write_goldens(shared):
    folder = ROOT / "tests/data/tokenizer"
    texts = {f"tests/data/text/{p.name}": p.read_bytes().decode() for p in sorted((ROOT / "tests/data/text").glob("*.txt"))}
    qwen2 = train_qwen2(list(texts.values()), 1200)
    (folder / "qwen2").mkdir(exist_ok=True)
    (folder / "qwen2/tokenizer.json").write_text(json.dumps(qwen2, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    small = {"nano": Tokenizer.from_file(str(ROOT / "tests/data/nano/tokenizer.json")), "qwen2": Tokenizer.from_str(json.dumps(qwen2))}
    paths = {"nano": "tests/data/nano", "qwen2": "tests/data/tokenizer/qwen2"}
    of_texts = [{"model": paths[m], "text": name, "first": encode(t, content)[:12], **digest(encode(t, content))}
                for m, t in small.items() for name, content in texts.items()]
    of_shared = []
    for m in ("models/nano", "models/mini"):
        t = Tokenizer.from_file(str(shared / m / "tokenizer.json"))
        for p in sorted((shared / "text").glob("*-mixed.txt")):
            ids = encode(t, p.read_bytes().decode())
            of_shared.append({"model": m, "text": f"text/{p.name}", "first": ids[:12], **digest(ids)})
    tricky = [s for s in TRICKY if s and "\0" not in s]
    of_strings = [{"text": s, **{m: encode(t, s) for m, t in small.items()}} for s in tricky]
    lists = {"texts": of_texts, "shared": of_shared, "strings": of_strings, "pipelines": list(golden_pipelines(END.join(tricky)))}
    lines = [f'"{k}": [\n' + ",\n".join(json.dumps(x, ensure_ascii=False) for x in v) + "\n]" for k, v in lists.items()]
    (folder / "ids.json").write_text("{" + ",\n".join(lines) + "}\n", encoding="utf-8")


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("program", nargs="?", default=str(ROOT / "scruple"))
    args.add_argument("--shared", default=os.environ.get("SCRUPLE_SHARED", str(ROOT / "../shared")))
    args.add_argument("--fuzz", type=int, default=500, help="random texts per pipeline")
    args.add_argument("--patterns", type=int, default=300, help="random patterns")
    args.add_argument("--seed", type=int, default=1)
    args.add_argument("--write-goldens", action="store_true")
    args.add_argument("-v", action="store_true")
    a = args.parse_args()
    if a.write_goldens:
        return write_goldens(pathlib.Path(a.shared))
    o, rng = Oracle(a.program, a.v), random.Random(a.seed)
    contents = real_models(o, pathlib.Path(a.shared), a.fuzz, rng)
    tricky = [t for t in TRICKY if t]
    for name, pre in pre_tokenizers_to_try():
        model, t = o.model(pairs_tokenizer(pre))
        o.texts(name, model, t, tricky + [random_text(rng) for _ in range(a.fuzz)])
    for name, normalizer in normalizers_to_try():
        model, t = o.model(pairs_tokenizer(byte_level(), normalizer))
        o.texts(name, model, t, tricky + [random_text(rng) for _ in range(a.fuzz)])
    for name, tokens in added_to_try():
        model, t = o.model(pairs_tokenizer(sequence(split(QWEN2), byte_level()), {"type": "NFC"}, tokens))
        o.texts(f"added tokens {name}", model, t, tricky + [random_text(rng) for _ in range(a.fuzz // 4)])
    check_patterns(o, a.patterns, rng)
    check_properties(o)
    print(f"{o.n_texts} texts, {o.n_ids} ids compared, {o.bad} differences")
    speed(o, contents)
    sys.exit(bool(o.bad))


if __name__ == "__main__":
    main()
