"""Cases of recipes, plans, journals and notes; make.py writes them. Each: (file, bytes, None where the file is read, else the status)."""
import json

from make_binary import xxh128

cases = []
BAD, ENVIRONMENT = 3, 4  # a journal that cannot be understood is no input: another folder helps


def put(folder, suffix, status=BAD):
    def case(name, content, refused=True):
        data = content if isinstance(content, bytes) else (content if isinstance(content, str) else json.dumps(content)).encode()
        cases.append((f"{folder}/{name}{suffix}", data, status if refused else None))
    return case


def but(base, **changes):
    return {k: v for k, v in {**base, **changes}.items() if v is not ...}


# ---- recipes ----------------------------------------------------------------------------------------------------------
recipe = put("recipe", ".json")
RULE = {"match": "experts.down", "type": "int4-g32"}


def rules(*list_):
    return {"schema_version": 1, "rules": list(list_)}


def one(**changes):
    return rules(but(RULE, **changes))


recipe("accept-one", one(), False)
recipe("accept-none", rules(), False)
recipe("accept-all-keys", {"schema_version": 1, "comment": "x", "rules": [
    {"match": ["experts & layer<3", "re:^model\\..*", "name:lm_head", "*.gate"], "type": "int4-g32", "search": "compat", "positive_scales": True,
     "fallback": "fp8-channel", "optional": True, "comment": "y"}, {"match": "linear", "type": "keep"}]}, False)
recipe("accept-16-conditions", one(match=" & ".join(["layer>=1"] * 8)), False)
recipe("empty", "")
recipe("array", [])
recipe("cut", json.dumps(one())[:-3])
recipe("byte-order-mark", "\ufeff" + json.dumps(one()))
recipe("two-values", json.dumps(one()) * 2)
recipe("nested-65-deep", '{"rules":' + "[" * 64 + "]" * 64 + "}")
recipe("no-version", {"rules": []})
recipe("version-2", {**one(), "schema_version": 2})
recipe("version-text", {**one(), "schema_version": "1"})
recipe("version-2-53", {**one(), "schema_version": 2**53 + 1})
recipe("no-rules", {"schema_version": 1})
recipe("rules-object", {"schema_version": 1, "rules": {}})
recipe("key-unknown", {**one(), "evil": 1})
recipe("key-misspelt", {"schema_version": 1, "rule": []})
recipe("key-twice", '{"schema_version":1,"rules":[],"rules":[]}')
recipe("comment-number", {**one(), "comment": 7})
recipe("rule-text", rules("experts.down=int4-g32"))
recipe("rule-null", rules(None))
recipe("rule-empty", rules({}))
recipe("rule-key-unknown", one(evil=1))
recipe("rule-key-misspelt", one(mach="x"))
recipe("rule-without-type", one(type=...))
recipe("rule-without-match", one(match=...))
recipe("type-unknown", one(type="int3-g7"))
recipe("type-number", one(type=4))
recipe("type-long", one(type="x" * 5000))
recipe("match-number", one(match=1))
recipe("match-empty-list", one(match=[]))
recipe("match-mixed-list", one(match=["experts", 1]))
recipe("match-empty", one(match=""))
recipe("match-misspelt", one(match="expert.down"))
recipe("match-comma", one(match="experts,shared"))
recipe("match-condition-missing", one(match="experts &"))
recipe("match-17-conditions", one(match=" & ".join(["layer>=1"] * 17)))
recipe("match-long", one(match="n" * 5000))
recipe("match-range-empty", one(match="layer=5..3"))
recipe("match-range-open", one(match="layer<"))
recipe("match-range-2-64", one(match="layer<18446744073709551616"))
recipe("match-range-negative", one(match="layer<-1"))
recipe("match-range-of-nothing", one(match="head<3"))
recipe("match-name-empty", one(match="name:"))
recipe("match-regex-empty", one(match="re:"))
recipe("match-regex-open", one(match="re:(a"))
recipe("accept-regex-recursion", one(match="re:(a|(?R)b)"), False)
recipe("match-with-nul", '{"schema_version":1,"rules":[{"match":"a\\u0000b","type":"keep"}]}')
recipe("search-unknown", one(search="mse"))
recipe("search-number", one(search=1))
recipe("search-without-effect", one(type="keep", search="best"))
recipe("signs-text", one(positive_scales="yes"))
recipe("signs-without-effect", one(type="fp8-block", positive_scales=True))
recipe("fallback-without-effect", one(type="keep", fallback="keep"))
recipe("fallback-of-any-columns", one(type="fp8-block", fallback="fp8-channel"))
recipe("fallback-unknown", one(fallback="evil"))
recipe("optional-number", one(optional=1))
recipe("1001-regexes", rules({"match": ["re:a"] * 1001, "type": "keep"}))

