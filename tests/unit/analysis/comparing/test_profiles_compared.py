"""Profiles compared as a whole: verdict, what stands beside it, operators, bad cases."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from harness.analysis.comparing.profiles import compare_profiles
from harness.analysis.comparing.report import OperatorChanges, Quantity, Report
from harness.records import (
    InputRecord,
    LatencySeries,
    ModelRecord,
    NodeEvents,
    ProcessRecord,
    Profile,
    Reading,
    Yardstick,
)
from harness.reporters.scripts.comparison import comparison_text
from harness.reporters.terminal.comparison import print_comparison
from harness.statistics.figures import Figure
from harness.statistics.verdicts import Comparison, Verdict
from tests.builders.device_records import series
from tests.builders.node_tables import table
from tests.builders.process_records import latencies, process, profile

GRAPH = {"name": ("a", "b"), "op_type": ("Conv", "Gemm")}


def processes(
    median_ns: float, count: int = 10, *, scatter: float = 0.002, seed: int = 0, speed: float = 1.0
) -> list[ProcessRecord]:
    """Processes whose medians scatter so, beside a yardstick that says the machine's speed."""
    random = np.random.default_rng(seed)
    found = []
    for index in range(count):
        centre = median_ns * np.exp(random.normal(0, scatter))
        samples = centre * np.exp(random.normal(0, 0.01, 200))
        record = process(
            [round(one) for one in samples],
            index,
            start_ns=1000 * index + seed,
            session_ns=round(1e6 * np.exp(random.normal(0, scatter))),
            first_inference_ns=round(5e4 * np.exp(random.normal(0, scatter))),
        )
        part = np.round(1e6 * speed * np.exp(random.normal(0, scatter / 4, 4))).astype(np.int64)
        yardstick = Yardstick(np.arange(4), part, part + 7, part + 9)
        found.append(dataclasses.replace(record, pid=100 * seed + index, yardstick=yardstick))
    return found


def traced(times_ns: dict[int, float], count: int = 10, *, seed: int = 0) -> NodeEvents:
    """Two inferences a process, the nodes of these rows taking such times."""
    random = np.random.default_rng(seed)
    rows, at, number, own = [], [], [], []
    for index in range(count):
        slow = np.exp(random.normal(0, 0.002))
        for inference in range(2):
            for row, time_ns in times_ns.items():
                rows.append(row)
                at.append(index)
                number.append(inference)
                own.append(round(time_ns * slow))
    inferences = [(index, inference) for index in range(count) for inference in range(2)]
    whole = np.full(len(inferences), round(sum(times_ns.values())), np.int64)
    return NodeEvents(
        "probe",
        np.array(rows, np.int32), np.array(at, np.int32), np.array(number, np.int32),
        np.arange(len(rows)), np.array(own), np.array(own), {},
        np.array([p for p, _ in inferences], np.int32),
        np.array([i for _, i in inferences], np.int32),
        np.arange(len(inferences)), whole, np.zeros_like(whole), 0, 1,
    )  # fmt: skip


def measured(median_ns: float, *, seed: int, **columns: Any) -> Profile:
    return profile(*processes(median_ns, seed=seed), **columns)


def only(report: Report) -> Comparison:
    (compared,) = report.candidates
    return compared.latency.comparison


def text(report: Report, capsys: pytest.CaptureFixture[str]) -> str:
    print_comparison(report, 10)
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("factor", "verdict"),
    [(1.2, Verdict.SLOWER), (0.8, Verdict.FASTER)],
)
def test_a_difference_is_told(factor: float, verdict: Verdict) -> None:
    found = only(compare_profiles(measured(1e4, seed=1), [measured(factor * 1e4, seed=2)]))
    assert found.verdict is verdict
    assert found.ratio == pytest.approx(factor, rel=0.01)
    assert found.occasion_sd == 0.01, "a yardstick on both sides"


