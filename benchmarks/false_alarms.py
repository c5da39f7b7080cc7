"""How often two profiles of one unchanged model are called different.

Profiles are taken for half an hour and more, while a second program comes and goes and loads
the machine. All pairs of them are compared: every FASTER or SLOWER is a false alarm. Beside
harness' verdict stand the other ways of using the yardstick, pyperf's is_significant and a
pooled Mann-Whitney test on the same data. Since pairs share profiles, the interval of a
rate is that of a bootstrap over profiles.

    python benchmarks/false_alarms.py collect FOLDER [--rounds N] [--minutes M]
    python benchmarks/false_alarms.py judge FOLDER/MODEL
    python benchmarks/false_alarms.py ab [--times N] [--model NAME] [--seconds S]
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import planted
import pyperf
from planted import name_of
from scipy import stats

import harness
from harness import comparison, interleaving, yardstick
from harness.comparison import Side, Verdict, YardstickUse
from harness.config import ProfileConfig
from harness.profiling import Observer
from harness.records import Profile

ALARMS = (Verdict.FASTER, Verdict.SLOWER)

#: Models of which a profile is taken in every round.
CONSTANT = ("mlp", name_of(0))

#: Values of each process that the pooled tests get: pyperf's own files have as few.
POOLED = 20

#: A second program: arithmetic and memory traffic on one CPU for so many seconds.
LOAD = """
import sys, time
import numpy as np
end = time.monotonic() + float(sys.argv[1])
one = np.random.default_rng(0).random(4_000_000)
while time.monotonic() < end:
    one = np.sqrt(one * 1.0001)
"""


class Load:
    """The second program: episodes of random length, on for about a third of the time."""

    def __init__(self, seed: int) -> None:
        self._coin = np.random.default_rng(seed)
        self._running: subprocess.Popen[bytes] | None = None
        self._quiet_until_s = 0.0
        self.episodes = 0

    def tick(self) -> None:
        """Begins an episode where it is time to."""
        if self._running is not None and self._running.poll() is not None:
            self._running = None
            self._quiet_until_s = time.monotonic() + self._coin.uniform(30, 240)
        if self._running is None and time.monotonic() >= self._quiet_until_s:
            seconds = self._coin.uniform(10, 120)
            self._running = subprocess.Popen([sys.executable, "-c", LOAD, str(seconds)])
            self.episodes += 1

    def stop(self) -> None:
        """Ends the episode."""
        if self._running is not None:
            self._running.kill()
            self._running.wait()


def collect(folder: Path, rounds: int, minutes: float) -> None:
    """Takes a profile of each constant model a round, and one of the others in turns."""
    folder.mkdir(parents=True)
    models = {name: name for name in ("mlp", "mobilenet-v2")}
    models |= {name_of(change): str(planted.write(folder, change)) for change in planted.CHANGES}
    for name in models:
        (folder / name).mkdir()
    turns = [name for name in models if name not in CONSTANT]
    load = Load(seed=1)
    began_s = time.monotonic()
    load._quiet_until_s = began_s + 60
    for number in range(rounds):
        wait_s = began_s + number * minutes * 60 / rounds - time.monotonic()
        deadline_s = time.monotonic() + max(wait_s, 0)
        while time.monotonic() < deadline_s:
            load.tick()
            time.sleep(0.5)
        for name in (*CONSTANT, turns[number % len(turns)]):
            load.tick()
            harness.profile(
                ProfileConfig(
                    model=models[name],
                    session=harness.config.SessionConfig(intra_threads=1),
                    processes=10,
                    duration_s=1.0,
                    trace=(),
                    output=folder / name / f"{number:03d}.h5",
                )
            )
        print(f"{number + 1} of {rounds} after {time.monotonic() - began_s:.0f} s", flush=True)
    load.stop()
    print(f"{load.episodes} episodes of load")


def sides(profiles: list[Profile]) -> list[Side]:
    """Each profile as it is compared."""
    return [
        comparison.side(
            [process.steady.duration_ns for process in profile.processes],
            [np.exp(yardstick.speed(process.yardstick)) for process in profile.processes],
        )
        for profile in profiles
    ]


def ours(yardstick_use: YardstickUse | None) -> Callable[[Side, Side], bool]:
    """Whether harness calls two different, with one way of using the yardstick."""

    def alarm(one: Side, other: Side) -> bool:
        found = comparison.compare(one, other, same_occasion=False, yardstick=yardstick_use)
        return found.verdict in ALARMS

    return alarm


def welch(one: Side, other: Side) -> bool:
    """Welch's t test on the logarithms of the per-process medians, nothing else."""
    return bool(stats.ttest_ind(one.log_median, other.log_median, equal_var=False).pvalue < 0.05)


