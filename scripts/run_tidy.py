#!/usr/bin/env python3
"""Runs clang-tidy over our sources with the flags of the build, without what only g++ knows.

usage: run_tidy.py CLANG_TIDY BUILD_DIR [--tidy-all]
By default only files that do not see torch's headers are read (seconds); --tidy-all reads every file (minutes).
"""
import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

tidy, build, everything = sys.argv[1], pathlib.Path(sys.argv[2]), "--tidy-all" in sys.argv
root = pathlib.Path(__file__).resolve().parent.parent


def entries():
    """The compile commands, with each file of a unity build under its own name."""
    for entry in json.loads((build / "compile_commands.json").read_text()):
        file = pathlib.Path(entry["file"])
        if "Unity" not in file.parts:
            yield entry, file
            continue
        for part in re.findall(r'#include "(.+\.cpp)"', file.read_text()):
            yield dict(entry, file=part, command=entry["command"].replace(str(file), part)), pathlib.Path(part)


chosen = []
for entry, file in entries():
    if not file.is_relative_to(root) or file.is_relative_to(root / "build") or file.suffix != ".cpp":
        continue
    if "/torch/include" in entry["command"] and not everything:
        continue
    # The precompiled header is g++'s own: clang reads the headers themselves.
    words, flags, drop = shlex.split(entry["command"]), [], False
    for word in words:
        if drop:
            drop = False
            continue
        if word == "-include":
            drop = True
            continue
        if word in ("-Winvalid-pch", "-fopenmp", "-Werror", "-Wno-restrict"):
            continue
        flags.append(word)
    entry["command"] = shlex.join(flags)
    chosen.append(entry)

with tempfile.TemporaryDirectory() as folder:
    (pathlib.Path(folder) / "compile_commands.json").write_text(json.dumps(chosen))

    def check(entry):
        return subprocess.run([tidy, "-p", folder, "--quiet", entry["file"]], capture_output=True, text=True)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(check, chosen))
if not chosen:
    sys.exit(f"error: {build}/compile_commands.json names none of our sources")
failed = [r for r in results if r.returncode != 0]
for result in failed:
    print(result.stdout + result.stderr, file=sys.stderr)
print(f"clang-tidy: {len(chosen)} files, {len(failed)} with findings")
sys.exit(1 if failed else 0)
