#!/usr/bin/env bash
# Runs the tests of the native modules under AddressSanitizer and UndefinedBehaviorSanitizer,
# in a copy of the checkout. PYTHON names the interpreter, which must have the test extra;
# arguments go to pytest. Leaks are the tests' own matter: the interpreter's drown them here.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$(command -v "${PYTHON:-python}")
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r ext harness tests pyproject.toml setup.py README.md "$copy"
cd "$copy"
find . -name '*.so' -delete
sanitize="-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer"
CFLAGS=$sanitize LDFLAGS=$sanitize "$python" setup.py -q build_ext --inplace >build.log 2>&1 ||
    { cat build.log; exit 1; }
export LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libstdc++.so)"
export ASAN_OPTIONS=detect_leaks=0:quarantine_size_mb=8 PYTHONMALLOC=malloc
"$python" -m pytest -p no:cacheprovider --capture=sys tests/native "$@"