def judge(folder: Path) -> None:
    """Compares all pairs and prints the rates."""
    profiles = [harness.read_profile(path) for path in sorted(folder.glob("*.h5"))]
    found = sides(profiles)
    medians_us = [float(np.exp(np.median(one.log_median))) / 1e3 for one in found]
    began, ended = (
        profile.processes[0].steady.start_ns[0] / 60e9 for profile in (profiles[0], profiles[-1])
    )
    print(
        f"{len(profiles)} profiles of {profiles[0].model.name} within {ended - began:.0f} minutes, "
        f"medians {min(medians_us):.2f} to {max(medians_us):.2f} µs"
    )
    logs = np.array([one.log_median.mean() for one in found])
    print(f"standard deviation of the logarithm between them: {logs.std(ddof=1):.3f}")
    raw = [
        [
            process.steady.duration_ns[:: max(1, len(process.steady) // POOLED)][:POOLED]
            for process in profile.processes
        ]
        for profile in profiles
    ]
    benches = [bench(one) for one in raw]
    pools = [np.concatenate(one) for one in raw]
    ways: dict[str, tuple[Callable[..., bool], list]] = {
        "harness (default)": (ours(None), found),
        "  yardstick: none": (ours(YardstickUse.NONE), found),
        "  yardstick: divide": (ours(YardstickUse.DIVIDE), found),
        "  yardstick: covariate": (ours(YardstickUse.COVARIATE), found),
        "Welch on process medians": (welch, found),
        "pyperf is_significant": (
            lambda a, b: bool(pyperf._utils.is_significant(a, b)[0]),
            [list(one.get_values()) for one in benches],
        ),
        "pooled Mann-Whitney": (
            lambda a, b: bool(stats.mannwhitneyu(a, b).pvalue < 0.05), pools,
        ),
    }  # fmt: skip
    print(f"\n{'way':26} {'called different':>18} {'rate':>7}  95 % interval")
    for name, (alarm, data) in ways.items():
        count = len(data)
        alarms = np.zeros((count, count), bool)
        for one, other in itertools.combinations(range(count), 2):
            alarms[one, other] = alarms[other, one] = alarm(data[one], data[other])
        pairs = count * (count - 1) // 2
        total = int(alarms.sum()) // 2
        low, high = bootstrap(alarms)
        print(f"{name:26} {total:6} of {pairs:6} {total / pairs:8.1%}  {low:.1%} to {high:.1%}")


def bench(series: list[np.ndarray]) -> pyperf.Benchmark:
    """The same values as pyperf keeps them."""
    return pyperf.Benchmark(
        [
            pyperf.Run([value * 1e-9 for value in values.tolist()], collect_metadata=False,
                       metadata={"name": "model"})
            for values in series
        ]
    )  # fmt: skip


def bootstrap(alarms: np.ndarray, rounds: int = 2000) -> tuple[float, float]:
    """Interval of the rate: profiles drawn with replacement, a pair of the same left out."""
    coin = np.random.default_rng(0)
    rates = []
    for _ in range(rounds):
        drawn = coin.integers(0, len(alarms), len(alarms))
        different = drawn[:, None] != drawn[None, :]
        rates.append(alarms[np.ix_(drawn, drawn)][different].mean())
    low, high = np.percentile(rates, [2.5, 97.5])
    return float(low), float(high)


def against_itself(times: int, model: str, seconds: float) -> None:
    """``ab`` of a model with itself at its default stopping."""
    verdicts: list[str] = []
    load = Load(seed=2)
    for number in range(times):
        load.tick()
        with tempfile.TemporaryDirectory() as folder:
            configs = [
                ProfileConfig(
                    model=model,
                    session=harness.config.SessionConfig(intra_threads=1),
                    duration_s=0.1,
                    trace=(),
                    output=Path(folder, f"{side}.h5"),
                )
                for side in "ab"
            ]
            outcome = interleaving.ab(
                *configs,
                margin=0.01,
                budget_s=seconds,
                seed=number,
                observer=Observer(),
                on_pair=lambda _: load.tick(),
            )
        verdicts.append(outcome.decision.verdict)
        alarms = sum(verdict in ALARMS for verdict in verdicts)
        exact = stats.binomtest(alarms, len(verdicts)).proportion_ci()
        print(
            f"{number + 1:3} {outcome.decision.verdict:10} after {outcome.decision.pairs} pairs "
            f"({outcome.ended_by}); so far {alarms} false alarms, "
            f"{exact.low:.1%} to {exact.high:.1%}",
            flush=True,
        )
    load.stop()
    counts = {name: verdicts.count(name) for name in dict.fromkeys(verdicts)}
    print(f"{len(verdicts)} times a model against itself: {counts}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    collecting = commands.add_parser("collect")
    collecting.add_argument("folder", type=Path)
    collecting.add_argument("--rounds", type=int, default=45)
    collecting.add_argument("--minutes", type=float, default=35)
    judging = commands.add_parser("judge")
    judging.add_argument("folder", type=Path)
    itself = commands.add_parser("ab")
    itself.add_argument("--times", type=int, default=40)
    itself.add_argument("--model", default="mlp")
    itself.add_argument("--seconds", type=float, default=120)
    options = parser.parse_args()
    if options.command == "collect":
        collect(options.folder, options.rounds, options.minutes)
    elif options.command == "judge":
        judge(options.folder)
    else:
        against_itself(options.times, options.model, options.seconds)


if __name__ == "__main__":
    main()