# ---- plans: their first line ---------------------------------------------------------------------------------------------
plan = put("plan", ".plan")
OPTIONS = {"type": "int4-g32", "scope": "experts", "search": "best", "positive_scales": False, "fallback": None, "layout": "experts", "page": 16384}
HEAD = {"format": "scruple-plan", "format_version": 1, "version": "0.1.0", "plan": "0123456789abcdef" * 4, "command": "quantize",
        "options": OPTIONS, "family": "deepseek_v3", "input": "in", "output": "out",
        "small_files": [{"name": "config.json", "sha256": "00" * 32}], "units": 1, "tensors": 2, "bytes": 3}


def line(**changes):
    return json.dumps(but(HEAD, **changes), separators=(",", ":")) + "\n"


def options(**changes):
    return line(options=but(OPTIONS, **changes))


plan("accept-head", line(), False)
plan("accept-no-family", line(family=None), False)
plan("accept-absolute-paths", line(input="/in", output="/out"), False)
plan("accept-convert", line(command="convert", options={"to": "experts", "page": 4096}), False)
plan("empty", "")
plan("no-newline", line()[:-1])
plan("cut", line()[:-9] + "\n")
plan("array", "[]\n")
plan("text-in-front", "x" + line())
plan("byte-order-mark", "\ufeff" + line())
plan("format-missing", line(format=...))
plan("format-other", line(format="terraform-plan"))
plan("format-version-2", line(format_version=2))
plan("format-version-text", line(format_version="1"))
plan("version-missing", line(version=...))
plan("id-short", line(plan="00"))
plan("id-no-hex", line(plan="x" * 64))
plan("id-missing", line(plan=...))
plan("command-missing", line(command=...))
plan("command-unknown", line(command="rm"))
plan("command-number", line(command=1))
plan("options-missing", line(options=...))
plan("options-array", line(options=[]))
plan("options-unknown-member", options(evil=1))
plan("options-of-convert", line(command="convert"))
plan("type-unknown", options(type="int3"))
plan("type-missing", options(type=...))
plan("scope-unknown", options(scope="all"))
plan("layout-unknown", options(layout="evil"))
plan("search-unknown", options(search="evil"))
plan("signs-text", options(positive_scales="no"))
plan("fallback-unknown", options(fallback="evil"))
for page in (0, -1, 12345, 2**40, 4096.5, "4096", None):
    plan(f"page-{page}".lower(), options(page=page))
plan("rules-broken", options(rules=[{"match": "experts"}]))
plan("input-missing", line(input=...))
plan("input-empty", line(input=""))
plan("input-number", line(input=7))
plan("output-missing", line(output=...))
plan("input-with-nul", line().replace('"in"', '"i\\u0000n"'))
plan("statistics-not-ordered", line(statistics="x.stats"))
plan("small-missing", line(small_files=...))
plan("small-object", line(small_files={}))
plan("small-text", line(small_files=["config.json"]))
plan("small-without-digest", line(small_files=[{"name": "config.json"}]))
plan("small-with-more", line(small_files=[{"name": "a", "sha256": "b", "evil": 1}]))
plan("family-missing", line(family=...))
plan("family-number", line(family=7))
plan("units-missing", line(units=...))
plan("tensors-negative", line(tensors=-1))
plan("bytes-float", line(bytes=0.5))
plan("bytes-2-53", line(bytes=2**53))
plan("member-unknown", line(evil=1))
plan("member-twice", line()[:-2] + ',"units":1}\n')
plan("nested-65-deep", '{"x":' + "[" * 64 + "]" * 64 + "}\n")

