"""Kills ``harness profile`` with SIGKILL at random moments and recovers what it leaves.

Every worker process that had finished must come back, sample for sample, and nothing else:

    python benchmarks/kill_and_recover.py

Odd kills hit the command alone, whose worker must then die with it; even ones hit both at
once. The moments are uniform over the time that an undisturbed profile takes, so some come
before a worker has finished and some while the file is written.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from harness import read_profile
from harness.errors import ProfileFileError
from harness.records import ProcessRecord
from harness.storage import shards

PROCESSES = 4
OUTPUT = "killed.h5"
PROFILE = (
    *(sys.executable, "-m", "harness", "profile", "mlp", "--quick", "--quiet"),
    *("--processes", str(PROCESSES), "--output", OUTPUT),
)
RECOVER = (sys.executable, "-m", "harness", "recover", f".{OUTPUT}.partial")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    moments = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as scratch:
        began_s = time.monotonic()
        subprocess.run(PROFILE, cwd=scratch, check=True, stdout=subprocess.DEVNULL)
        whole_s = time.monotonic() - began_s
    print(f"an undisturbed profile of {PROCESSES} processes takes {whole_s:.1f} s")
    print(f"{'kill':>4}  {'at':>6}  {'hits':7}  {'finished':>8}  {'recovered':>9}  wrong")
    totals = [0, 0, 0]
    for kill in range(1, options.kills + 1):
        at_s = moments.uniform(0, whole_s)
        group = kill % 2 == 0
        with tempfile.TemporaryDirectory() as scratch:
            finished, recovered, wrong = killed_at(Path(scratch), at_s, group)
        print(
            f"{kill:4}  {at_s:4.2f} s  {'both' if group else 'command':7}  {finished:8}  "
            f"{recovered:9}  {'; '.join(wrong) or '-'}",
            flush=True,
        )
        for place, count in enumerate((finished, recovered, len(wrong))):
            totals[place] += count
    finished, recovered, wrong_count = totals
    passed = recovered == finished and not wrong_count
    print(
        f"{'PASS' if passed else 'FAIL'}: {options.kills} kills, {recovered} of {finished} "
        f"finished processes recovered, {wrong_count} wrong"
    )
    return 0 if passed else 1


def killed_at(folder: Path, at_s: float, group: bool) -> tuple[int, int, list[str]]:
    """(finished processes, recovered ones, what was wrong) after one kill."""
    partial, target = folder / f".{OUTPUT}.partial", folder / OUTPUT
    process = subprocess.Popen(
        PROFILE,
        cwd=folder,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(at_s)
    workers = children(process.pid)
    with contextlib.suppress(ProcessLookupError):
        (os.killpg if group else os.kill)(process.pid, signal.SIGKILL)
    process.wait()
    wrong = []
    if orphans := [pid for pid in workers if not ends(pid)]:
        wrong.append(f"workers {orphans} live on")

    # Shards are immutable and their names are final once they are whole, so what is there
    # now is what had finished. They are read before anything is recovered from them.
    kept = [shard.process for shard in shards.read_shards(partial)[0]] if partial.is_dir() else []
    if len(kept) != len(list(partial.glob("process-*.shard"))):
        wrong.append("a shard cannot be read")
    in_place = read(target)
    if in_place is not None:  # it ended, or all but the removal of its shards
        wrong += differences(in_place, kept)
        if len(in_place) != PROCESSES:
            wrong.append("the file in its place is not complete")
        return PROCESSES, len(in_place), wrong

    outcome = subprocess.run(RECOVER, cwd=folder, capture_output=True, text=True, check=False)
    if outcome.returncode not in (0, 2) or len(outcome.stderr.splitlines()) > 1:
        wrong.append(f"recover exits with {outcome.returncode}: {outcome.stderr[-200:]}")
    recovered = read(target) or []
    wrong += differences(recovered, kept)
    if len(recovered) != len(kept):
        wrong.append(f"{len(kept)} shards give {len(recovered)} processes")
    if bool(kept) != (outcome.returncode == 0):
        wrong.append(f"recover exits with {outcome.returncode} for {len(kept)} processes")
    if target.exists() and read_profile(target).complete != (len(kept) == PROCESSES):
        wrong.append("complete is wrong")
    if kept and partial.exists():
        wrong.append("the partial folder is left")
    return len(kept), len(recovered), wrong


def read(target: Path) -> list[ProcessRecord] | None:
    try:
        return list(read_profile(target).processes)
    except ProfileFileError:
        return None


def differences(found: list[ProcessRecord], kept: list[ProcessRecord]) -> list[str]:
    """What differs from what was measured, or cannot have been measured."""
    wrong = []
    if [process.index for process in found] != list(range(len(found))):
        wrong.append(f"processes {[process.index for process in found]}")
    originals = {process.index: process for process in kept}
    for process in found:
        for name in ("warmup", "steady"):
            series = getattr(process, name)
            measured = getattr(originals.get(process.index, process), name)
            if not (
                np.array_equal(series.start_ns, measured.start_ns)
                and np.array_equal(series.duration_ns, measured.duration_ns)
            ):
                wrong.append(f"{name} of process {process.index} is not what its shard holds")
        steady = process.steady
        if len(steady) == 0 or len(steady) % process.loops:
            wrong.append(f"process {process.index} has {len(steady)} samples")
        if (steady.duration_ns <= 0).any() or (np.diff(steady.start_ns) <= 0).any():
            wrong.append(f"process {process.index} has impossible samples")
    return wrong


def children(pid: int) -> list[int]:
    try:
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    except OSError:
        return []


def ends(pid: int, patience_s: float = 5.0) -> bool:
    """Whether a process ends in time; a zombie that was not reaped counts as ended."""
    deadline_s = time.monotonic() + patience_s
    while time.monotonic() < deadline_s:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state in "ZX":
            return True
        time.sleep(0.01)
    return False


if __name__ == "__main__":
    sys.exit(main())
