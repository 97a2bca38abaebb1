#!/usr/bin/env bash
# scripts/setup where it cannot install: it says the exact line, and stops before it has done anything.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }
has() { grep -qF -- "$2" "$1" || { cat "$1" >&2; fail "must contain: $2"; }; }

# A machine without catch2, whose user is nobody special: really so where we may become one, else by what id says; a
# dpkg-query as such a machine answers, no sudo.
mkdir -p "$work/bin" "$work/tree"
cat >"$work/bin/dpkg-query" <<'FAKE'
#!/bin/bash
[ "${!#}" = catch2 ] && exit 1
echo -n "install ok installed"
FAKE
become=()
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
  become=(setpriv --reuid 65534 --regid 65534 --clear-groups)
  ln -s "$(command -v id)" "$work/bin/id"
else
  printf '#!/bin/bash\necho 1000\n' >"$work/bin/id"
fi
chmod a+rx "$work" "$work"/bin/*
for tool in bash dirname env grep tr python3 uname cat mkdir; do ln -s "$(command -v $tool)" "$work/bin/$tool"; done
cp -r scripts "$work/tree/"

code=0
"${become[@]}" "$(command -v env)" PATH="$work/bin" "$work/tree/scripts/setup" >"$work/out" 2>"$work/err" </dev/null || code=$?
[ "$code" = 1 ] || { cat "$work/err" >&2; fail "exit code $code, must be 1"; }
[ ! -s "$work/out" ] || fail "stdout must be empty"
has "$work/err" "    apt-get update && apt-get install -y --no-install-recommends catch2 "
has "$work/err" "error: these packages are missing and this user may not install them."
[ ! -e "$work/tree/build" ] || fail "something was made"

# The same with everything installed and a LibTorch that is none.
sed -i '/catch2/d' "$work/bin/dpkg-query"
code=0
"${become[@]}" "$(command -v env)" PATH="$work/bin" D2DMOE_TORCH_DIR="$work/no-torch" "$work/tree/scripts/setup" >"$work/out" 2>"$work/err" </dev/null || code=$?
[ "$code" = 1 ] || { cat "$work/err" >&2; fail "exit code $code, must be 1"; }
has "$work/err" "D2DMOE_TORCH_DIR '$work/no-torch' is no LibTorch folder"
[ ! -e "$work/tree/build" ] || fail "something was made"
echo "scripts/setup: as it should be"