def test_the_same_thing_is_no_difference() -> None:
    report = compare_profiles(measured(1e4, seed=1), [measured(1e4, seed=2)], margin=0.05)
    assert only(report).verdict is Verdict.SAME
    names = [one.name for one in report.candidates[0].quantities]
    assert report.candidates[0].latency.name == "undisturbed_latency_ns"
    assert names == [
        "latency_ns", "slow_processes", "latency_p90_ns", "latency_p99_ns", "session_ns",
        "first_inference_ns", "time_per_inference_ns", "peak_memory_bytes",
    ]  # fmt: skip
    assert not [
        one.name
        for one in report.candidates[0].quantities
        if one.comparison.verdict in (Verdict.FASTER, Verdict.SLOWER)
    ]


def test_undecided_tells_how_many_processes_would_decide(
    capsys: pytest.CaptureFixture[str],
) -> None:
    base = profile(*processes(1e4, 4, scatter=0.05, seed=1))
    candidate = profile(*processes(1.08e4, 4, scatter=0.05, seed=2))
    report = compare_profiles(base, [candidate])
    assert only(report).verdict is Verdict.UNDECIDED
    told = text(report, capsys)
    assert f"about {only(report).processes_needed} processes per side would decide" in told or (
        "more processes alone would not decide" in told
    )


def test_a_slower_machine_beside_the_candidate_is_not_the_candidates() -> None:
    """The yardstick shares the difference, so nothing is said of the model."""
    base = profile(*processes(1e4, seed=1))
    candidate = profile(*processes(1.1e4, seed=2, speed=1.1))
    report = compare_profiles(base, [candidate])
    assert only(report).verdict is Verdict.UNDECIDED
    assert report.candidates[0].machine["compute"] == pytest.approx(1.1, rel=0.01)


def test_profiles_without_a_yardstick_carry_the_whole_difference_between_occasions() -> None:
    bare = [dataclasses.replace(p, yardstick=p.yardstick) for p in processes(1e4, seed=1)]
    none = Yardstick(*(np.empty(0, np.int64) for _ in range(4)))
    bare = [dataclasses.replace(one, yardstick=none) for one in bare]
    report = compare_profiles(profile(*bare), [measured(1.05e4, seed=2)])
    assert only(report).occasion_sd == 0.07
    assert report.candidates[0].machine == {}


def test_a_profile_of_a_busy_machine_decides_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    def waiting(median_ns: float, seed: int, share: float) -> Profile:
        noise = (
            Reading("wall_ns", 10**9, "ns"),
            Reading("steal_ns", 0, "ns"),
            Reading("cpu_wait_ns", round(share * 1e9), "ns"),
        )
        return profile(
            *(dataclasses.replace(one, noise=noise) for one in processes(median_ns, seed=seed))
        )

    quiet, busy = waiting(1e4, 1, 0.0), waiting(1.2e4, 2, 0.3)
    assert only(compare_profiles(quiet, [waiting(1.2e4, 2, 0.05)])).verdict is Verdict.SLOWER
    report = compare_profiles(quiet, [busy])
    assert only(report).verdict is Verdict.UNDECIDED
    assert only(report).ratio == pytest.approx(1.2, rel=0.01)
    assert "the candidate cannot be compared" in text(report, capsys)
    # Also where the processes scatter so much that nothing would have been decided.
    wild = profile(
        *(
            dataclasses.replace(one, noise=busy.processes[0].noise)
            for one in processes(1.16e4, scatter=0.3, seed=3)
        )
    )
    assert only(compare_profiles(quiet, [wild])).doubt
    # Measured in pairs both met the same load.
    together = {"config": json.dumps({"interleaved_with": "7f3a"})}
    pair = [dataclasses.replace(one, **together) for one in (quiet, busy)]
    assert only(compare_profiles(pair[0], pair[1:])).verdict is Verdict.SLOWER


