"""Every figure that show, ops and compare print, computed anew from the raw samples of the files.

Nothing of harness is used for it but the command: h5py reads the file, numpy does the rest, as the
documents say. Texts must agree to the digits that they print.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from scipy.stats import t as student

from harness.commands.command_line import main
from tests.integration.command import REPOSITORY
from tests.integration.fork_server import execute

if TYPE_CHECKING:
    from tests.integration.command import Recorded

pytest.importorskip("harness.native.ort", reason="the native module is not built")

Array = np.ndarray[Any, Any]
Interval = tuple[float, float]

#: What ``compare`` lets a model react to the machine at most, in times of the yardstick.
REACTION = 2.5


@dataclasses.dataclass(frozen=True)
class Raw:
    """What a file holds, by process where there is one of each."""

    durations: list[Array]
    starts: list[Array]
    loops: list[int]
    once: dict[str, list[float]]
    noise: dict[str, list[float]]
    yardstick: Array
    names: list[str]
    op_types: list[str]
    parents: list[int]
    carriers: list[int]
    trace: dict[str, dict[str, Array]]


def raw(path: Path) -> Raw:
    def texts(group: h5py.Group, name: str) -> list[str]:
        return [str(one) for one in group[name].asstr()[...]]

    with h5py.File(path) as file:
        processes = list(file["processes"].values())
        nodes = file["nodes"]
        noise: dict[str, list[float]] = {}
        for process in processes:
            read = process["noise"]
            for name, number, reason in zip(
                texts(read, "name"), read["number"][...], texts(read, "reason"), strict=True
            ):
                if not reason:
                    noise.setdefault(name, []).append(float(number))
        return Raw(
            durations=[one["latency/duration_ns"][...] for one in processes],
            starts=[one["latency/start_ns"][...] for one in processes],
            loops=[int(one["loops"][()]) for one in processes],
            once={
                name: [float(one[name][()]) for one in processes]
                for name in ("session_ns", "first_inference_ns", "library_ns")
            },
            noise=noise,
            yardstick=np.array(
                [
                    [
                        np.log(np.percentile(one[f"yardstick/{part}_ns"][...], 25))
                        for part in ("compute", "cache", "memory")
                    ]
                    for one in processes
                ]
            ),
            names=texts(nodes, "name"),
            op_types=texts(nodes, "op_type"),
            parents=nodes["parent"][...].tolist(),
            carriers=nodes["carrier"][...].tolist(),
            trace={
                name: {key: value[...] for key, value in group.items() if value.dtype.kind in "iuf"}
                for name, group in file["trace"].items()
            },
        )


def mean(values: Any) -> float:
    """Geometric mean; the mean where there is a zero."""
    values = np.asarray(values, float)
    return float(np.exp(np.log(values).mean()) if (values > 0).all() else values.mean())


def interval(values: Any) -> Interval | None:
    """Student's, on logarithms."""
    values = np.asarray(values, float)
    if len(values) < 2 or (values <= 0).any():
        return None
    logs = np.log(values)
    half = student.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs))
    return math.exp(logs.mean() - half), math.exp(logs.mean() + half)


def worth(samples: Array, percent: float) -> float:
    """Independent samples of the indicator of a percentile (Geyer's monotone sequence)."""
    below = (samples <= np.quantile(samples, percent / 100)).astype(float)
    below -= below.mean()
    count = len(below)
    # All products of the series and itself moved on by a lag, by the Wiener-Khinchin theorem.
    products = np.fft.irfft(np.abs(np.fft.rfft(below, 2 * count)) ** 2, 2 * count)[:count]
    # Lags that matter: the sum ends with the first pair that is not positive.
    total, least = 0.0, math.inf
    for lag in range(0, count - 1, 2):
        pair = float(products[lag] + products[lag + 1]) / float(products[0])
        if pair <= 1e-12:
            break
        least = min(least, pair)
        total += least
    return max(count / max(2 * total - 1, 1.0), 1.0)


def written(value_ns: float) -> str:
    """A time as it is printed: three digits or four."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if abs(value_ns) >= size:
            scaled = value_ns / size
            return f"{scaled:.{max(0, 3 - len(str(int(abs(scaled)))))}f} {unit}"
    return f"{round(value_ns)} ns"


def command(*arguments: object) -> str:
    """What the command prints where there is no terminal."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main([str(one) for one in arguments]) == 0
    return printed.getvalue()


