"""Occasions that designs of ``compare`` are tried on: recorded ones, real profiles, simulated ones.

The recorded ones are in ``occasions.npz``: forty in half an hour on a shared virtual machine of two
CPUs whose load was 6 to 12, eight fresh processes each, one thread, every model beside its own
yardstick. ``compare_designs.py --pack FOLDER`` made it from the original files.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import simulated_machines

import harness
from harness.analysis import machine_speed, noise
from harness.analysis.comparing import undisturbed
from harness.records import Profile
from harness.statistics.verdicts import Side

COPY = Path(__file__).parent / "occasions.npz"

#: Percentiles of a process's durations that the copy keeps.
PERCENTILES = (10, 25, 50)

#: Share of the time spent waiting at which noise makes a profile unusable.
UNUSABLE_WAIT = noise.UNUSABLE * noise.WAIT_LIMIT


@dataclasses.dataclass(frozen=True)
class Occasion:
    """One model on one occasion.

    Attributes:
        by_percent: float64[processes] by percentile, log of the processes' latencies.
        typical: float64[processes, parts], the yardstick's lower quartile.
        fastest: float64[processes, parts], the yardstick's fastest repetition; only the parts that
            count for the model.
        unusable: noise makes the median unusable.
        busy: noise makes even the undisturbed latency unusable.
    """

    by_percent: dict[int, np.ndarray]
    typical: np.ndarray
    fastest: np.ndarray
    unusable: bool = False
    busy: bool = False

    def present(self, shift: float = 0.0) -> Side:
        """The median beside the yardstick's quartile."""
        return Side(self.by_percent[50] + shift, self.typical)

    def undisturbed(self, percent: int, shift: float = 0.0) -> Side:
        """The undisturbed latency beside the fastest yardstick."""
        return Side(self.by_percent[percent] + shift, self.fastest)


#: Models of the recorded data: as they are called there, here, and whether their weights exceed
#: the L2 cache, so that the yardstick's memory part counts.
RECORDED = (
    ("mlp", "mlp", False),
    ("chain+0%", "chain", False),
    ("chain+5%", "chain + 5 %", False),
    ("mobilenet-v2", "mobilenet-v2", True),
)


def pack(folder: Path) -> None:
    """Makes the compact copy from the original files."""
    np.savez_compressed(COPY, **_columns(folder))


def recorded(folder: Path | None = None) -> dict[str, list[Occasion]]:
    """The recorded occasions, by model: of the copy, or of original files."""
    if folder is None:
        with np.load(COPY) as columns:
            found = dict(columns)
    else:
        found = _columns(folder)
    return {
        name: [
            _recorded(latency.astype(float), waited.astype(float), yardstick.astype(float), memory)
            for latency, waited, yardstick in zip(
                found[f"{name}|latency_ns"],
                found[f"{name}|waited"],
                found[f"{name}|yardstick_ns"],
                strict=True,
            )
        ]
        for _, name, memory in RECORDED
    }


def _columns(folder: Path) -> dict[str, np.ndarray]:
    """By model: percentiles and mean of durations, share of waiting, figures of the yardstick."""
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("occ*.json"))]
    columns: dict[str, np.ndarray] = {}
    for given, name, _ in RECORDED:
        targets = [[row["targets"][given] for row in one["rows"]] for one in found]
        columns[f"{name}|latency_ns"] = np.array(
            [[[t["q"][k] for k in (2, 3, 4, 7)] for t in each] for each in targets], np.float32
        )
        columns[f"{name}|waited"] = np.array(
            [[t["wait"] for t in each] for each in targets], np.float32
        )
        columns[f"{name}|yardstick_ns"] = np.array(
            [
                [
                    [t[at]["y"][part][:2] for at in ("pre", "post") for part in range(3)]
                    for t in each
                ]
                for each in targets
            ],
            np.float32,
        )
    return columns