# ---- journals -------------------------------------------------------------------------------------------------------------------
journal = put("journal", ".journal", ENVIRONMENT)
JOURNAL = {"plan": "00" * 32, "inputs": ["model.safetensors: 7 bytes"], "made_levels": 1, "replaces": ["config.json"]}
journal("accept-one", JOURNAL, False)
journal("accept-empty-lists", but(JOURNAL, inputs=[], replaces=[]), False)
journal("empty", "")
journal("cut", json.dumps(JOURNAL)[:-5])
journal("array", [])
journal("zeros", b"\0" * 100)
journal("two-values", json.dumps(JOURNAL) * 2)
journal("plan-missing", but(JOURNAL, plan=...))
journal("plan-number", but(JOURNAL, plan=7))
journal("levels-missing", but(JOURNAL, made_levels=...))
journal("levels-negative", but(JOURNAL, made_levels=-1))
journal("levels-float", but(JOURNAL, made_levels=0.5))
journal("inputs-numbers", but(JOURNAL, inputs=[7]))
journal("replaces-numbers", but(JOURNAL, replaces=[7]))
for name, text in [("parent", "../config.json"), ("absolute", "/etc/passwd"), ("dots", ".."), ("dot", "."), ("empty", ""), ("folder", "sub/x")]:
    journal("replaces-" + name, but(JOURNAL, replaces=[text]))
journal("key-twice", '{"plan":"a","plan":"b","made_levels":1}')
journal("nested-65-deep", '{"x":' + "[" * 64 + "]" * 64 + "}")

# ---- notes of finished files: what is no note of this plan does not count ----------------------------------------------------------
note = put("note", ".note", ENVIRONMENT)
NOTE = {"plan": "00" * 32, "file": "model.safetensors", "data": ".model.safetensors.staged", "bytes": 7, "sha256": "11" * 32, "note": "x"}


def signed(content, **changes):
    text = content if isinstance(content, bytes) else json.dumps(but(content, **changes), separators=(",", ":")).encode()
    return text + b"\n" + xxh128(text).hex().encode() + b"\n"


note("accept-one", signed(NOTE), False)
note("accept-no-text", signed(NOTE, note=...), False)
note("empty", "")
note("cut", signed(NOTE)[:-1])
note("first-line-only", json.dumps(NOTE) + "\n")
note("digest-wrong", signed(NOTE)[:-4] + b"000\n")
note("line-changed", signed(NOTE).replace(b'"bytes":7', b'"bytes":8'))
note("more-behind", signed(NOTE) + b"\n")
note("zeros", b"\0" * 200)
note("no-json", signed(b"hello"))
note("array", signed(b"[]"))
note("plan-other", signed(NOTE, plan="22" * 32))
note("plan-missing", signed(NOTE, plan=...))
note("file-other", signed(NOTE, file="config.json"))
note("file-parent", signed(NOTE, file="../model.safetensors"))
note("file-missing", signed(NOTE, file=...))
note("data-parent", signed(NOTE, data="../x.staged"))
note("data-absolute", signed(NOTE, data="/etc/passwd"))
note("data-visible", signed(NOTE, data="model.safetensors"))
note("data-dots", signed(NOTE, data=".."))
note("data-missing", signed(NOTE, data=...))
note("bytes-negative", signed(NOTE, bytes=-1))
note("bytes-float", signed(NOTE, bytes=0.5))
note("bytes-2-53", signed(NOTE, bytes=2**53))
note("sha-short", signed(NOTE, sha256="11"))
note("sha-no-hex", signed(NOTE, sha256="x" * 64))
note("key-twice", signed(b'{"plan":"a","plan":"a"}'))