@pytest.fixture(scope="module")
def files(
    recorded: Recorded,
    tiny_model: Path,
    tmp_path_factory: pytest.TempPathFactory,
    surroundings: dict[str, str],
) -> dict[str, Path]:
    """The sample, a profile of two processes, and one of five of another model."""
    five = tmp_path_factory.mktemp("five") / "tiny.h5"
    options = ("--quick", "--processes", "5", "--duration", "0.05", "--quiet", "--output", five)
    made = execute("profile", tiny_model, *options, folder=five.parent, environment=surroundings)
    assert made.returncode == 0, made.stderr
    return {"sample": REPOSITORY / "profiles" / "sample.h5", "two": recorded.file, "five": five}


@pytest.fixture(params=["sample", "two", "five"])
def file(request: pytest.FixtureRequest, files: dict[str, Path]) -> Path:
    return files[request.param]


def close(found: Any, wanted: Any) -> None:
    if wanted is None or found is None:
        assert found is wanted
    else:
        assert found == pytest.approx(wanted, rel=1e-9, abs=1e-9)


def test_latency_noise_and_cold_start(file: Path) -> None:
    of = raw(file)
    told = json.loads(command("show", file, "--json"))
    text = command("show", file)
    medians = [np.median(one) for one in of.durations]
    latency = told["latency"]
    close(latency["median_ns"], mean(medians))
    low, high = interval(medians) or (math.nan, math.nan)
    close(latency["interval_ns"], [low, high])
    told_low, told_high = latency["interval_ns"]
    assert told_low <= latency["median_ns"] <= told_high
    close(latency["mean_ns"], np.mean([one.mean() for one in of.durations]))
    assert latency["min_ns"] == min(one.min() for one in of.durations)
    assert latency["samples"] == sum(map(len, of.durations))
    half = (high - low) / 2 / mean(medians)
    width = f"±{half:.1%}" if half < 1 else ">±100%"
    count = f"{len(medians)} processes (their geometric mean), {latency['samples']:,} samples"
    assert f"{written(mean(medians))} median of {count}" in text
    bounds = f"{written(low)} to {written(high)} with 95 % confidence, of this occasion"
    assert f"{bounds} ({width}, processes vary)" in text
    assert f"fastest {written(latency['min_ns'])}, mean {written(latency['mean_ns'])}" in text
    unknown = False
    for percent, needed in ((90, 50), (99, 500)):
        known = all(
            len(one) >= needed and math.floor(worth(one, percent)) >= needed for one in of.durations
        )
        why_not = f"p{percent} needs {needed}"
        if unknown and all(len(one) >= needed for one in of.durations):
            known, why_not = False, "p99 is not reported where p90 is not"
        unknown = not known
        values = [float(np.percentile(one, percent)) for one in of.durations]
        close(latency[f"p{percent}_ns"], mean(values) if known else None)
        bounds = interval(values) if known and len(values) >= 5 else None
        close(latency[f"p{percent}_interval_ns"], None if bounds is None else list(bounds))
        shown = f"p{percent} {written(mean(values))}" if known else why_not
        if bounds is not None:
            shown += f" ({written(bounds[0])} to {written(bounds[1])})"
        assert shown in text
    cold = {name: float(np.median(values)) for name, values in of.once.items()}
    for name, value in cold.items():
        close(told["cold_start"][name], value)
    first = cold["first_inference_ns"]
    assert f"session {written(cold['session_ns'])}, first inference {written(first)} (" in text
    assert f"({first / mean(medians):.1f} times the median)" in text
    walls, waits = of.noise["wall_ns"], of.noise.get("cpu_wait_ns", [])
    waited = None
    if len(waits) == len(walls) and sum(walls) >= 1e7 * len(walls):
        waited = min(sum(waits) / sum(walls), 1.0)
    close(told["noise"]["waited"], waited)
    for part, column in zip(told["noise"]["yardstick"], of.yardstick.T, strict=True):
        close(part["time_ns"], math.exp(column.mean()))
        close(part["spread"], math.exp(np.ptp(column)) - 1)
        shown = f"{part['part']} {written(math.exp(column.mean()))} (+{part['spread']:.1%})"
        assert shown in text