@pytest.mark.parametrize(
    ("waited_ns", "says"),
    [(0, None), (6 * 10**7, "waited 6% of the time"), (None, "unknown whether")],
)
def test_what_holds_the_waiting_is_not_compared_where_there_was_some(
    waited_ns: int | None, says: str | None
) -> None:
    """The median is; means, tails and cold starts are not, on separate occasions."""

    def after(median_ns: float, seed: int, *, paired: str = "") -> Profile:
        noise = (Reading("wall_ns", 10**9, "ns"), Reading("cpu_wait_ns", waited_ns, "ns"))
        records = [
            dataclasses.replace(one, noise=noise) for one in processes(median_ns, 16, seed=seed)
        ]
        return profile(*records, config=json.dumps({"interleaved_with": paired}))

    report = compare_profiles(after(1e4, 1), [after(1.5e4, 2)])
    assert only(report).verdict is Verdict.SLOWER
    figures = {one.name: one.comparison for one in report.candidates[0].quantities}
    found = figures["time_per_inference_ns"]
    assert found.verdict is (Verdict.SLOWER if says is None else Verdict.UNDECIDED)
    assert says is None or says in found.reason
    paired = compare_profiles(after(1e4, 1, paired="x"), [after(1.5e4, 2, paired="x")])
    figures = {one.name: one.comparison for one in paired.candidates[0].quantities}
    assert figures["time_per_inference_ns"].verdict is Verdict.SLOWER


def test_throughput_is_without_what_lies_between_two_values() -> None:
    def with_gaps(gap_ns: int) -> Profile:
        records = []
        for one in processes(1e4):
            values = np.arange(len(one.steady)) // 50
            steady = LatencySeries(one.steady.start_ns + gap_ns * values, one.steady.duration_ns)
            records.append(dataclasses.replace(one, steady=steady, loops=50))
        return profile(*records)

    def time_ns(report: Report) -> tuple[float | None, float | None]:
        names = {one.name: one for one in report.candidates[0].quantities}
        return names["time_per_inference_ns"].base, names["time_per_inference_ns"].candidate

    base, candidate = time_ns(compare_profiles(with_gaps(0), [with_gaps(10**9)]))
    assert base == pytest.approx(1e4, rel=0.01)
    assert candidate == pytest.approx(base)


def test_interleaved_profiles_are_compared_in_pairs() -> None:
    """A machine that gets slower all the time disturbs no pair."""
    drift = np.linspace(1, 2, 14)
    together = json.dumps({"interleaved_with": "7f3a"})

    def half(factor: float, seed: int) -> Profile:
        records = [
            dataclasses.replace(
                one, steady=latencies([round(d * drift[k]) for d in one.steady.duration_ns])
            )
            for k, one in enumerate(processes(factor * 1e4, 14, seed=seed))
        ]
        return profile(*records, config=together)

    report = compare_profiles(half(1.0, 1), [half(1.03, 2)])
    assert report.candidates[0].paired
    assert only(report).verdict is Verdict.SLOWER
    assert only(report).ratio == pytest.approx(1.03, rel=0.005)
    apart = dataclasses.replace(half(1.03, 2), config=json.dumps({"interleaved_with": "other"}))
    assert not compare_profiles(half(1.0, 1), [apart]).candidates[0].paired


def test_only_processes_of_both_sides_make_a_pair() -> None:
    together = json.dumps({"interleaved_with": "7f3a"})
    base = profile(*processes(1e4, 14, seed=1), config=together)
    candidate = profile(*processes(1.05e4, 14, seed=2)[2:], config=together)
    report = compare_profiles(base, [candidate])
    assert only(report).verdict is Verdict.SLOWER
    assert "2 processes of the base without a partner: left out" in report.candidates[0].caveats
    apart = profile(*processes(1.05e4, 16, seed=2)[14:], config=together)
    refused = only(compare_profiles(base, [apart]))
    assert refused.verdict is Verdict.NOT_COMPARABLE
    assert refused.reason == "no pair of processes has finished on both sides"


def drifting_pairs(pairs: int, factor: float) -> tuple[Profile, Profile]:
    """Both sides of ``ab`` on a machine that becomes twice as slow; an operator takes longer."""
    together = json.dumps({"interleaved_with": "7f3a"})
    nodes = table([-1, -1], **GRAPH)
    random = np.random.default_rng(7)
    sides = []
    for seed, times in ((1, (6000.0, 4000.0)), (2, (6000.0 * factor, 4000.0))):
        events = traced(dict(enumerate(times)), pairs, seed=seed)
        drift = np.linspace(1, 2, pairs)[events.process]
        own = np.round(events.self_ns * drift * np.exp(random.normal(0, 0.004, len(drift))))
        events = dataclasses.replace(
            events, self_ns=own.astype(np.int64), duration_ns=own.astype(np.int64)
        )
        records = processes(sum(times), pairs, seed=seed)
        sides.append(profile(*records, config=together, nodes=nodes, traces={"probe": events}))
    return sides[0], sides[1]


