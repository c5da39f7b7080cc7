#!/usr/bin/env bash
# Executes README's shell lines, word for word, as a newcomer would: each of its ```sh blocks in a
# fresh shell, in a fresh clone of what is committed. The test command gets a clone of its own,
# since it claims to do all its set-up; with --without-tests it is left out (.ci/run has it).
# Prints each line with its exit code and seconds. Fails if one fails, or if a line leaves a file
# that git does not ignore. PIP_NO_CACHE_DIR=1 downloads all, as on a fresh machine.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

# An activated environment or a path of modules would hide what README forgets.
unset VIRTUAL_ENV PYTHONPATH PYTHONHOME

# One file a block.
awk -v work="$work" '/^```sh$/ { inside = 1; block++; next } /^```/ { inside = 0 }
    inside { print > sprintf("%s/block-%02d", work, block) }' README.md

# Executes standard input line by line in this shell, so that an activated environment stays.
cat >"$work/execute" <<'EXECUTE'
failed=0
while IFS= read -r line <&3; do
    echo "+ $line"
    begun=$EPOCHREALTIME
    eval "$line" </dev/null
    code=$?
    # Microseconds of both, without the point: the shell has no fractions.
    took=$((${EPOCHREALTIME/./} - ${begun/./}))
    printf '= exit %d, %d.%d s: %s\n' "$code" $((took / 1000000)) $((took / 100000 % 10)) "$line" |
        tee -a "$SUMMARY"
    ((code == 0)) || failed=1
done 3<"$1"
exit "$failed"
EXECUTE

export SUMMARY=$work/summary
for block in "$work"/block-*; do
    clone=$work/harness
    if grep -q -- '-m pytest' "$block"; then
        [[ ${1:-} != --without-tests ]] || continue
        clone=$work/tested
    fi
    [[ -d $clone ]] || git clone --quiet . "$clone"
    (cd "$clone" && bash --noprofile --norc "$work/execute" "$block") || failed=1
    left=$(git -C "$clone" status --porcelain)
    if [[ -n $left ]]; then
        echo "= git does not ignore: $left" | tee -a "$SUMMARY"
        failed=1
    fi
done

echo "--- summary"
cat "$SUMMARY"
exit "$failed"
