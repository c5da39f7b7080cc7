"""Is anything of a sweep lost, or measured twice, that is killed again and again?

    python benchmarks/sweep_kills.py [--kills 20] [--seed 1]

A sweep of 24 cells is killed (SIGKILL, now and then Ctrl-C) at random moments and started again
with the same command, then left to its end. All profiles must be there, each once, with all of
their processes, in the structure of those of a sweep that nobody interrupted: the same processes,
traces, facts and device series, and as many samples in each process of a cell.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from harness.records import Profile
from harness.storage.profile_file import read_profile

AXES = (
    *("--axis", "model=mlp"),
    *("--axis", "batch=1,2,4,8,16,32"),
    *("--axis", "threads=1,2"),
    *("--axis", "optimization=all,basic"),
)
COMMAND = ("sweep", *AXES, "--quick", "--processes", "3", "--duration", "0.05")


def started(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "harness", *COMMAND, "-o", str(folder), "--json", "--quiet"]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def ended(folder: Path) -> tuple[dict[str, object], float]:
    """What the whole sweep printed, and how long it took."""
    began_s = time.monotonic()
    process = started(folder)
    out, err = process.communicate()
    if process.returncode:
        sys.exit(f"the sweep failed: {err or out}")
    return json.loads(out), time.monotonic() - began_s


def structure(profile: Profile) -> dict[str, object]:
    """What must be alike in profiles of one cell, whenever they were measured."""
    return {
        "complete": profile.complete,
        "processes": [one.index for one in profile.processes],
        "traces": sorted(profile.traces),
        "nodes": None if profile.nodes is None else len(profile.nodes),
        "devices": sorted({(one.device, one.quantity) for one in profile.devices}),
        "facts": sorted(one.name for one in profile.environment),
        "inputs": [(one.name, one.shape, one.sha256) for one in profile.inputs],
        "absent": sorted(what for what, _ in profile.absent),
        "stamps": all(
            (one.steady.start_ns[1:] >= one.steady.start_ns[:-1]).all() for one in profile.processes
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    work = Path(tempfile.mkdtemp(prefix="sweep-kills-"))
    try:
        whole, took_s = ended(work / "whole")
        print(f"uninterrupted: {len(whole['cells'])} cells in {took_s:.0f} s", flush=True)
        hit, signals = work / "hit", Counter()
        kills = 0
        while kills < options.kills:
            process = started(hit)
            # Some at once, some in the preparation, most in the middle.
            time.sleep(draw.uniform(0.2, 2 * took_s / options.kills))
            number = signal.SIGINT if draw.random() < 0.25 else signal.SIGKILL
            if process.poll() is not None:
                print(f"done already after {kills} kills")
                break
            os.killpg(process.pid, number) if number == signal.SIGINT else process.kill()
            process.communicate()
            signals[number.name] += 1
            kills += 1
        begun = len(list(hit.glob(".cell-*.partial")))
        done = len(list(hit.glob("cell-*.h5")))
        print(f"{kills} kills ({dict(signals)}): {done} cells done, {begun} begun", flush=True)
        after, _ = ended(hit)
        report(whole, after, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def report(whole: dict[str, object], after: dict[str, object], work: Path) -> None:
    ids = [[one["id"] for one in told["cells"]] for told in (whole, after)]
    states = Counter(one["status"] for one in after["cells"])
    files = Counter(path.stem.rpartition("-")[2] for path in (work / "hit").glob("cell-*.h5"))
    unlike, shared = [], 0
    for one in after["cells"]:
        name = Path(str(one["file"])).name
        mine, its = (read_profile(work / folder / name) for folder in ("hit", "whole"))
        samples = [{len(each.steady) for each in profile.processes} for profile in (mine, its)]
        if structure(mine) != structure(its) or len(samples[0]) != 1:
            unlike.append(name)
        starts = [int(each.steady.start_ns[0]) for each in mine.processes]
        shared += len(starts) - len(set(starts))
    left = [path.name for path in (work / "hit").iterdir() if path.suffix != ".h5"]
    print(f"states: {dict(states)}; the same cells: {ids[0] == ids[1]}")
    print(f"lost: {len(set(ids[0]) - set(files))}, twice: {sum(n - 1 for n in files.values())}")
    print(f"processes stored twice: {shared}; unlike the uninterrupted: {unlike or 'none'}")
    print(f"left over in the folder: {left or 'nothing'}")
    if states != {"done": len(ids[0])} or unlike or shared:
        sys.exit(1)


if __name__ == "__main__":
    main()
