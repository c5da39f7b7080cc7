"""A machine that slows down half-way: does a sweep tell two equal cells apart?

    python benchmarks/sweep_fairness.py [--repeats 6] [--processes 10] [--share 0.12]

Two cells are equal but for an entry that ONNX Runtime does not read. Half-way through, every CPU
gets a competitor that is busy for a share of every 10 ms, real-time where that is allowed. By how
much the second half was slower is measured and printed: more than the share, as the competitor
takes the caches as well. Measured in rounds, as a sweep does, and one cell after the other, as by
hand. Prints for each how far apart the throughputs are, and how often their intervals are.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import math
import multiprocessing
import os
import shutil
import tempfile
import time
from pathlib import Path

from harness.measuring import rounds
from harness.records import Profile
from harness.storage.profile_file import read_profile
from harness.study.sweeps.cells import CellState, cells_of
from harness.study.sweeps.fitting import Machine
from harness.study.sweeps.plan import SweepPlan, read_plan
from harness.study.sweeps.results import may_be_level, results
from harness.study.sweeps.sweep import SweepObserver, sweep

PERIOD_S = 0.01


def compete(cpu: int, share: float) -> None:
    """Takes a share of a CPU."""
    os.sched_setaffinity(0, {cpu})
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    while True:
        until = time.perf_counter() + share * PERIOD_S
        while time.perf_counter() < until:
            pass
        time.sleep((1 - share) * PERIOD_S)


class Slower:
    """Starts the competitors once so many processes have been measured."""

    def __init__(self, after: int, share: float) -> None:
        self._left = after
        self._share = share
        self._loads: list[multiprocessing.Process] = []

    def measured(self, processes: int = 1) -> None:
        """So many processes more were."""
        self._left -= processes
        if self._left <= 0 and not self._loads:
            for cpu in sorted(os.sched_getaffinity(0)):
                load = multiprocessing.Process(target=compete, args=(cpu, self._share), daemon=True)
                load.start()
                self._loads.append(load)

    def end(self) -> None:
        """Ends the competitors."""
        for load in self._loads:
            load.kill()
            load.join()


class Counting(SweepObserver):
    """Counts processes as the sweep measures them."""

    def __init__(self, slower: Slower) -> None:
        self._slower = slower

    def cell_measured(self, _cell: object, _progress: object) -> None:
        """A turn of one process is over."""
        self._slower.measured()


def plan_of(folder: Path, processes: int, seed: int) -> SweepPlan:
    path = folder / "plan.toml"
    path.write_text(
        f"[sweep]\nseed = {seed}\nprocesses = {processes}\nduration_s = 0.3\ntrace = 'none'\n"
        "[axes]\nmodel = ['mobilenet-v2']\nthreads = [1]\n"
        "entries.'harness.no_such_entry' = ['one', 'two']\n"
    )
    return read_plan(path, {"intra_threads": "threads"})


def in_rounds(folder: Path, processes: int, seed: int, share: float) -> list[CellState]:
    plan = plan_of(folder, processes, seed)
    slower = Slower(processes, share)  # of the two cells together, half
    try:
        return sweep(plan, folder, Counting(slower))
    finally:
        slower.end()


def in_turn(folder: Path, processes: int, seed: int, share: float) -> list[CellState]:
    """One cell, then the other: each a profile of its own, at once."""
    states = []
    slower = Slower(processes, share)
    try:
        for cell in cells_of(plan_of(folder, processes, seed)):
            config = dataclasses.replace(Machine().fit(cell), output=folder / cell.file)
            profile = rounds.turn(config, processes, SweepObserver(), on_process=slower.measured)
            assert isinstance(profile, Profile)
            states.append(CellState(cell, "done", "", folder / cell.file, config))
    finally:
        slower.end()
    return states


def apart(states: list[CellState]) -> tuple[float, bool, float]:
    """(ratio of the throughputs, whether they are told apart, how much the machine slowed)."""
    one, other = results(states)
    assert one.items_per_s is not None
    assert other.items_per_s is not None
    halves: tuple[list[float], list[float]] = ([], [])
    timed = sorted(
        (process.steady.start_ns[0], float(process.steady.duration_ns.mean()))
        for state in states
        for process in read_profile(state.file).processes
    )
    for number, (_, mean_ns) in enumerate(timed):
        halves[number >= len(timed) // 2].append(mean_ns)
    slowed = math.exp(
        sum(map(math.log, halves[1])) / len(halves[1])
        - sum(map(math.log, halves[0])) / len(halves[0])
    )
    return other.items_per_s / one.items_per_s, not may_be_level(one, other), slowed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--processes", type=int, default=10)
    parser.add_argument("--share", type=float, default=0.12)
    options = parser.parse_args()
    told = []
    for name, measure in (("in rounds", in_rounds), ("one after the other", in_turn)):
        found = []
        for repeat in range(options.repeats):
            folder = Path(tempfile.mkdtemp(prefix="sweep-fairness-"))
            try:
                found.append(apart(measure(folder, options.processes, repeat, options.share)))
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        ratios = [ratio for ratio, _, _ in found]
        count = sum(told_apart for _, told_apart, _ in found)
        print(
            f"{name}: told apart {count} of {len(found)} times; throughput of the second over the "
            f"first {' '.join(f'{ratio:.3f}' for ratio in ratios)}; the second half was slower by "
            f"{' '.join(f'{slowed - 1:.0%}' for *_, slowed in found)}",
            flush=True,
        )
        told.append({"how": name, "apart": count, "of": len(found), "ratios": ratios})
    print(json.dumps(told))


if __name__ == "__main__":
    main()
