#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Lets a nano conversion and a nano quantization go wrong at every point and looks at what is left.

usage: drive.py PROGRAM --tools DIR [--work DIR] [--jobs N] [--points N | --exhaustive] [--only WORD,...] [--json FILE] [--quiet]

Kinds of faults, each at every point from 1 on until a run ends unharmed:

    kill      SIGKILL in front of every system call, all threads', the loader's too
    term, int SIGTERM, SIGINT there, from where main() has set its handlers
    eio       an I/O call fails with EIO, once; eio-on: all I/O calls from there on
    enospc    a call that needs space fails with ENOSPC; enospc-on: all from there on
    eintr     an I/O call is interrupted; eintr-on: every second one from there on
    short     a read or write moves half; one: one byte; short-on, one-on: every second one
    eof       a read finds the end of the file
    enomem    a call for memory or a thread fails; enomem-on: all from there on
    alloc     an allocation fails, in whatever library; alloc-on: all from there on. Of allocations that come about by the
              same calls (24 levels) the first, the middle and the last, with --exhaustive every one

After each: no crash, no hang, a status that the fault may lead to, one sentence on stderr, nothing visible that is not
what it should be, and the same command again, without fault, gives the golden folder. States of a folder that were met
before (same names, same bytes) are not resumed a second time: the program sees no more than names and bytes.
"""
import argparse, collections, ctypes, hashlib, json, multiprocessing, os, pathlib, re, shutil, struct, subprocess, sys, time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
MODEL = "tests/data/nano"
SECONDS = 20          # a run that takes longer hangs
STOP_MS = 5000        # a signal ends a run within
SANITIZER = 99        # exit status of a sanitizer's report
TEMPORARY = re.compile(r"\.\d+\.[0-9a-f]{16}\.part(\.[A-Za-z0-9]{6})?$")  # the last six letters are libzip's

STAGED = re.compile(r"\.[0-9a-f]{8}\.staged")

# kind: (class of calls for inject, what it does, sticky)
KINDS = {
    "kill": ("all", "kill", False), "term": ("all", "term", False), "int": ("all", "int", False),
    "eio": ("io", "eio", False), "eio-on": ("io", "eio", True),
    "enospc": ("space", "enospc", False), "enospc-on": ("space", "enospc", True),
    "eintr": ("io", "eintr", False), "eintr-on": ("io", "eintr", True),
    "short": ("length", "short", False), "one": ("length", "one", False),
    "short-on": ("length", "short", True), "one-on": ("length", "one", True),
    "eof": ("read", "eof", False),
    "enomem": ("memory", "enomem", False), "enomem-on": ("memory", "enomem", True),
    "alloc": (None, "alloc", False), "alloc-on": (None, "alloc", True),
}
RESUMED = ("convert", "quantize", "replace") # commands that go on where a broken run ended
# Commands of which only some kinds are tried, and the most points of each.
PARTLY = {"replace": (("kill", "term", "eio"), 0), "calibrate": (("kill", "eio", "alloc"), 100),
          "forward": (("kill", "eio", "alloc"), 100), "verify": (("kill", "eio", "alloc"), 100)}
# Linux documents EINTR for these; it has to be absorbed. Others may also say that they were interrupted.
INTERRUPTIBLE = {"read", "pread64", "write", "pwrite64", "open", "openat", "close", "fallocate", "ftruncate", "fsync",
                 "fdatasync", "flock", "statfs", "fstatfs", "getrandom", "sync_file_range"}
# Whose failure, on a file of the model or the output, must never be passed over.
DECISIVE = {"read", "pread64", "write", "pwrite64", "openat", "open", "fsync", "fdatasync", "renameat2", "rename",
            "renameat", "ftruncate", "getdents64"}
# libzip's own temporary beside ours: the C library's fseek reads a block ahead there, and when that fails it does without.
SEEKS = re.compile(r"\.part\.[A-Za-z0-9]{6}$")


class Setup:
    """What every worker needs; made before they are forked."""
    def __init__(self, given):
        self.program = str(pathlib.Path(given.program).resolve())
        self.inject = str(pathlib.Path(given.tools).resolve() / "inject")
        self.alloc = str(pathlib.Path(given.tools).resolve() / "alloc.so")
        self.work = pathlib.Path(given.work).resolve()
        self.asan = b"__asan_init" in pathlib.Path(self.program).read_bytes()
        self.env = dict(os.environ, LC_ALL="C")
        self.statistics, self.tokens = str(self.work / "nano.stats"), str(self.work / "tokens.npy")
        common = ["-t", "2", "-q"]
        self.commands = {
            "convert": ["convert", MODEL, "--to", "experts"] + common,
            "quantize": ["quantize", MODEL, "--type", "int4-g32", "--stats", self.statistics] + common,
            "replace": ["convert", MODEL, "--to", "experts", "--force"] + common,
            "calibrate": ["calibrate", MODEL, "--tokens", self.tokens, "-c", "128", "--force"] + common,
            "forward": ["forward", MODEL, "--tokens", self.tokens, "--force"] + common,
            "verify": ["verify", MODEL, MODEL, "--tokens", self.tokens, "-c", "128", "--force"] + common,
        }
        self.golden = {}   # command: {name beside or below the output: sha256}
        self.old = None    # folder that "replace" replaces
        self.old_files = {}

    def words(self, command, out):
        words = self.commands[command]
        return [self.program, words[0], words[1], "-o", str(out)] + words[2:]

    def sanitize(self, leaks):
        if not self.asan:
            return {}
        return {"LSAN_OPTIONS": f"suppressions={ROOT}/tests/faults/leaks.supp:print_suppressions=0",
                "ASAN_OPTIONS": f"exitcode={SANITIZER}:detect_leaks={int(leaks)}:verify_asan_link_order=0:"
                                "allocator_may_return_null=1",
                "UBSAN_OPTIONS": f"exitcode={SANITIZER}:halt_on_error=1:print_stacktrace=1"}


def plain_note(data, names):
    """A note of a finished file without the random part of the name of its data and without its check sum."""
    data = re.sub(rb'"data":"([^"]*)"', lambda m: b'"data":' + (b"there" if m.group(1).decode() in names else b"gone"), data)
    return re.sub(rb"\n[0-9a-f]{32}\n$", b"\n", data)


def digests(folder, above=""):
    """{name: sha256 hex} of all files below; a folder has a name that ends in '/'."""
    found = {}
    names = set(os.listdir(folder))
    with os.scandir(folder) as entries:
        for e in entries:
            if e.is_dir():
                found[above + e.name + "/"] = ""
                found.update(digests(e.path, above + e.name + "/"))
            else:
                data = open(e.path, "rb").read()
                data = plain_note(data, names) if e.name.endswith(".note") else data
                found[above + e.name] = hashlib.sha256(data).hexdigest()
    return found


def hidden(name):
    return "/." in "/" + name


def state_of(files):
    lines = sorted(STAGED.sub(".staged", TEMPORARY.sub(".part", name)) + " " + sha for name, sha in files.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


class Worker:
    def __init__(self, setup, number):
        self.s = setup
        self.top = setup.work / f"worker-{number}"
        shutil.rmtree(self.top, ignore_errors=True)
        self.top.mkdir(parents=True)
        self.place = self.top / "place"
        self.place.mkdir()
        self.out = self.place / "out"
        self.said = self.top / "stderr"
        self.seen = self.top / "seen"

    def reset(self, command):
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir()
        if command == "replace":
            shutil.copytree(self.s.old, self.out)

    def run(self, command, extra=None, leaks=True):
        """Without fault, or with a preloaded one; (exit status or -signal or None for a hang, stderr)."""
        env = dict(self.s.env, **self.s.sanitize(leaks), **(extra or {}))
        with open(self.said, "wb") as err, open(self.top / "stdout", "wb") as out:
            try:
                status = subprocess.run(self.s.words(command, self.out), cwd=ROOT, env=env, stdin=subprocess.DEVNULL,
                                        stdout=out, stderr=err, timeout=SECONDS, close_fds=False).returncode
            except subprocess.TimeoutExpired:
                status = None
        return status, self.said.read_text(errors="replace")

    def traced(self, command, kind, at):
        """A run under inject; what it printed."""
        group, what, sticky = KINDS[kind]
        words = [self.s.inject, "--class", group, "--do", what, "--at", str(at), "--timeout", str(SECONDS),
                 "--out", str(self.top / "stdout"), "--err", str(self.said)] + (["--sticky"] if sticky else []) + ["--"]
        done = subprocess.run(words + self.s.words(command, self.out), cwd=ROOT, env=dict(self.s.env, **self.s.sanitize(False)),
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, close_fds=False)
        if done.returncode:
            raise RuntimeError(f"inject ended with {done.returncode}")
        return json.loads(done.stdout.decode(errors="replace"))

    def preloaded(self, command, kind, at, stacks=None):
        extra = {"LD_PRELOAD": self.s.alloc, "FAULT_SEEN": str(self.seen), "FAULT_AT": str(at)}
        if KINDS[kind][2]:
            extra["FAULT_STICKY"] = "1"
        if stacks:
            extra["FAULT_STACKS"] = str(stacks)
        status, text = self.run(command, extra)
        seen, failed = struct.unpack("<2Q", self.seen.read_bytes())
        return {"seen": seen, "hits": failed, "call": "allocation", "what": "", "exit": -1 if status is None or status < 0 else status,
                "signal": -status if status is not None and status < 0 else 0, "timed_out": status is None, "after_ms": 0}, text

    def fault(self, command, kind, at):
        self.reset(command)
        if KINDS[kind][1] == "alloc":
            return self.preloaded(command, kind, at)
        r = self.traced(command, kind, at)
        return r, self.said.read_text(errors="replace")

    # ---- what is left ----

    def judge(self, command, kind, at):
        """One point: {kind, hit, problems: [...], ...}."""
        r, text = self.fault(command, kind, at)
        files = digests(self.place)
        problems = list(self.judge_end(command, kind, r, text, files)) + list(self.judge_files(command, kind, files))
        resumed = False
        mark = self.s.work / "states" / f"{command}-{state_of(files)}"
        if files != self.s.golden[command] and not mark.exists():
            resumed = True
            status, again = self.run(command)
            files = digests(self.place)
            if command not in RESUMED: # which remove what a broken run left; others ignore it
                files = {name: sha for name, sha in files.items() if not TEMPORARY.search(name)}
            if status != 0:
                problems.append(f"the same command again: status {status}: {again.strip()}")
            elif files != self.s.golden[command]:
                problems.append(f"the same command again gives another folder: {difference(files, self.s.golden[command])}")
            elif not problems:
                mark.touch()
        return {"command": command, "kind": kind, "at": at, "hits": r["hits"], "call": r["call"], "what": r["what"],
                "exit": r["exit"], "text": text.strip(), "ms": r["after_ms"], "resumed": resumed, "problems": problems}

    def judge_end(self, command, kind, r, text, files):
        end, golden = r["exit"], self.s.golden[command]
        if r["timed_out"]:
            yield "hangs"
            return
        if kind == "kill" and r["hits"]:
            return
        if r["signal"]:
            yield f"ended by signal {r['signal']}"
            return
        if end == SANITIZER or "Sanitizer" in text or "runtime error:" in text:
            yield "a sanitizer's report: " + " | ".join(text.splitlines()[:12])
        if end == 0 and files != golden:
            yield f"status 0 and another folder: {difference(files, golden)}"
        allowed = self.allowed(kind, r)
        if end not in allowed:
            yield f"status {end} where one of {sorted(allowed)} is due"
        if end:
            yield from judge_sentence(command, end, text)
        elif text.strip():
            yield "status 0 and talk with --quiet"
        if kind in ("term", "int") and r["hits"] and r["after_ms"] > STOP_MS:
            yield f"took {r['after_ms']} ms to stop"

    def allowed(self, kind, r):
        if not r["hits"]:
            return {0}
        ours = MODEL in r["what"] or str(self.place) in r["what"] or self.s.statistics in r["what"]
        if kind in ("term", "int"):
            return {0, 5}
        if kind == "eintr":
            # The C library's stdout does not begin again, and says so.
            return {0} if r["call"] in INTERRUPTIBLE and not r["what"].endswith("/stdout") else {0, 4}
        if kind in ("short", "one", "short-on", "one-on"):
            return {0}
        if kind == "eof":
            return {0, 3, 4} # 0: a read past the page cache that ends early is repeated through it
        if kind in ("eio", "eio-on", "enospc", "enospc-on") and ours and r["call"] in DECISIVE:
            return {0, 4} if r["call"] == "read" and SEEKS.search(r["what"]) else {4}
        return {0, 4}

    def judge_files(self, command, kind, files):
        """Visible files are whole: the golden ones, all of them where SHA256SUMS is there; or the old ones all together."""
        golden = self.s.golden[command]
        beside = [n for n in files if hidden(n) and not n.startswith("out/")]
        if beside and not (kind == "kill" and all(TEMPORARY.search(n) for n in beside)):
            yield f"beside the output: {beside}"
        visible = {n: sha for n, sha in files.items() if not hidden(n)}
        if command == "replace":
            if visible == self.s.old_files:
                return
            for name, sha in visible.items():
                if sha not in (golden.get(name), self.s.old_files.get(name)):
                    yield f"'{name}' is neither old nor new"
            if "out/SHA256SUMS" in visible and visible != golden:
                listed = (self.out / "SHA256SUMS").read_text().split("\n")
                if any(line and visible.get("out/" + line[66:]) != line[:64] for line in listed):
                    yield f"SHA256SUMS beside files that are not its own: {difference(visible, golden)}"
            return
        for name, sha in visible.items():
            if golden.get(name) != sha:
                yield f"'{name}' has its final name and is not right"
        if "out/SHA256SUMS" in visible and set(visible) != set(golden):
            yield "SHA256SUMS is there and not all files"


def judge_sentence(command, end, text):
    lines = text.strip().splitlines()
    label = {4: "error", 5: "interrupted", 3: "error", 6: "internal error", 1: "failed"}.get(end, "error")
    if len(lines) != 1:
        yield f"{len(lines)} lines on stderr instead of one sentence: " + " | ".join(lines[:6])
    elif not re.fullmatch(rf"scruple \w+: {label}: \S.*\S", lines[0]) or "(null)" in lines[0]:
        yield f"not a sentence: {lines[0]}"


def difference(files, golden):
    names = [f"-{n}" for n in golden if n not in files] + [f"+{n}" for n in files if n not in golden]
    return " ".join(sorted(names + [f"*{n}" for n in files if n in golden and files[n] != golden[n]]))


# ---- all points ----

def make_golden(s):
    w = Worker(s, "golden")
    for made in (["tokens", MODEL, "--text", "tests/data/text/README.md", "-o", s.tokens],
                 ["calibrate", MODEL, "--text", "tests/data/text/calib.txt", "--max-tokens", "1024", "-c", "128", "-o",
                  s.statistics]):
        subprocess.run([s.program, *made, "-q"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    s.old = w.top / "old"
    for command in s.commands:
        if command == "replace":
            continue
        w.reset(command)
        status, text = w.run(command)
        if status != 0:
            sys.exit(f"faults: {command} without fault ends with {status}: {text}")
        s.golden[command] = digests(w.place)
        if command in RESUMED:
            subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=w.out, check=True)
    w.reset("quantize")
    subprocess.run(s.words("quantize", w.out) + ["--scope", "all-linear"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    shutil.copytree(w.out, s.old) # every shard of it differs from the one that replaces it
    s.old_files = digests(w.place)
    s.golden["replace"] = s.golden["convert"]
    w.reset("replace")
    if w.run("replace")[0] != 0 or digests(w.place) != s.golden["replace"]:
        sys.exit("faults: convert --force over an older output does not give the golden folder")
    return w


def count_points(w, command, kind):
    """(how many points, those that come first: one of each call stack where known)."""
    w.reset(command)
    if KINDS[kind][1] != "alloc":
        return w.traced(command, kind, 0)["seen"], None
    path = w.top / "stacks"
    n = w.preloaded(command, kind, 0, path)[0]["seen"]
    stacks = struct.unpack(f"<{n}Q", path.read_bytes()[:8 * n])
    path.unlink()
    where = collections.OrderedDict()
    for i, stack in enumerate(stacks, 1):
        where.setdefault(stack, []).append(i)
    return n, sorted({i for list_ in where.values() for i in (list_[0], list_[len(list_) // 2], list_[-1])})


# Kinds of which some points are enough: they repeat what another kind does at every point.
FEW = {"int": 40, "eintr-on": 4, "short-on": 4, "one-on": 4}


def points_of(w, given, command, kind):
    n, stacks = count_points(w, command, kind)
    most = 0 if given.exhaustive else PARTLY.get(command, ((), 0))[1]
    few = min(given.points or n + 2, FEW.get(kind, n + 2), most or n + 2)
    if few < n:
        return n, sorted({1 + (2 * i + 1) * n // (2 * few) for i in range(few)})
    if stacks and not given.exhaustive:
        return n, stacks
    return n, list(range(1, n + 3)) # the last two are behind the end, and nothing may go wrong


worker = None


def start(setup, counter):
    global worker
    with counter.get_lock():
        counter.value += 1
        number = counter.value
    worker = Worker(setup, number)


def work(point):
    try:
        return worker.judge(*point)
    except Exception as e:
        return {"command": point[0], "kind": point[1], "at": point[2], "hits": 0, "call": "", "what": "", "exit": -1,
                "text": "", "ms": 0, "resumed": False, "problems": [f"the test itself: {e!r}"]}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("program")
    p.add_argument("--tools", required=True)
    p.add_argument("--work", default="build/faults")
    p.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--points", type=int, default=0, help="at most that many of each kind, evenly spread")
    p.add_argument("--exhaustive", action="store_true", help="allocations too at every point, not three for each call stack")
    p.add_argument("--only", default="")
    p.add_argument("--json")
    p.add_argument("--quiet", action="store_true", help="only what is wrong, and the sum")
    given = p.parse_args()
    only = set(filter(None, given.only.split(",")))
    s = Setup(given)
    shutil.rmtree(s.work, ignore_errors=True)
    (s.work / "states").mkdir(parents=True)
    begun = time.monotonic()
    golden = make_golden(s)
    try:
        golden.traced("convert", "kill", 0)
    except (RuntimeError, OSError) as e:
        print(f"skipped: system calls cannot be traced here ({e})")
        return 0
    results = []
    with multiprocessing.Pool(given.jobs, start, (s, multiprocessing.Value("i", 0))) as pool:
        for command in s.commands:
            for kind in KINDS:
                if only and not {command, kind} & only or (only & set(s.commands) and command not in only) or \
                   (only & set(KINDS) and kind not in only):
                    continue
                if command in PARTLY and kind not in PARTLY[command][0]:
                    continue
                if s.asan and (kind.startswith("enomem") or kind == "alloc-on"):
                    continue # its own runtime cannot do without
                at = time.monotonic()
                n, points = points_of(golden, given, command, kind)
                chunk = max(1, min(32, len(points) // (given.jobs * 4)))
                got = list(pool.imap_unordered(work, [(command, kind, i) for i in points], chunk))
                results += got
                if not given.quiet or any(r["problems"] for r in got):
                    report(command, kind, n, got, time.monotonic() - at)
    failed = [r for r in results if r["problems"]]
    print(f"faults: {len(results)} points, {sum(r['resumed'] for r in results)} resumed, {len(failed)} problems, "
          f"{time.monotonic() - begun:.0f} s on {given.jobs} cores")
    if given.json:
        pathlib.Path(given.json).write_text(json.dumps(results, indent=0))
    if not failed:
        shutil.rmtree(s.work)
    return 1 if failed else 0


def report(command, kind, n, got, seconds):
    bad = [r for r in got if r["problems"]]
    ends = collections.Counter(r["exit"] for r in got if r["hits"] and kind != "kill")
    slow = max((r["ms"] for r in got if kind in ("term", "int")), default=0)
    print(f"{command:9} {kind:10} {n:6} calls {len(got):6} points {sum(r['resumed'] for r in got):5} resumed "
          f"{seconds:6.1f} s  status " + " ".join(f"{k}:{v}" for k, v in sorted(ends.items())) +
          (f"  slowest stop {slow:.0f} ms" if slow else "") + (f"  {len(bad)} PROBLEMS" if bad else ""), flush=True)
    shown = collections.Counter()
    for r in sorted(bad, key=lambda r: r["at"]):
        for text in r["problems"]:
            shown[text[:60]] += 1
            if shown[text[:60]] <= 3:
                print(f"    at {r['at']}: {r['call']} {r['what'][-60:]}: {text[:600]}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
