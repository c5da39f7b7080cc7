"""How often two profiles of one unchanged model are called different.

Profiles are taken for half an hour or more, while a second program loads the machine on and off.
All pairs of them are compared: every FASTER or SLOWER is a false alarm. Next to harness' verdict
are other uses of the yardstick, pyperf's is_significant and a pooled Mann-Whitney test on the
same data; the undisturbed latency, which ``compare`` judges first, is in ``compare_designs.py``.
Since pairs share profiles, the interval of a rate is a bootstrap over profiles. A
method that never alarms finds nothing either, so profiles with planted changes are taken too:
``detection.py compare`` shows which methods find those.

    python benchmarks/false_alarms.py collect FOLDER [--rounds N] [--minutes M]
    python benchmarks/false_alarms.py judge FOLDER
    python benchmarks/false_alarms.py ab [--times N] [--model NAME] [--seconds S]
"""

from __future__ import annotations

import argparse
import dataclasses
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
import yardsticks
from planted import name_of
from scipy import stats

import harness
from harness.analysis import noise
from harness.analysis.comparing.figures import compare_apart, figures
from harness.analysis.comparing.profiles import compare_profiles
from harness.analysis.comparing.report import OperatorChanges
from harness.commands.ab import DURATION_S
from harness.config.profile import ProfileConfig
from harness.measuring.observer import Observer
from harness.measuring.pairs import ab
from harness.options import AB_BUDGET_S
from harness.statistics import occasions
from harness.statistics.verdicts import Side, Verdict

ALARMS = (Verdict.FASTER, Verdict.SLOWER)

Way = Callable[["Taken", "Taken"], Verdict]

#: Models that are profiled in every round.
CONSTANT = ("mlp", name_of(0))

#: Model whose operators are traced, and whose weights exceed a core's private cache.
TRACED = "mobilenet-v2"

#: Values of each process that the pooled tests get: pyperf's own files have no more.
POOLED = 20

#: The second program: arithmetic and memory traffic on one CPU for the given seconds.
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
        """Starts an episode when it is due."""
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
    """Takes a profile of each constant model per round, and one of the others in turn.

    Every second turn goes to ``TRACED``, whose operators are compared too.
    """
    folder.mkdir(parents=True)
    models = {name: name for name in ("mlp", TRACED)}
    models |= {name_of(change): str(planted.write(folder, change)) for change in planted.CHANGES}
    for name in models:
        (folder / name).mkdir()
    others = [name for name in models if name not in (*CONSTANT, TRACED)]
    turns = [name for other in others for name in (TRACED, other)]
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
                    trace=("probe",) if name == TRACED else (),
                    output=folder / name / f"{number:03d}.h5",
                )
            )
        print(f"{number + 1} of {rounds} after {time.monotonic() - began_s:.0f} s", flush=True)
    load.stop()
    print(f"{load.episodes} episodes of load")


@dataclasses.dataclass(frozen=True)
class Taken:
    """One profile, in the form that each way of comparing needs."""

    path: Path
    figures: dict[str, Side]
    noise: noise.NoiseVerdict
    values: list[float]
    pool: np.ndarray


