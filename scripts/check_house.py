#!/usr/bin/env python3
"""Holds the tree against its own plan: a room includes only rooms that stand before it in lib/d2dmoe/CMakeLists.txt,
every source and test file is listed (or globbed) in its CMakeLists.txt, every header has #pragma once, and the
environment variables that are read are those of docs/build.md."""
import pathlib
import re
import sys

root = pathlib.Path(__file__).resolve().parent.parent
lib = root / "lib" / "d2dmoe"
errors = []

listed = re.search(r"foreach\(room ([^)]*)\)", (lib / "CMakeLists.txt").read_text())
rooms = listed.group(1).split()
place = {room: i for i, room in enumerate(rooms)}
folders = {p.name for p in lib.iterdir() if p.is_dir()}
if folders != set(rooms):
    errors.append(f"lib/d2dmoe: folders {sorted(folders ^ set(rooms))} and the list in CMakeLists.txt differ")

for file in sorted(lib.rglob("*")):
    if file.suffix not in {".h", ".inc", ".cpp", ".cu", ".cuh"}:
        continue
    room = file.relative_to(lib).parts[0]
    text = file.read_text()
    if file.suffix == ".h" and "#pragma once" not in text:
        errors.append(f"{file.relative_to(root)}: no #pragma once")
    for line, include in enumerate(text.splitlines(), 1):
        match = re.match(r'\s*#include "([^"]+)"', include)
        if not match:
            continue
        target = match.group(1).split("/")
        if target[0] != "d2dmoe" or len(target) < 3:
            errors.append(f'{file.relative_to(root)}:{line}: includes start at the library root: "d2dmoe/room/file.h"')
        elif place[target[1]] > place[room]:
            errors.append(f"{file.relative_to(root)}:{line}: room {room} must not include room {target[1]}")


def check_listed(folder, pattern):
    for file in sorted(folder.glob(pattern)):
        owners = [p for p in file.parents if p.is_relative_to(root) and (p / "CMakeLists.txt").exists()]
        names = [(p / "CMakeLists.txt", re.escape(str(file.relative_to(p)))) for p in owners]
        if any("GLOB" in (p / "CMakeLists.txt").read_text() for p in owners[:1]):
            continue
        if not any(re.search(rf"(?<![\w/]){name}(?!\w)", owner.read_text()) for owner, name in names):
            errors.append(f"{file.relative_to(root)}: not listed in {names[0][0].relative_to(root)}")


check_listed(lib, "**/*.cpp")
check_listed(root / "apps", "**/*.cpp")
for folder in sorted(p for p in (root / "tests").iterdir() if p.is_dir()):
    if list(folder.glob("test_*.cpp")) and not (folder / "CMakeLists.txt").exists():
        errors.append(f"tests/{folder.name}: test files but no CMakeLists.txt")
    check_listed(folder, "test_*.cpp")


def variables_in(file):
    """The D2DMOE_* environment variables of a program or script: of a shell $NAME and ${NAME, else names in quotes."""
    text = file.read_text(errors="ignore")
    if file.suffix == ".sh" or re.match(r"#!.*\bbash\b", text):
        return re.findall(r"\$\{?(D2DMOE_[A-Z0-9_]+)", text)
    if file.suffix in {".h", ".cpp", ".py"} or text.startswith("#!"):
        return re.findall(r'"(D2DMOE_[A-Z0-9_]+)"', text)
    return []


folders = [root / name for name in ("lib", "apps", "tests", "scripts", ".ci")]
files = [file for folder in folders for file in sorted(folder.rglob("*")) if file.is_file()]
used = {name: file.relative_to(root) for file in files for name in variables_in(file)}
table = (root / "docs" / "build.md").read_text().split("## Environment variables")[1].split("\n## ")[0]
named = set(re.findall(r"`(D2DMOE_[A-Z0-9_]+)`", table))
errors += [f"{used[name]}: {name} is not in docs/build.md" for name in sorted(used.keys() - named)]
errors += [f"docs/build.md: nothing reads {name}" for name in sorted(named - used.keys())]

for error in errors:
    print(f"error: {error}", file=sys.stderr)
sys.exit(1 if errors else 0)
