#!/usr/bin/env bash
# Installs the build, builds docs/example against it with find_package, and runs both.
# usage: check_install.sh BUILD_DIR MODEL_FOLDER
set -euo pipefail
build=$1 model=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cmake --install "$build" --prefix "$work/prefix" >/dev/null
"$work/prefix/bin/d2dmoe" --version
cmake -S docs/example -B "$work/example" -G Ninja -DCMAKE_PREFIX_PATH="$work/prefix" -DCMAKE_BUILD_TYPE=Release >/dev/null
cmake --build "$work/example"
"$work/example/example" "$model" "a feeling of quiet joy"