@dataclasses.dataclass(frozen=True)
class Sums:
    """Own and total time and executions by inference and node, of whole inferences."""

    own: Array
    total: Array
    calls: Array
    probes: Array
    process: Array
    duration: Array
    framework: Array


def sums(of: Raw, source: str) -> Sums:
    trace = of.trace[source]
    place = {
        pair: k
        for k, pair in enumerate(
            zip(trace["inference_process"], trace["inference_number"], strict=True)
        )
    }
    shape = len(place), len(of.names)
    own, total, calls, probes = (
        np.zeros(shape),
        np.zeros(shape),
        np.zeros(shape),
        np.zeros(shape[0]),
    )
    at = np.array(
        [place[pair] for pair in zip(trace["process"], trace["inference"], strict=True)], int
    )
    np.add.at(own, (at, trace["node"]), trace["self_ns"])
    np.add.at(total, (at, trace["node"]), trace["duration_ns"])
    np.add.at(calls, (at, trace["node"]), 1)
    if "probe_cost_ns" in trace:
        np.add.at(probes, at, trace["probe_cost_ns"])
    whole = trace["inference_duration_ns"] >= 0
    return Sums(
        own[whole], total[whole], calls[whole], probes[whole], trace["inference_process"][whole],
        trace["inference_duration_ns"][whole], trace["inference_framework_ns"][whole],
    )  # fmt: skip


def by_process(values: Array, process: Array) -> list[float]:
    return [float(np.median(values[process == one])) for one in np.unique(process)]


def groups(of: Raw, cells: Sums, by: str) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for row in np.flatnonzero(cells.calls.any(axis=0)).tolist():
        name = of.names[row] or f"{of.op_types[row]} #{row}"
        key = {"op": of.op_types[row], "layer": name.strip("/").rpartition("/")[0] or "(no layer)"}
        rows.setdefault(key.get(by, str(row)), []).append(row)
    return rows


def outermost(of: Raw, source: str, members: list[int]) -> list[int]:
    """Rows that are in the body of no other one."""

    def around(row: int) -> set[int]:
        found = set()
        while (row := of.parents[row]) >= 0:
            found |= {row, of.carriers[row]} if source == "probe" else {row}
        return found

    return [row for row in members if not around(row) & set(members)]


@pytest.mark.parametrize("source", ["probe", "ort"])
@pytest.mark.parametrize("by", ["node", "op", "layer"])
def test_operators(file: Path, by: str, source: str) -> None:
    of = raw(file)
    cells = sums(of, source)
    options = (file, "--by", by, "--source", source, "--sort", "order")
    told = json.loads(command("ops", *options, "--json"))
    text = command("ops", *options, "--limit", 0)
    rows = list(groups(of, cells, by).values())
    own = [cells.own[:, members].sum(axis=1) for members in rows]
    times = [mean(by_process(one, cells.process)) for one in own]
    lines = text.splitlines()[1:]
    so_far = list(itertools.accumulate(time / sum(times) for time in times))
    assert len(told["operators"]) == len(rows)
    for k, (row, members) in enumerate(zip(told["operators"], rows, strict=True)):
        medians = by_process(own[k], cells.process)
        bounds = interval(medians)
        total = cells.total[:, outermost(of, source, members)].sum(axis=1)
        calls = float(cells.calls[:, members].sum(axis=1).mean())
        close(row["median_ns"], times[k])
        close(row["interval_ns"], None if bounds is None else list(bounds))
        close(row["total_ns"], mean(by_process(total, cells.process)))
        close(row["p10_ns"], np.percentile(own[k], 10))
        close(row["p90_ns"], np.percentile(own[k], 90))
        close(row["share"], times[k] / sum(times))
        close(row["calls"], calls)
        assert bounds is None or bounds[0] <= row["median_ns"] * (1 + 1e-12)
        half = None if bounds is None else (bounds[1] - bounds[0]) / 2 / times[k]
        width = "–" if half is None else f"{half:.0%}" if half < 1 else ">100%"
        found = re.split(r"  +", lines[k].strip())
        mark = "?" if row["doubt"] else ""
        assert found[:3] == [written(times[k]) + mark, width, written(np.percentile(own[k], 90))]
        assert f"{times[k] / sum(times):.1%}" in found
        assert f"{so_far[k]:.0%}" in found
        assert f"{calls:.3g}" in found
    accounts(of, cells, told["accounts"], text, source)