def taken(path: Path) -> Taken:
    """Reads a profile."""
    profile = harness.read_profile(path)
    raw = [
        process.steady.duration_ns[:: max(1, len(process.steady) // POOLED)][:POOLED]
        for process in profile.processes
    ]
    return Taken(
        path,
        figures(profile.processes),
        noise.judge(profile),
        list(bench(raw).get_values()),
        np.concatenate(raw),
    )


def ours(name: str = "latency_ns") -> Way:
    """What ``compare`` says about one figure of two profiles."""

    def verdict(one: Taken, other: Taken) -> Verdict:
        sides = one.figures[name], other.figures[name]
        return compare_apart(name, *sides, (one.noise, other.noise)).verdict

    return verdict


def with_yardstick(way: yardsticks.Way) -> Way:
    """The same for the median with one use of the yardstick, busy machines included."""

    def alarm(one: Taken, other: Taken) -> Verdict:
        return way(one.figures["latency_ns"], other.figures["latency_ns"]).verdict

    return alarm


def direction(different: bool, one: np.ndarray, other: np.ndarray) -> Verdict:
    if not different:
        return Verdict.UNDECIDED
    return Verdict.SLOWER if np.median(other) > np.median(one) else Verdict.FASTER


def welch(one: Taken, other: Taken) -> Verdict:
    """Welch's t test on the logarithms of the per-process medians, nothing else."""
    a, b = one.figures["latency_ns"].log_figure, other.figures["latency_ns"].log_figure
    return direction(stats.ttest_ind(a, b, equal_var=False).pvalue < 0.05, a, b)


def pyperfs(one: Taken, other: Taken) -> Verdict:
    different = bool(pyperf._utils.is_significant(one.values, other.values)[0])
    return direction(different, np.array(one.values), np.array(other.values))


def mann_whitney(one: Taken, other: Taken) -> Verdict:
    different = stats.mannwhitneyu(one.pool, other.pool).pvalue < 0.05
    return direction(different, one.pool, other.pool)


WAYS: dict[str, Way] = {
    "harness, of the median": ours(),
    "  yardstick: none": with_yardstick(yardsticks.ignored),
    "  yardstick: divide": with_yardstick(yardsticks.divided),
    "  yardstick: covariate": with_yardstick(yardsticks.covariate),
    "  yardstick: refuse": with_yardstick(yardsticks.bounded),
    "Welch on process medians": welch,
    "pyperf is_significant": pyperfs,
    "pooled Mann-Whitney": mann_whitney,
}


def read(folder: Path) -> dict[str, list[Taken]]:
    """What ``collect`` left, by model."""
    folders = [one for one in sorted(folder.iterdir()) if one.is_dir()]
    return {one.name: [taken(path) for path in sorted(one.glob("*.h5"))] for one in folders}


def judge(folder: Path) -> None:
    """Compares all pairs of profiles of one model."""
    for name, profiles in read(folder).items():
        if len(profiles) > 2:
            print_false_alarms(name, profiles)
        if name == TRACED:
            print_operators(name, profiles)


def print_false_alarms(name: str, profiles: list[Taken]) -> None:
    """The rates of one model, and how much its figures vary between occasions."""
    medians_us = [float(np.exp(np.median(one.figures["latency_ns"].log_figure))) / 1e3
                  for one in profiles]  # fmt: skip
    busy = sum(bool(one.noise.unusable) for one in profiles)
    waited = sum((one.noise.waited or 0) > occasions.LONGEST_WAIT for one in profiles)
    print(
        f"\n{name}: {len(profiles)} profiles, medians {min(medians_us):.2f} to "
        f"{max(medians_us):.2f} µs, {busy} unusable, {waited} that waited for a CPU"
    )
    print(f"{'way':26} {'called different':>18} {'rate':>7}  95 % interval")
    for way, alarm in WAYS.items():
        print_rate(way, alarm, profiles)
    print("harness, other figures (deviation between occasions: all, of those that did not wait)")
    for figure in profiles[0].figures:
        logs = [one.figures[figure].log_figure for one in profiles]
        if any(np.isnan(one).any() for one in logs):
            print(f"  {figure}: too few samples")
            continue
        calm = [
            log
            for log, one in zip(logs, profiles, strict=True)
            if one.noise.waited is not None and one.noise.waited <= occasions.LONGEST_WAIT
        ]
        sds = [occasion_sd(those) for those in (logs, calm)]
        told = ", ".join("none" if sd is None else f"{sd:.3f}" for sd in sds)
        print_rate(f"  {figure}", ours(figure), profiles, f"  ({told})")


def occasion_sd(log_figures: list[np.ndarray]) -> float | None:
    """Standard deviation between occasions, from profiles of one thing on several occasions.

    Variance component of a one-way layout by its moments (Searle, Casella & McCulloch,
    Variance Components, 1992, section 3.6): 0 if the means of the profiles differ no more
    than the scatter of their processes explains.

    Args:
        log_figures: float64[processes] of each profile.

    Returns:
        None with fewer than three profiles of at least two processes.
    """
    groups = [np.asarray(g, np.float64) for g in log_figures if len(g) > 1]
    if len(groups) < 3:
        return None
    sizes = np.array([len(g) for g in groups])
    total = int(sizes.sum())
    means = np.array([g.mean() for g in groups])
    grand = float((sizes * means).sum() / total)
    between = float((sizes * (means - grand) ** 2).sum()) / (len(groups) - 1)
    within = sum(float(((g - g.mean()) ** 2).sum()) for g in groups) / (total - len(groups))
    size = (total - float((sizes**2).sum()) / total) / (len(groups) - 1)
    return float(np.sqrt(max(0.0, (between - within) / size)))


def print_operators(name: str, profiles: list[Taken]) -> None:
    """Pairs in which an operator is called different, and how many operators."""
    pairs = list(itertools.combinations(profiles, 2))
    tested, different, alarmed = 0, 0, 0
    for one, other in pairs:
        both = [harness.read_profile(each.path) for each in (one, other)]
        found = compare_profiles(both[0], both[1:]).candidates[0].operators
        if isinstance(found, OperatorChanges):
            wrong = sum(each.comparison.verdict in ALARMS for each in found.changes)
            tested, different, alarmed = (
                tested + found.judged, different + wrong, alarmed + bool(wrong),
            )  # fmt: skip
    print(
        f"\n{name}, operators: {different} of {tested} called different, in {alarmed} of "
        f"{len(pairs)} pairs"
    )


def print_rate(way: str, alarm: Way, profiles: list[Taken], more: str = "") -> None:
    """How many of all pairs one way calls different."""
    count = len(profiles)
    alarms = np.zeros((count, count), bool)
    for one, other in itertools.combinations(range(count), 2):
        alarms[one, other] = alarm(profiles[one], profiles[other]) in ALARMS
        alarms[other, one] = alarms[one, other]
    pairs = count * (count - 1) // 2
    total = int(alarms.sum()) // 2
    if total:
        low, high = bootstrap(alarms)
    else:  # Resampling no alarms gives none: only the pairs that share no profile count.
        low, high = stats.binomtest(0, count // 2).proportion_ci()
    rate = f"{total:6} of {pairs:6} {total / pairs:8.1%}  {low:.1%} to {high:.1%}"
    print(f"{way:26} {rate}{more}", flush=True)


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
    """Interval of the rate: profiles drawn with replacement, pairs of the same one left out."""
    coin = np.random.default_rng(0)
    rates = []
    for _ in range(rounds):
        drawn = coin.integers(0, len(alarms), len(alarms))
        different = drawn[:, None] != drawn[None, :]
        if different.any():
            rates.append(alarms[np.ix_(drawn, drawn)][different].mean())
    low, high = np.percentile(rates, [2.5, 97.5])
    return float(low), float(high)


def against_itself(times: int, model: str, seconds: float) -> None:
    """``ab`` of a model with itself, with the default stopping rule."""
    said: list[str] = []
    load = Load(seed=2)
    for number in range(times):
        load.tick()
        with tempfile.TemporaryDirectory() as folder:
            configs = [
                ProfileConfig(
                    model=model,
                    session=harness.config.SessionConfig(intra_threads=1),
                    duration_s=DURATION_S,
                    trace=(),
                    output=Path(folder, f"{side}.h5"),
                )
                for side in "ab"
            ]
            outcome = ab(
                *configs,
                margin=0.01,
                budget_s=seconds,
                seed=number,
                observer=Observer(),
                on_pair=lambda _: load.tick(),
            )
        said.append(outcome.decision.verdict)
        alarms = sum(verdict in ALARMS for verdict in said)
        exact = stats.binomtest(alarms, len(said)).proportion_ci()
        print(
            f"{number + 1:3} {outcome.decision.verdict:10} after {outcome.decision.pairs} pairs "
            f"({outcome.ended_by}); so far {alarms} false alarms, "
            f"{exact.low:.1%} to {exact.high:.1%}",
            flush=True,
        )
    load.stop()
    counts = {name: said.count(name) for name in dict.fromkeys(said)}
    print(f"{len(said)} times a model against itself: {counts}")


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
    itself.add_argument("--seconds", type=float, default=AB_BUDGET_S)
    options = parser.parse_args()
    if options.command == "collect":
        collect(options.folder, options.rounds, options.minutes)
    elif options.command == "judge":
        judge(options.folder)
    else:
        against_itself(options.times, options.model, options.seconds)


if __name__ == "__main__":
    main()