def test_operators_of_pairs_are_compared_in_pairs() -> None:
    base, candidate = drifting_pairs(7, 1.05)
    found = compare_profiles(base, [candidate]).candidates[0].operators
    assert isinstance(found, OperatorChanges)
    slower = found.changes[0]
    assert slower.base_nodes == ("a",)
    assert slower.comparison.verdict is Verdict.SLOWER
    assert slower.comparison.ratio == pytest.approx(1.05, rel=0.01)
    assert "of 7 pairs" in slower.comparison.reason
    assert found.changes[1].comparison.verdict is not Verdict.SLOWER
    # As two groups of processes the drift hides it.
    alone = json.dumps({"interleaved_with": ""})
    apart = [dataclasses.replace(one, config=alone) for one in (base, candidate)]
    hidden = compare_profiles(apart[0], [apart[1]]).candidates[0].operators
    assert isinstance(hidden, OperatorChanges)
    assert hidden.changes[0].comparison.verdict is Verdict.UNDECIDED


def test_operators_of_few_pairs_are_compared_as_two_groups() -> None:
    base, candidate = drifting_pairs(4, 1.05)
    found = compare_profiles(base, [candidate]).candidates[0].operators
    assert isinstance(found, OperatorChanges)
    assert "pairs" not in found.changes[0].comparison.reason


@pytest.mark.parametrize("share", [0, 3])
def test_a_side_with_states_of_its_own_is_told(share: int) -> None:
    """Every third process of the candidate takes a tenth longer, or none."""
    together = json.dumps({"interleaved_with": "7f3a"})
    base = profile(*processes(1e4, 24, seed=1), config=together)
    states = [
        dataclasses.replace(one, steady=latencies([round(1.1 * d) for d in one.steady.duration_ns]))
        if share and one.index % share == 0
        else one
        for one in processes(1e4, 24, seed=2)
    ]
    (compared,) = compare_profiles(base, [profile(*states, config=together)]).candidates
    told = [one for one in compared.caveats if "scatter more" in one]
    assert bool(told) == bool(share)
    if told:
        assert told[0].startswith("the processes of the candidate scatter more than those of the")


def test_a_slower_operator_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    nodes = table([-1, -1], **GRAPH)
    base = measured(1e4, seed=1, nodes=nodes, traces={"probe": traced({0: 6000, 1: 4000}, seed=3)})
    candidate = measured(
        1.2e4, seed=2, nodes=nodes, traces={"probe": traced({0: 8000, 1: 4000}, seed=4)}
    )
    report = compare_profiles(base, [candidate])
    found = report.candidates[0].operators
    assert isinstance(found, OperatorChanges)
    assert next((one.base_nodes, one.comparison.verdict) for one in found.changes) == (
        ("a",), Verdict.SLOWER,
    )  # fmt: skip
    assert found.changes[0].change_ns == pytest.approx(2000, rel=0.02)
    assert found.changes[1].comparison.verdict is not Verdict.SLOWER
    assert "SLOWER" in text(report, capsys)


def test_operator_times_of_a_profile_close() -> None:
    """Matched, unmatched and the rest are the latency, on both sides."""
    base = measured(
        1e4, seed=1, nodes=table([-1, -1], **GRAPH), traces={"probe": traced({0: 6000, 1: 3000})}
    )
    more = table([-1] * 3, name=("a", "cast", "b"), op_type=("Conv", "Cast", "Gemm"))
    candidate = measured(
        1.1e4, seed=2, nodes=more, traces={"probe": traced({0: 6000, 1: 1000, 2: 3000})}
    )
    found = compare_profiles(base, [candidate]).candidates[0].operators
    assert isinstance(found, OperatorChanges)
    assert found.base.unmatched_ns == 0
    assert found.candidate.unmatched_ns == pytest.approx(1000, rel=0.02)
    for total in (found.base, found.candidate):
        parts = total.matched_ns + total.unmatched_ns + total.rest_ns
        assert parts == pytest.approx(total.latency_ns)
    told = sum(one.candidate_ns or 0 for one in found.changes)
    assert told == pytest.approx(found.candidate.matched_ns + found.candidate.unmatched_ns)


