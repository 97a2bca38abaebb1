# Shared by the scripts here: where things lie, and how a step says what it does.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
deps=$root/build/deps
preset=${D2DMOE_PRESET:-cpu-release}
build=$root/build/$preset
torch_version=2.11.0

if [ -t 2 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\e[1m'; plain=$'\e[0m'; else bold=; plain=; fi
step() { printf '%s==> %s%s\n' "$bold" "$*" "$plain" >&2; }
skip() { printf '    %s: already done\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
jobs() { nproc; }

# The folder of a LibTorch that is there already: D2DMOE_TORCH_DIR, CMAKE_PREFIX_PATH, python3's torch, our wheel.
find_torch() {
  local dir
  if [ -n "${D2DMOE_TORCH_DIR:-}" ]; then  # named by the user: that one or none
    [ -e "$D2DMOE_TORCH_DIR/share/cmake/Torch/TorchConfig.cmake" ] \
      || die "D2DMOE_TORCH_DIR '$D2DMOE_TORCH_DIR' is no LibTorch folder: it has no share/cmake/Torch/TorchConfig.cmake. Hint: name the folder with include/ and lib/ (in Python: os.path.dirname(torch.__file__)), or unset the variable"
    echo "$D2DMOE_TORCH_DIR"
    return
  fi
  for dir in ${CMAKE_PREFIX_PATH:+${CMAKE_PREFIX_PATH//[:;]/ }}; do
    [ -n "$dir" ] || continue
    [ -e "$dir/share/cmake/Torch/TorchConfig.cmake" ] && { echo "$dir"; return; }
    dir=$(cd "$dir/../.." 2>/dev/null && pwd) || continue  # torch.utils.cmake_prefix_path is <torch>/share/cmake
    [ -e "$dir/share/cmake/Torch/TorchConfig.cmake" ] && { echo "$dir"; return; }
  done
  dir=$(python3 - <<'PY' 2>/dev/null || true
import torch, os
major, minor = (int(x) for x in torch.__version__.split("+")[0].split(".")[:2])
if (major, minor) >= (2, 6):
    print(os.path.dirname(torch.__file__))
PY
)
  [ -n "$dir" ] && { echo "$dir"; return; }
  dir=$(echo "$deps"/venv/lib/python3*/site-packages/torch)
  [ -e "$deps/venv/torch-$torch_version-done" ] && echo "$dir"
  return 0
}