def _recorded(
    latency: np.ndarray, waited: np.ndarray, yardstick: np.ndarray, memory: bool
) -> Occasion:
    # yardstick: [processes, (before, after) x parts, (fastest, quartile)]
    parts = yardstick.reshape(len(latency), 2, 3, 2)
    fastest = np.log(parts[..., 0].min(axis=1))
    over_cpu_time = latency[:, 1] / (latency[:, 3] * (1 - waited))
    spread = np.ptp(latency[:, 2]) / latency[:, 2].min()
    return Occasion(
        {percent: np.log(latency[:, k]) for k, percent in enumerate(PERCENTILES)},
        np.log(parts[..., 1]).mean(axis=1),
        fastest if memory else fastest[:, :2],
        unusable=float(waited.mean()) >= UNUSABLE_WAIT and bool(spread > noise.AGREEMENT),
        busy=float(np.median(over_cpu_time)) > undisturbed.MOST_OF_CPU_TIME,
    )


def profiles(folder: Path) -> dict[str, list[Occasion]]:
    """Real profiles, by the name of their model, in the order in which they were taken."""
    found: dict[str, list[Profile]] = {}
    for path in sorted(folder.glob("**/*.h5")):
        profile = harness.read_profile(path)
        found.setdefault(profile.model.name, []).append(profile)
    return {
        name: _of_profiles(sorted(each, key=lambda one: one.created))
        for name, each in sorted(found.items())
    }


def _of_profiles(taken: Sequence[Profile]) -> list[Occasion]:
    look = undisturbed.look_ns(taken)
    memory = undisturbed.uses_memory(taken)
    kept = [part for part in range(3) if memory or machine_speed.PARTS[part] != "memory"]
    found = []
    for profile in taken:
        passes = [undisturbed.cut(one.steady, look).duration_ns for one in profile.processes]
        verdict = noise.judge(profile)
        typical = machine_speed.speeds(profile.processes)
        fastest = machine_speed.undisturbed(profile.processes)
        if typical is None or fastest is None:
            continue
        found.append(
            Occasion(
                {p: np.log([np.percentile(one, p) for one in passes]) for p in PERCENTILES},
                typical,
                fastest[:, kept],
                bool(verdict.unusable),
                bool(undisturbed.busy(profile, verdict, look)),
            )
        )
    return found


#: What a neighbour that shares the core adds to the yardstick's cache part, as a multiple of what
#: it adds to the compute part: measured with ``statistics.occasions.REACH``.
CACHE_OF_NEIGHBOUR = 1.35

#: Share of simulated processes that are slow by themselves, and how slow: as was recorded.
SLOW, HOW_SLOW = 0.04, (0.3, 0.7)


def simulated(
    machine: str,
    seed: int,
    reaction: float,
    *,
    blind: bool = False,
    later: float | None = None,
    unseen: float | None = None,
) -> list[Occasion]:
    """Occasions on one simulated machine: every second of forty profiles of ten processes.

    Args:
        machine: its course, from ``simulated_machines``.
        seed: of it.
        reaction: of the model to the machine.
        blind: the yardstick does not see the machine.
        later: reaction in the second half, if its cause is another one: not the clock, which slows
            all parts of the yardstick alike, but a neighbour on the core, which slows the cache
            part ``CACHE_OF_NEIGHBOUR`` times as much.
        unseen: standard deviation between occasions of what the yardstick does not see, if it is
            another one than the machine's.
    """
    count = simulated_machines.PROCESSES
    random = np.random.default_rng(seed)
    course, usual = simulated_machines.MACHINES[machine]
    unseen = usual if unseen is None else unseen
    state, cache = course(random), 1.0
    found = []
    for first in range(0, simulated_machines.COUNT, 2 * count):
        if later is not None and 2 * first >= simulated_machines.COUNT:
            reaction, cache = later, CACHE_OF_NEIGHBOUR
        seen = state[first : first + count]
        latency = 13 + random.normal(0, unseen) + reaction * seen + random.normal(0, 0.008, count)
        latency += np.where(random.random(count) < SLOW, random.uniform(*HOW_SLOW, count), 0)
        shown = 0 * seen if blind else seen
        told = 15 + np.column_stack([shown, cache * shown])
        told += random.normal(0, 0.004, told.shape)
        found.append(Occasion(dict.fromkeys(PERCENTILES, latency), told, told))
    return found
