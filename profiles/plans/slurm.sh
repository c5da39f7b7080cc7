#!/usr/bin/env bash
# A plan as a job array of Slurm: a cell a task, one task a node at a time.
#
#     profiles/plans/slurm.sh profiles/plans/cpu-scaling.toml /shared/results [SBATCH OPTIONS]
#
# The folder must be on a file system that all nodes share. What is done there is not measured
# again: submit the same once more to fill what nodes have lost. Meanwhile and at the end, this prints
# the table with the figures of all that is there, and measures nothing:
#
#     harness sweep profiles/plans/cpu-scaling.toml -o /shared/results --dry-run
set -euo pipefail
plan=$(realpath "$1") folder=$(realpath -m "$2")
shift 2
sbatch --array="1-$(harness sweep "$plan" --cells)" --exclusive "$@" \
    --wrap "harness sweep '$plan' --cell \"\$SLURM_ARRAY_TASK_ID\" -o '$folder'"