def test_operators_too_short_to_matter_are_listed_and_not_judged() -> None:
    nodes = table([-1, -1], **GRAPH)
    base = measured(1e4, seed=1, nodes=nodes, traces={"probe": traced({0: 9000, 1: 2})})
    candidate = measured(
        1e4, seed=2, nodes=nodes, traces={"probe": traced({0: 9000, 1: 4}, seed=5)}
    )
    found = compare_profiles(base, [candidate]).candidates[0].operators
    assert isinstance(found, OperatorChanges)
    assert found.judged == 1
    assert len(found.changes) == 2


def test_profiles_without_a_common_tracer_have_no_operators() -> None:
    nodes = table([-1, -1], **GRAPH)
    base = measured(1e4, seed=1, nodes=nodes, traces={"probe": traced({0: 1, 1: 1})})
    candidate = measured(1e4, seed=2)
    found = compare_profiles(base, [candidate]).candidates[0].operators
    assert found == Figure(None, "the profiles have no traced pass in common")


def powered(median_ns: float, milliwatts: int, *, seed: int, double: bool = False) -> Profile:
    records = [
        dataclasses.replace(one, steady=latencies([*range(10_000_000 + 9 * k, 10_000_100 + 9 * k)]))
        for k, one in enumerate(processes(median_ns, 3, seed=seed))
    ]
    meters = []
    for name, factor in (("power_instant_mw", 1), ("energy_mj", 0)):
        whole = [
            series(
                "gpu0",
                name,
                [
                    (
                        k * 20_000_000,
                        (milliwatts + one.index + k) if factor else k * milliwatts // 50,
                    )
                    for k in range(50)
                ],
                unit="mW" if factor else "mJ",
                process=one.index,
                double=double,
            )
            for one in records
        ]
        joined = {
            column: np.concatenate([getattr(each, column) for each in whole])
            for column in ("process", "time_ns", "value", "changed")
        }
        meters.append(dataclasses.replace(whole[0], **joined))
    return profile(*records, devices=tuple(meters))


def energy_of(report: Report) -> Comparison:
    found = [q for q in report.candidates[0].quantities if q.name == "energy_gpu0_j"]
    return found[0].comparison


def test_energy_is_compared_by_process() -> None:
    report = compare_profiles(powered(1e7, 200_000, seed=1), [powered(1e7, 300_000, seed=2)])
    assert energy_of(report).ratio == pytest.approx(1.5, rel=0.02)


def test_readings_of_a_test_double_are_no_measurement() -> None:
    report = compare_profiles(
        powered(1e7, 200_000, seed=1), [powered(1e7, 300_000, seed=2, double=True)]
    )
    assert energy_of(report).verdict is Verdict.NOT_COMPARABLE
    assert energy_of(report).ratio is None
    assert "test double" in energy_of(report).reason


def test_memory_is_compared_where_both_sides_tell_it() -> None:
    def with_peaks(seed: int, peaks: list[int]) -> Profile:
        return profile(
            *(
                dataclasses.replace(one, noise=(Reading("peak_memory_bytes", peak, "bytes"),))
                for one, peak in zip(processes(1e4, 4, seed=seed), peaks, strict=True)
            )
        )

    def memory(base: Profile, candidate: Profile) -> Quantity:
        return compare_profiles(base, [candidate]).candidates[0].quantities[-1]

    low = with_peaks(1, [10_001, 10_007, 10_003, 9_999])
    found = memory(low, with_peaks(2, [20_001, 20_007, 20_003, 19_999]))
    assert found.comparison.verdict is Verdict.SLOWER
    assert found.base == pytest.approx(10_002, rel=1e-3)
    silent = memory(low, profile(*processes(1e4, 4, seed=3)))
    assert silent.comparison.verdict is Verdict.NOT_COMPARABLE
    assert silent.base is None
    assert "not recorded on both sides" in silent.comparison.reason


def constant() -> Profile:
    return profile(*(process([500] * 50, index) for index in range(4)))