def accounts(of: Raw, cells: Sums, told: dict[str, Any], text: str, source: str) -> None:
    middle = np.zeros(len(cells.process), bool)
    nodes = cells.own.sum(axis=1)
    spent, clean, typical = [], [], []
    for process in np.unique(cells.process):
        mine = np.flatnonzero(cells.process == process)
        ends = [
            np.percentile(cells.duration[mine], percent, method=method)
            for percent, method in ((25, "lower"), (75, "higher"))
        ]
        mine = mine[(cells.duration[mine] >= ends[0]) & (cells.duration[mine] <= ends[1])]
        middle[mine] = True
        series = of.durations[process]
        clean.append(float(np.median(series)))
        alone = clean[-1] < 3e6 and clean[-1] <= 1.25 * np.percentile(series, 10)
        if source == "probe" and alone:
            typical.append(float(np.median(cells.own[cells.process == process], axis=0).sum()))
        else:
            typical.append(float(nodes[mine].mean()))
        rest = float(cells.framework[mine].mean())
        one = typical[-1] + rest if source == "probe" else float(cells.duration[mine].mean())
        spent.append(one)
    close(told["nodes_ns"], np.mean(typical))
    close(told["framework_ns"], cells.framework[middle].mean())
    close(told["traced_ns"], cells.duration[middle].mean())
    close(told["told_ns"], mean(spent))
    close(told["clean_ns"], mean(clean))
    close(told["residual"], mean(spent) / mean(clean) - 1)
    parts = f"nodes {written(float(np.mean(typical)))} + framework "
    parts += written(cells.framework[middle].mean())
    assert parts in text
    if source == "ort":
        assert f"= {written(cells.duration[middle].mean())} " in text
    else:
        cost = cells.probes[middle].mean()
        cost += float(np.median(of.trace["probe_calibration"]["self_ns"]))
        close(told["tracer_cost_ns"], cost)
        assert f", with {written(cost)} of probes taken out (" in text
        assert (
            f"residual {mean(spent) / mean(clean) - 1:+.1%}: nodes + framework of a process "
            f"{written(mean(spent))} against its timed pass of {written(mean(clean))}"
        ) in text


def drift(series: Array) -> tuple[float, float]:
    """How much longer an interval is of values that hang together in time, and its freedom."""
    count = len(series)
    centred = series - series.mean()
    squares = float(centred @ centred)
    if count < 4 or squares == 0:
        return 1.0, count - 1.0
    lag = float(centred[1:] @ centred[:-1]) / squares
    lag = min(max(lag + (1 + 3 * lag) / count, 0.0), 0.8)
    size = max(count * (1 - lag) / (1 + lag), 1.5)
    return (count - 1) / (count - count / size) * count / size, max(size - 1, 1.0)


def bounds_of_ratio(
    sides: tuple[Array, Array], machines: tuple[Array, Array], occasion_sd: float
) -> Interval:
    """Of two occasions, whatever of the yardstick's difference the model may react to."""
    found = []
    for reaction in (0.0, REACTION):
        of_parts = []
        for part in range(machines[0].shape[1]):
            variances, freedoms, levels = [], [], []
            for values, machine in zip(sides, machines, strict=True):
                yard = machine[:, part]
                adjusted = values - reaction * yard
                levels.append(adjusted.mean())
                variances.append(adjusted.var(ddof=1) / len(adjusted))
                freedoms.append(len(adjusted) - 1.0)
                left, seen = values - values.mean(), yard - yard.mean()
                if seen @ seen > 0:
                    left = left - min(max(left @ seen / (seen @ seen), 0.0), REACTION) * seen
                factor, freedom = drift(left)
                variances.append((factor - 1) * left.var(ddof=1) / len(left))
                freedoms.append(freedom)
            total = sum(variances) + 2 * occasion_sd**2
            freedom = total**2 / sum(v**2 / f for v, f in zip(variances, freedoms, strict=True))
            half = student.ppf(0.975, freedom) * math.sqrt(total)
            difference = levels[1] - levels[0]
            of_parts.append((sum(variances), difference - half, difference + half))
        found += [min(of_parts)] if reaction == 0 else of_parts
    return math.exp(min(one[1] for one in found)), math.exp(max(one[2] for one in found))


