#!/usr/bin/env bash
# A plan on hosts that ssh reaches, each measuring one cell after the other; files come back by rsync.
#
#     profiles/plans/ssh.sh profiles/plans/quick.toml results HOST...
#
# Host number k of n measures the cells k, k + n, k + 2n … The plan must be the same file there, and
# harness installed. At the end, the table of all that came back is printed, the best cell and the
# curves of each host by itself. To compare hosts, give each the whole plan and a folder of its own:
# ssh HOST harness sweep PLAN -o results.
set -euo pipefail
plan=$1 folder=$2
shift 2
hosts=("$@") cells=$(harness sweep "$plan" --cells)
mkdir -p "$folder"
for k in "${!hosts[@]}"; do
    (
        host=${hosts[$k]}
        for ((cell = k + 1; cell <= cells; cell += ${#hosts[@]})); do
            ssh -n "$host" harness sweep "$plan" --cell "$cell" --quiet -o "$folder" >/dev/null ||
                echo "cell $cell failed on $host" >&2
        done
        rsync -a --include='cell-*.h5' --include='cell-*.failed.json' --exclude='*' \
            "$host:$folder/" "$folder/"
    ) &
done
wait
harness sweep "$plan" --dry-run -o "$folder"