def one_input(*shape: int) -> tuple[InputRecord, ...]:
    return (InputRecord("x", "float32", shape, "", "aa"),)


@pytest.mark.parametrize(
    ("candidate", "reason"),
    [
        (profile(*processes(1e4, 1, seed=2)), "the candidate has one process"),
        (profile(), "the candidate has no finished process"),
        (profile(*(process([1, 2, 3], k) for k in range(3))), "p50 needs 10 samples, 9 were"),
        (constant(), "every sample of the candidate is 500 ns"),
        (profile(*processes(1e4, seed=2), inputs=one_input(8)), "not like with like"),
        (profile(*processes(1e4, seed=1)), "the very same measurement"),
    ],
    ids=["one process", "none", "three samples", "constant", "other inputs", "itself"],
)
def test_what_cannot_be_compared_gives_a_sentence_and_no_number(
    candidate: Profile, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    base = profile(*processes(1e4, seed=1), inputs=one_input(1) if candidate.inputs else ())
    report = compare_profiles(base, [candidate])
    found = only(report)
    assert found.verdict is Verdict.NOT_COMPARABLE
    assert reason in found.reason
    assert (found.ratio, found.interval, report.candidates[0].quantities) == (None, None, ())
    assert reason in text(report, capsys)
    told = json.loads(comparison_text(report))
    assert told["verdict"] == "NOT_COMPARABLE"
    assert (told["ratio"], told["interval"], told["operators"]) == (None, None, [])
    assert reason in told["reason"]


def test_what_to_know_before_reading_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    base = measured(1e4, seed=1, config=json.dumps({"quick": True}))
    candidate = measured(
        1e4,
        seed=2,
        complete=False,
        model=ModelRecord("n", "n.onnx", "01", 1, "", 8, (), 1, 0),
    )
    report = compare_profiles(base, [candidate])
    assert report.candidates[0].caveats == (
        "different models: ratios compare models, not ways to run one model",
        "the base was measured with `quick`: not comparison-grade",
        "the candidate was interrupted: it has only 10 processes",
    )
    told = text(report, capsys)
    assert "the base was measured with --quick" in told
    assert told.index("different models") < told.index(str(only(report).verdict))


def test_few_processes_are_said_not_to_be_comparison_grade() -> None:
    few = profile(*processes(1e4, 4, seed=2))
    caveats = compare_profiles(measured(1e4, seed=1), [few]).candidates[0].caveats
    assert caveats == ("the candidate has 4 processes: comparison-grade takes 10",)


def test_processes_that_never_settled_are_said() -> None:
    records = [
        dataclasses.replace(
            one, steady=latencies((1e4 * np.linspace(1, 2, 1000)).astype(int).tolist())
        )
        for one in processes(1e4, 10, seed=2)
    ]
    caveats = compare_profiles(measured(1e4, seed=1), [profile(*records)]).candidates[0].caveats
    assert caveats[0] == (
        "most processes of the candidate were not in one steady state: drift in 10 of 10"
    )
    assert caveats[1].startswith("timed passes of"), "and its series is longer"


def test_verdicts_on_several_candidates_hold_together(capsys: pytest.CaptureFixture[str]) -> None:
    base = measured(1e4, seed=1)
    candidates = [measured(f * 1e4, seed=k) for k, f in enumerate((1.2, 0.8, 1.0), 2)]
    report = compare_profiles(base, candidates)
    assert [one.latency.comparison.verdict for one in report.candidates][:2] == [
        Verdict.SLOWER, Verdict.FASTER,
    ]  # fmt: skip
    told = json.loads(comparison_text(report))
    assert told["verdict"] == "SLOWER"
    assert next(one["verdict"] for one in told["others"]) == "FASTER"
    assert "candidate 3" in text(report, capsys)


def test_json_begins_with_what_scripts_rely_on() -> None:
    report = compare_profiles(measured(1e4, seed=1), [measured(1.2e4, seed=2)])
    told = json.loads(comparison_text(report))
    assert told["verdict"] == "SLOWER"
    assert told["interval"][0] < told["ratio"] < told["interval"][1]
    assert told["operators"] == []
    assert told["operators_reason"]
    assert {"differences", "caveats", "quantities", "margin", "base", "candidate"} <= told.keys()


def batched(median_ns: float, batch: int, *, seed: int, told: bool = True) -> Profile:
    fed = InputRecord("x", "float32", (batch, 3), "batch", f"{batch}")
    items = (Reading("items_per_inference", batch, "1", "'batch': batch"),) if told else ()
    row = {0: 0.9 * median_ns, 1: 0.1 * median_ns}
    return measured(
        median_ns,
        seed=seed,
        inputs=(fed,),
        environment=items,
        nodes=table([-1, -1], **GRAPH),
        traces={"probe": traced(row, seed=seed)},
    )


def test_different_batches_are_compared_per_item(capsys: pytest.CaptureFixture[str]) -> None:
    report = compare_profiles(batched(1e4, 1, seed=1), [batched(6e4, 8, seed=2)])
    (compared,) = report.candidates
    assert compared.per == "item"
    assert compared.latency.comparison.verdict is Verdict.FASTER
    assert compared.latency.comparison.ratio == pytest.approx(6 / 8, rel=0.01)
    assert compared.latency.candidate == pytest.approx(6e4 / 8, rel=0.01)
    quantities = {one.name: one for one in compared.quantities}
    rate = quantities["time_per_inference_ns"].comparison.ratio
    assert rate == pytest.approx(6 / 8, rel=0.01)
    session = quantities["session_ns"].comparison.ratio
    assert session == pytest.approx(1, rel=0.01), "a session is no inference"
    assert isinstance(compared.operators, OperatorChanges)
    assert compared.operators.candidate.latency_ns == pytest.approx(6e4 / 8, rel=0.01)
    assert compared.operators.changes[0].comparison.ratio == pytest.approx(6 / 8, rel=0.01)
    out = text(report, capsys)
    assert "per item" in out
    assert "batch 1 against 8" in out
    told = json.loads(comparison_text(report))
    assert told["per"] == "item"
    assert told["items_per_inference"] == {"base": 1, "candidate": 8}


def test_the_same_batch_is_compared_per_inference(capsys: pytest.CaptureFixture[str]) -> None:
    report = compare_profiles(batched(6e4, 8, seed=1), [batched(6e4, 8, seed=2)])
    (compared,) = report.candidates
    assert compared.per == "inference"
    assert compared.latency.base == pytest.approx(6e4, rel=0.01)
    assert "per item" not in text(report, capsys)


def test_a_file_that_does_not_tell_its_batch_is_not_compared_with_another_size() -> None:
    report = compare_profiles(batched(1e4, 1, seed=1), [batched(6e4, 8, seed=2, told=False)])
    found = only(report)
    assert found.verdict is Verdict.NOT_COMPARABLE
    assert "not like with like" in found.reason
    told = json.loads(comparison_text(report))
    assert told["items_per_inference"]["candidate"] is None
    assert "not recorded" in told["items_per_inference"]["candidate_reason"]


def test_sizes_that_the_batch_does_not_explain_stay_refused() -> None:
    longer = dataclasses.replace(
        batched(6e4, 8, seed=2), inputs=(InputRecord("x", "float32", (8, 24), "", "8"),)
    )
    found = only(compare_profiles(batched(1e4, 1, seed=1), [longer]))
    assert found.verdict is Verdict.NOT_COMPARABLE


def test_a_ratio_of_pairs_that_is_not_that_of_the_times_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    together = json.dumps({"interleaved_with": "7f3a"})

    def side(levels: list[float], seed: int) -> Profile:
        records = [
            dataclasses.replace(
                one, steady=latencies([round(d * x) for d in one.steady.duration_ns])
            )
            for one, x in zip(processes(1e4, len(levels), seed=seed), levels, strict=True)
        ]
        return profile(*records, config=together)

    # Half of the pairs on a machine twice as slow, which slows the candidate less.
    base = side([1.0, 2.0] * 7, 1)
    told = text(compare_profiles(base, [side([0.5, 1.4] * 7, 2)]), capsys)
    assert "is the typical difference within a pair; the two times are the medians" in told
    alike = text(compare_profiles(base, [side([1.0, 2.0] * 7, 1)]), capsys)
    assert "the two times are the medians" not in alike