def per_process(of: Raw) -> dict[str, list[float]]:
    taken = []
    for start, duration, loops in zip(of.starts, of.durations, of.loops, strict=True):
        chunks = range(0, len(start), loops)
        ends = [min(first + loops, len(start)) - 1 for first in chunks]
        spent = sum(
            start[last] + duration[last] - start[first]
            for first, last in zip(chunks, ends, strict=True)
        )
        taken.append(float(spent) / len(start))
    return {
        "latency_p90_ns": [float(np.percentile(one, 90)) for one in of.durations],
        "latency_p99_ns": [float(np.percentile(one, 99)) for one in of.durations],
        "session_ns": of.once["session_ns"],
        "first_inference_ns": of.once["first_inference_ns"],
        "time_per_inference_ns": taken,
    }


def undisturbed(*both: Raw) -> list[float]:
    """Lower quartiles over looks of equal length, of the faster half of the processes."""
    looks = [
        np.median([s[-1] + d[-1] - s[0] for s, d in zip(of.starts, of.durations, strict=True)])
        for of in both
    ]
    found = []
    for of in both:
        quartiles = sorted(
            float(np.percentile(duration[start - start[0] < min(looks)], 25))
            for start, duration in zip(of.starts, of.durations, strict=True)
        )
        found.append(mean(quartiles[: max(2, math.ceil(len(quartiles) / 2))]))
    return found


def test_comparison(files: dict[str, Path]) -> None:
    pair = files["sample"], files["two"]
    told = json.loads(command("compare", *pair, "--json"))
    text = command("compare", *pair)
    base, candidate = map(raw, pair)
    machines = base.yardstick, candidate.yardstick

    def check(found: dict[str, Any], one: list[float], other: list[float]) -> None:
        ratio = mean(other) / mean(one)
        close(found["ratio"], ratio)
        sides = np.log(np.array(one)), np.log(np.array(other))
        close(found["interval"], list(bounds_of_ratio(sides, machines, found["occasion_sd"])))

    medians = [[float(np.median(d)) for d in of.durations] for of in (base, candidate)]
    check(told["quantities"]["latency_ns"], *medians)
    quick = undisturbed(base, candidate)
    close([told["base_ns"], told["candidate_ns"]], quick)
    close(told["ratio"], quick[1] / quick[0])
    times = f"{written(quick[0])} → {written(quick[1])}"
    assert f"{times}, {quick[1] / quick[0] - 1:+.1%} (" in text
    ratios = np.exp(machines[1].mean(axis=0) - machines[0].mean(axis=0))
    close(list(told["machine"].values()), ratios.tolist())
    sides = per_process(base), per_process(candidate)
    compared = 0
    for name in sides[0]:
        found = told["quantities"][name]
        if found["ratio"] is not None:
            check(found, sides[0][name], sides[1][name])
            close([found["base"], found["candidate"]], [mean(one[name]) for one in sides])
            compared += 1
            if name.endswith(("p90_ns", "session_ns")):
                ratio = mean(sides[1][name]) / mean(sides[0][name])
                assert (
                    f"{written(found['base'])} → {written(found['candidate'])}, ratio {ratio:.3f}"
                ) in text
    assert compared >= 4
    cells = sums(base, "probe"), sums(candidate, "probe")
    for found in told["operators"]:
        assert found["how"] == "same"
        own = [
            by_process(one.own[:, of.names.index(name)], one.process)
            for of, one, (name,) in zip(
                (base, candidate), cells, (found["base_nodes"], found["candidate_nodes"]),
                strict=True,
            )
        ]  # fmt: skip
        close([found["base_ns"], found["candidate_ns"]], [mean(one) for one in own])
        check(found, *own)
        line = next(one for one in text.splitlines() if one.endswith(found["candidate_labels"][0]))
        assert written(mean(own[0])) in line
        assert written(mean(own[1])) in line
        assert f"{mean(own[1]) / mean(own[0]):.3f}" in line
    for side, of in (("base", medians[0]), ("candidate", medians[1])):
        account = told["accounts"][side]
        matched = sum(found[f"{side}_ns"] for found in told["operators"])
        close(account["matched_ns"], matched)
        close(account["latency_ns"], mean(of))
        close(account["rest_ns"], mean(of) - matched)
        assert (
            f"{side} {written(mean(of))} = matched operators {written(matched)} + unmatched 0 ns"
        ) in text
