#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every command that writes, on file systems that are too small for it.

usage: full_disk.py PROGRAM [--work DIR] [--sizes N]

A tmpfs is mounted with N sizes between one page and what the output needs. Where the command fails it says so in one
sentence with status 4 and leaves nothing under a final name; where the same file system is then made large, the same
command gives the golden result. Needs the right to mount, as root or in a user namespace; else it says that it was skipped.
"""
import argparse, os, pathlib, shutil, subprocess, sys, time

import crash_states, drive

PAGE = 4096


def mount(place, size, again=False):
    subprocess.run(["mount", "-t", "tmpfs", "-o", ("remount," if again else "") + f"size={size}", "none", str(place)], check=True)


def run(words):
    return subprocess.run(words, cwd=drive.ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                          timeout=drive.SECONDS)


def shown(place):
    return crash_states.visible(crash_states.digest_all(crash_states.files_below(place)), place)


def one_size(case, place, size, golden, need):
    """(status, [problem])"""
    mount(place, size)
    try:
        done = run(case.words)
        text, problems = done.stderr.strip(), []
        if done.returncode == 0:
            if shown(place) != golden:
                problems.append(f"status 0: {drive.difference(shown(place), golden)}")
            return 0, problems
        if done.returncode != 4:
            problems.append(f"status {done.returncode}: {text}")
        problems += drive.judge_sentence(case.name, done.returncode, done.stderr)
        if "No space left on device" not in text and " bytes needed, " not in text:
            problems.append(f"does not tell that space is missing: {text}")
        if shown(place):
            problems.append(f"has its final name: {sorted(shown(place))}")
        mount(place, 64 * need, again=True)
        again = run(case.words)
        if again.returncode != 0 or shown(place) != golden:
            problems.append(f"with space, the same command: status {again.returncode} {again.stderr.strip()}, "
                            f"{drive.difference(shown(place), golden)}")
        return done.returncode, problems
    finally:
        subprocess.run(["umount", str(place)], check=True)


def sizes_of(need, n):
    pages = -(-need // PAGE) + 8 # folders, journal
    return sorted({max(1, pages * i // n) * PAGE for i in range(n + 1)} | {2 * pages * PAGE})


def inside(given):
    work = pathlib.Path(given.work).resolve()
    shutil.rmtree(work, ignore_errors=True)
    place, total, bad, begun = work / "place", 0, 0, time.monotonic()
    place.mkdir(parents=True)
    for made in (["tokens", drive.MODEL, "--text", "tests/data/text/README.md", "-o", str(work / "tokens.npy")],
                 ["calibrate", drive.MODEL, "--tokens", str(work / "tokens.npy"), "-c", "128", "-o", str(work / "nano.stats")]):
        subprocess.run([given.program, *made, "-q"], cwd=drive.ROOT, check=True, stdout=subprocess.DEVNULL)
    for case in crash_states.cases(given.program, place, work / "nano.stats", large=True):
        if case.name == "replace":
            continue
        mount(place, 1 << 28)
        run(case.words)
        golden = shown(place)
        need = sum(p.stat().st_size + PAGE for p in place.rglob("*") if p.is_file())
        subprocess.run(["umount", str(place)], check=True)
        if not golden:
            sys.exit(f"full_disk: {case.name} makes nothing where there is space")
        ends, problems = [], []
        for size in sizes_of(need, given.sizes):
            status, found = one_size(case, place, size, golden, need)
            ends.append(status)
            problems += [f"{size} bytes: {text}" for text in found]
        total, bad = total + len(ends), bad + len(problems)
        print(f"{case.name:10} needs about {need} bytes: {ends.count(4)} sizes too small, {ends.count(0)} large enough"
              + (f"  {len(problems)} PROBLEMS" if problems else ""), flush=True)
        for text in problems[:8]:
            print(f"    {text}")
    print(f"full disk: {total} file systems, {bad} problems, {time.monotonic() - begun:.0f} s")
    return 1 if bad else 0


def main():
    p = argparse.ArgumentParser()
    p.add_argument("program")
    p.add_argument("--work", default="build/full-disk")
    p.add_argument("--sizes", type=int, default=12)
    p.add_argument("--inside", action="store_true")
    given = p.parse_args()
    given.program = str(pathlib.Path(given.program).resolve())
    if given.inside:
        return inside(given)
    for how in (["unshare", "--mount"], ["unshare", "--mount", "--map-root-user"]):
        probe = ["sh", "-c", f"mkdir -p '{given.work}' && mount -t tmpfs -o size=4096 none '{given.work}' && umount '{given.work}'"]
        if shutil.which("unshare") and subprocess.run(how + probe, stderr=subprocess.DEVNULL).returncode == 0:
            return subprocess.run(how + [sys.executable, __file__, given.program, "--work", given.work, "--sizes", str(given.sizes),
                                         "--inside"]).returncode
    print("skipped: no file system can be mounted here")
    return 0


if __name__ == "__main__":
    sys.exit(main())
