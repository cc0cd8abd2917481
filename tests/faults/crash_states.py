#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a power failure may leave behind, at every moment of a run.

usage: crash_states.py PROGRAM [--work DIR] [--jobs N] [--only COMMAND,...]

A run is recorded with strace: which bytes were written where, which names were made, renamed and removed, what was
synced. Out of that every state is built that a file system may legally hold after a crash behind each of these calls:

    data   what was synced is there; what came after it is there, or not, or only its length (zeros), or the first half
           of the writes, or the last one alone, or all with the last one torn
    names  changes of a folder that were synced with it are there; of those after it each first few, all but one, only one

Of each state that differs from all before: nothing visible is wrong (old or new, never mixed), and the command, run again,
gives the golden result. And behind the end of a run that said 0 every state holds the whole result.
The idea is ALICE's (Pillai et al., OSDI 2014).
"""
import argparse, hashlib, itertools, multiprocessing, os, pathlib, re, shutil, subprocess, sys, time

import drive

CALLS = ("openat,open,creat,write,pwrite64,writev,pwritev,pwritev2,fallocate,ftruncate,truncate,rename,renameat,renameat2,link,"
         "linkat,unlink,unlinkat,mkdir,mkdirat,rmdir,fsync,fdatasync,copy_file_range,io_submit,read,lseek,dup,dup2,dup3,symlink,symlinkat,mmap")
MOST_STRING = 64 << 20


# ---- the record of a run ----

def text_of(word):
    """Bytes of all strings in an argument."""
    return b"".join(bytes.fromhex(s.replace("\\x", "")) for s in re.findall(r'"((?:\\x[0-9a-f]{2})*)"', word))


def fd_path(word):
    m = re.search(r"<((?:\\x[0-9a-f]{2})*)>", word)
    return bytes.fromhex(m.group(1).replace("\\x", "")).decode(errors="replace") if m else ""


def arguments(text):
    out, depth, quoted, start = [], 0, False, 0
    for m in re.finditer(r'["\[\]{}(),]', text):
        c = m.group(0)
        if c == '"':
            quoted = not quoted
        elif quoted:
            continue
        elif c in "[{(":
            depth += 1
        elif c in "]})":
            depth -= 1
        elif c == "," and depth == 0:
            out.append(text[start:m.start()].strip())
            start = m.end()
    return out + [text[start:].strip()]


def calls_of(log):
    """(name, [argument], result) of the calls that succeeded, in the order in which they ended."""
    waiting = {}
    for line in log:
        pid, _, rest = line.rstrip("\n").partition(" ")
        rest = rest.lstrip()
        if rest.endswith("<unfinished ...>"):
            waiting[pid] = rest[:-len("<unfinished ...>")].rstrip()
            continue
        m = re.match(r"<\.\.\. \w+ resumed>", rest)
        if m:
            rest = waiting.pop(pid) + rest[m.end():]
        m = re.match(r"(\w+)\(", rest)
        end = rest.rfind(") = ")
        if not m or end < 0:
            continue
        result = rest[end + 4:].strip()
        if result.startswith(("-1", "?")):
            continue
        yield m.group(1), arguments(rest[m.end():end]), result


def path_of(words):
    """Absolute path of the arguments (folder, name) or (name,)."""
    folder = fd_path(words[0]) if len(words) == 2 else str(drive.ROOT)
    return os.path.normpath(os.path.join(folder, text_of(words[-1]).decode()))


def number(word):
    return int(word.split("<")[0], 0)


class Record:
    """Turns calls into operations on the model below; paths outside `place` are none of ours."""
    def __init__(self, place):
        self.place, self.ops, self.names, self.inodes, self.size = str(place), [], {}, 0, {}
        self.at = {}   # descriptor: where write() goes on; None: at the end (O_APPEND)

    def ours(self, path):
        return path == self.place or path.startswith(self.place + "/")

    def start(self, files):
        """Files (path: bytes) and folders (path: None) that are there, durable, before the run."""
        for path, data in files.items():
            if data is not None:
                self.names[path] = self.inodes
                self.size[self.inodes] = len(data)
                self.inodes += 1

    def data(self, path, at, data):
        inode = self.names[path]
        at = self.size[inode] if at is None else at
        self.size[inode] = max(self.size[inode], at + len(data))
        self.ops.append(("write", inode, at, data))

    def made(self, path):
        if self.ours(path) and path not in self.names:
            self.names[path] = self.inodes
            self.size[self.inodes] = 0
            self.ops.append(("create", path, self.inodes))
            self.inodes += 1

    def length(self, path, n):
        if self.ours(path):
            self.size[self.names[path]] = n
            self.ops.append(("size", self.names[path], n))

    def renamed(self, old, new, keep=False):
        if not self.ours(old) and not self.ours(new):
            return
        self.names[new] = self.names[old]
        self.ops.append(("link" if keep else "rename", old, new))
        if not keep:
            del self.names[old]

    def call(self, name, a, result):
        if name in ("openat", "open", "creat"):
            path, flags = (path_of(a[:2]), a[2]) if name == "openat" else (path_of(a[:1]), a[1] if len(a) > 1 else "O_CREAT|O_TRUNC")
            if "O_TMPFILE" in flags:
                return
            if "O_CREAT" in flags or name == "creat":
                self.made(path)
            if "O_TRUNC" in flags and self.ours(path):
                self.length(path, 0)
            self.at[number(result)] = None if "O_APPEND" in flags else 0
        elif name in ("write", "writev"):
            if self.ours(fd_path(a[0])):
                fd, data = number(a[0]), text_of(a[1])[:number(result)]
                self.data(fd_path(a[0]), self.at[fd], data)
                if self.at[fd] is not None:
                    self.at[fd] += len(data)
        elif name == "read":
            if self.at.get(number(a[0])) is not None:
                self.at[number(a[0])] += number(result)
        elif name == "lseek":
            if self.at.get(number(a[0])) is not None:
                self.at[number(a[0])] = number(result)
        elif name in ("pwrite64", "pwritev", "pwritev2"):
            path = fd_path(a[0])
            if self.ours(path) and path in self.names:
                self.data(path, number(a[3]), text_of(a[1])[:number(result)])
        elif name == "fallocate":
            path = fd_path(a[0])
            if path in self.names and number(a[1]) == 0:
                self.length(path, max(self.size[self.names[path]], number(a[2]) + number(a[3])))
        elif name == "ftruncate":
            if fd_path(a[0]) in self.names:
                self.length(fd_path(a[0]), number(a[1]))
        elif name in ("rename", "link"):
            self.renamed(path_of(a[:1]), path_of(a[1:2]), name == "link")
        elif name in ("renameat", "renameat2", "linkat"):
            self.renamed(path_of(a[:2]), path_of(a[2:4]), name == "linkat")
        elif name in ("unlink", "unlinkat", "rmdir"):
            path = path_of(a[:2] if name == "unlinkat" else a[:1])
            if self.ours(path):
                self.names.pop(path, None)
                self.ops.append(("remove", path))
        elif name in ("mkdir", "mkdirat"):
            path = path_of(a[:2] if name == "mkdirat" else a[:1])
            if self.ours(path):
                self.ops.append(("folder", path))
        elif name in ("fsync", "fdatasync"):
            path = fd_path(a[0])
            if path in self.names:
                self.ops.append(("sync", self.names[path]))
            elif self.ours(path):
                self.ops.append(("sync-folder", path))
        elif name == "mmap":
            if "MAP_SHARED" in a[3] and "PROT_WRITE" in a[2] and self.ours(fd_path(a[4])):
                raise RuntimeError("a mapped output is nothing that this test can follow")
        elif any(self.ours(fd_path(word)) for word in a):
            raise RuntimeError(f"{name}: not a call that this test can follow")


def record(program_words, place, start):
    log = place.parent / "record"
    subprocess.run(["strace", "-f", "-qq", "-y", "-xx", "-s", str(MOST_STRING), "-e", "trace=" + CALLS, "-e", "signal=none", "-o",
                    str(log), "--"] + program_words, cwd=drive.ROOT, check=True, stdout=subprocess.DEVNULL)
    r = Record(place)
    r.start(start)
    with open(log, encoding="ascii") as lines:
        for name, words, result in calls_of(lines):
            r.call(name, words, result)
    log.unlink()
    return r.ops


# ---- the model ----

def put(content, op):
    if op[0] == "size":
        n = op[2]
        del content[n:]
        content.extend(bytes(n - len(content)))
    else:
        at, data = op[2], op[3]
        if at > len(content):
            content.extend(bytes(at - len(content)))
        content[at:at + len(data)] = data


def torn(op):
    if op[0] == "size":
        return op
    n = len(op[3]) // 2
    return op[:3] + (op[3][:n // 4096 * 4096 or n],)


VARIANTS = {
    "none": lambda ops: [],
    "all": lambda ops: ops,
    "length": lambda ops: [("size", 0, max([op[2] + len(op[3]) if op[0] == "write" else op[2] for op in ops]))],
    "first half": lambda ops: ops[:len(ops) // 2],
    "last alone": lambda ops: ops[-1:],
    "all but the first": lambda ops: ops[1:],
    "last torn": lambda ops: ops[:-1] + [torn(ops[-1])],
}


class Disk:
    """What is durable, and what came after."""
    def __init__(self, files):
        self.content, self.pending, self.names, self.folders, self.changes = {}, {}, {}, set(), []
        self.version, self.known = {}, {}
        for path, data in files.items():
            if data is None:
                self.folders.add(path)
            else:
                self.names[path] = len(self.content)
                self.content[len(self.content)] = bytearray(data)
        self.live = dict(self.names) # names as the running system sees them

    def do(self, op):
        kind = op[0]
        if kind in ("write", "size"):
            self.pending.setdefault(op[1], []).append(op)
            self.version[op[1]] = self.version.get(op[1], 0) + 1
        elif kind == "sync":
            for late in self.pending.pop(op[1], []):
                put(self.content[op[1]], late)
            self.version[op[1]] = self.version.get(op[1], 0) + 1
        elif kind == "sync-folder":
            stay = []
            for change in self.changes:
                if os.path.dirname(change[1]) == op[1]:
                    apply_change(self.names, self.folders, change)
                else:
                    stay.append(change)
            self.changes = stay
        else:
            if kind == "create":
                self.content[op[2]] = bytearray()
                self.live[op[1]] = op[2]
            elif kind in ("rename", "link"):
                inode = self.live[op[1]]
                self.live[op[2]] = inode
                if kind == "rename":
                    del self.live[op[1]]
                op = op + (inode,)
            self.changes.append(op)

    def bytes_of(self, inode, variant):
        """Content of a file, kept as (digest, bytes)."""
        ops = self.pending.get(inode, [])
        key = (inode, self.version.get(inode, 0), variant if ops else "")
        if key not in self.known:
            content = bytearray(self.content[inode])
            for op in VARIANTS[variant](ops) if ops else []:
                put(content, op)
            self.known[key] = (hashlib.sha256(content).hexdigest(), bytes(content))
        return self.known[key]

    def states(self):
        """{path: (digest, bytes) or None for a folder} for every legal state."""
        n = len(self.changes)
        every = range(n)
        chosen = {tuple(every[:k]) for k in range(n + 1)} | {tuple(i for i in every if i != k) for k in every} | {(k,) for k in every}
        for subset in sorted(chosen):
            names, folders = dict(self.names), set(self.folders)
            for i in subset:
                apply_change(names, folders, self.changes[i])
            names = {path: inode for path, inode in names.items() if os.path.dirname(path) in folders}
            late = {inode for inode in names.values() if inode in self.pending}
            for variant in VARIANTS if late else ["all"]:
                state = {path: self.bytes_of(inode, variant) for path, inode in names.items()}
                state.update({path: None for path in folders})
                yield state


def apply_change(names, folders, change):
    if change[0] == "create":
        names[change[1]] = change[2]
    elif change[0] == "folder":
        folders.add(change[1])
    elif change[0] == "remove":
        names.pop(change[1], None)
        folders.discard(change[1])
    elif names.get(change[1]) == change[3]:
        names[change[2]] = change[3]
        if change[0] == "rename":
            del names[change[1]]


# ---- every state of a command ----

class Case:
    """One command, and one that makes what it finds. Where it resumes, it removes what the broken run left."""
    def __init__(self, name, words, old=None, resumes=False):
        self.name, self.words, self.old, self.resumes = name, words, old, resumes


def files_below(top):
    found = {}
    for folder, _, names in os.walk(top):
        found[folder] = None
        for name in names:
            found[os.path.join(folder, name)] = pathlib.Path(folder, name).read_bytes()
    return found


def lay_out(place, files):
    shutil.rmtree(place, ignore_errors=True)
    for path, data in sorted(files.items()):
        if data is None:
            os.makedirs(path, exist_ok=True)
        else:
            pathlib.Path(path).write_bytes(data)


def visible(files, place):
    """{relative path: digest} of files without a hidden name."""
    return {os.path.relpath(p, place): d for p, d in files.items() if d is not None and not os.path.basename(p).startswith(".")}


def digest_all(files):
    return {p: d if d is None else hashlib.sha256(d).hexdigest() for p, d in files.items()}


class Judge:
    def __init__(self, work, number, blobs):
        # States hold absolute paths, and the record was made in a folder of the same length elsewhere.
        self.place, self.blobs = work / f"judge-{number}" / "place", blobs

    def look(self, case, state, golden, old, done, from_place):
        here = {p.replace(from_place, str(self.place), 1): None if d is None else (self.blobs / d).read_bytes() for p, d in state.items()}
        shown = visible(state, from_place)
        problems = list(judge_visible(shown, golden, old, done))
        lay_out(self.place, here)
        again = subprocess.run([w.replace(from_place, str(self.place), 1) for w in case.words], cwd=drive.ROOT, stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=drive.SECONDS)
        after = digest_all(files_below(self.place))
        left = [p for p in after if after[p] is not None and os.path.basename(p).startswith(".")]
        if again.returncode != 0:
            problems.append(f"the same command again: status {again.returncode}: {again.stderr.decode(errors='replace').strip()}")
        elif visible(after, str(self.place)) != golden:
            problems.append(f"the same command again: {drive.difference(visible(after, str(self.place)), golden)}")
        elif left and case.resumes:
            problems.append(f"the same command again leaves {sorted(map(os.path.basename, left))}")
        return [(problem, sorted((os.path.relpath(p, from_place), d and d[:8]) for p, d in state.items())) for problem in problems]


def judge_visible(shown, golden, old, done):
    """Old or new files, whole; a list of sums only beside what it lists. `done`: the run had said that it succeeded."""
    if done and shown != golden:
        yield f"the run had ended well, and after the crash: {drive.difference(shown, golden)}"
    for name, digest in shown.items():
        if digest not in (golden.get(name), old.get(name)):
            yield f"'{name}' is neither old nor new"
    for sums in (n for n in shown if os.path.basename(n) == "SHA256SUMS"):
        belongs = golden if shown[sums] == golden.get(sums) else old
        if any(shown.get(name) != digest for name, digest in belongs.items()):
            yield f"SHA256SUMS beside files that are not its own: {drive.difference(shown, belongs)}"


def collect(case, ops, start, blobs):
    """[(state, done)]: every state once, files as digests."""
    disk, seen, found = Disk(start), set(), []
    for i, op in enumerate([None] + ops):
        if op:
            disk.do(op)
        done = i == len(ops)
        for state in disk.states():
            plain = {p: d and d[0] for p, d in state.items()}
            key = (done, tuple(sorted((drive.TEMPORARY.sub(".part", p), d or "") for p, d in plain.items())))
            if key in seen:
                continue
            seen.add(key)
            for d in state.values():
                if d and not (blobs / d[0]).exists():
                    (blobs / d[0]).write_bytes(d[1])
            found.append((plain, done))
        if disk.changes == [] and not disk.pending:
            disk.known.clear()
    return found


judge = None


def start_judge(work, counter, blobs):
    global judge
    with counter.get_lock():
        counter.value += 1
        judge = Judge(work, counter.value, blobs)


def look(job):
    try:
        return judge.look(*job)
    except Exception as e:
        return [(f"the test itself: {e!r}", [])]


def cases(program, place, statistics, large=False):
    model, common = drive.MODEL, ["-t", "2", "-q"]
    out = str(place / "out")
    tokens = str(statistics.parent / "tokens.npy")
    def words(*given):
        return [program, *given, *common]
    convert = words("convert", model, "-o", out, "--to", "experts")
    quantize = words("quantize", model, "-o", out, "--type", "int4-g32", "--stats", str(statistics))
    yield Case("convert", convert, resumes=True)
    yield Case("quantize", quantize, resumes=True)
    yield Case("replace", convert + ["--force"], quantize + ["--scope", "all-linear"], resumes=True)
    yield Case("calibrate", words("calibrate", model, "--tokens", tokens, "-c", "128", "-o", str(place / "new.stats"), "--force"))
    yield Case("tokens", words("tokens", model, "--text", "tests/data/text/heldout.txt", "-o", str(place / "new.npy"), "--force"),
               words("tokens", model, "--text", "tests/data/nano/README.md", "-o", str(place / "new.npy")))
    yield Case("forward", words("forward", model, "--tokens", tokens, "-o", str(place / "new.npz"), "--force",
                                 "--activations" if large else "--no-logits"),
               words("forward", model, "--tokens", tokens, "-o", str(place / "new.npz")))
    yield Case("verify", words("verify", model, model, "--level", "structure", "-o", out, "--force"),
               words("verify", model, model, "-o", out))


def run_case(case, place, given, blobs):
    begun = time.monotonic()
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    if case.old:
        subprocess.run(case.old, cwd=drive.ROOT, check=True, stdout=subprocess.DEVNULL)
    start = files_below(place)
    ops = record(case.words, place, start)
    golden, old = visible(digest_all(files_below(place)), place), visible(digest_all(start), place)
    states = collect(case, ops, start, blobs)
    jobs = [(case, state, golden, old, done, str(place)) for state, done in states]
    with multiprocessing.Pool(given.jobs, start_judge, (place.parent, multiprocessing.Value("i", 0), blobs)) as pool:
        problems = [p for found in pool.imap_unordered(look, jobs, 4) for p in found]
    print(f"{case.name:10} {len(ops):5} operations {len(states):6} crash states {time.monotonic() - begun:6.1f} s"
          + (f"  {len(problems)} PROBLEMS" if problems else ""), flush=True)
    shown = {}
    for text, state in problems:
        shown.setdefault(re.sub(r"'[^']*'|\d+", "_", text)[:70], []).append((text, state))
    for same in shown.values():
        print(f"    {len(same)} times: {same[0][0][:500]}\n        {same[0][1]}", flush=True)
    return len(states), len(problems)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("program")
    p.add_argument("--work", default="build/crash-states")
    p.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--only", default="")
    given = p.parse_args()
    if not shutil.which("strace") or subprocess.run(["strace", "-o", "/dev/null", "true"], stderr=subprocess.DEVNULL).returncode:
        print("skipped: no strace, or it may not trace here")
        return 0
    program = str(pathlib.Path(given.program).resolve())
    work = pathlib.Path(given.work).resolve()
    shutil.rmtree(work, ignore_errors=True)
    blobs = work / "blobs"
    blobs.mkdir(parents=True)
    place = work / "recorded" / "place"
    statistics = work / "nano.stats"
    begun, total, bad = time.monotonic(), 0, 0
    for made in (["tokens", drive.MODEL, "--text", "tests/data/text/README.md", "-o", str(work / "tokens.npy")],
                 ["calibrate", drive.MODEL, "--tokens", str(work / "tokens.npy"), "-c", "128", "-o", str(statistics)]):
        subprocess.run([program, *made, "-q"], cwd=drive.ROOT, check=True, stdout=subprocess.DEVNULL)
    for case in cases(program, place, statistics):
        if not given.only or case.name in given.only.split(","):
            n, problems = run_case(case, place, given, blobs)
            total, bad = total + n, bad + problems
    print(f"crash states: {total} states, {bad} problems, {time.monotonic() - begun:.0f} s on {given.jobs} cores")
    if not bad:
        shutil.rmtree(work)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
