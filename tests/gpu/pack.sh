#!/usr/bin/env bash
# Packs this checkout for a machine that reaches no package registry:
#
#   tests/gpu/pack.sh FOLDER
#
# Leaves there project.tar.xz (the working tree and the C that Cython made) and unpack.sh. Put beside
# them what that machine's Python lacks: wheels, and ONNX Runtime as ort-*.tar.xz (the libraries of
# the wheel's capi folder, the code of one GPU architecture being enough).
set -euo pipefail
project=$(cd "$(dirname "$0")/../.." && pwd)
[ $# -eq 1 ] || { echo "usage: $0 FOLDER" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
cd "$project"
made=()
for source in ext/*/*.pyx; do
    made+=("build/cython/${source%.pyx}.c")
    [ -f "${made[-1]}" ] && [ ! "$source" -nt "${made[-1]}" ] || {
        echo "${made[-1]} is missing or older than its .pyx: python -m pip install --editable ." >&2
        exit 1
    }
done
{
    git ls-files -z --cached --others --exclude-standard
    printf '%s\0' "${made[@]}"
} | while IFS= read -r -d '' file; do
    [ ! -f "$file" ] || [ "${file#shared/}" != "$file" ] || printf '%s\0' "$file"
done | tar --null --files-from=- --create | xz -T0 -6 >"$out/project.tar.xz"
cp tests/gpu/unpack.sh "$out/"
du -h "$out/project.tar.xz"
