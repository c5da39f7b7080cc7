"""What only a GPU can prove. Everything here is measured there, and held against itself.

    python -m pytest -o addopts= -m gpu tests/gpu --bundle FOLDER

Of each model and batch, all passes by turns in one process (``interleaved.py``): with a captured
CUDA graph and without. Then whole profiles, as users take them. ``--rehearse`` runs the same on the
CPU, with doubles: what depends on how fast a GPU is, is then not asserted.
"""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

# holds, survey: not of tests.gpu, as a package named "tests" may be installed on that machine.
import holds
import numpy as np
import pytest
from survey import survey

from harness import read_profile
from harness.analysis import energy, gpu_work, noise, operators, precision, used_gpu
from harness.analysis.captured_graph import Gain, gain
from harness.analysis.device_time import DeviceAccounts, DeviceTime, device_time
from harness.analysis.findings.rules import findings
from harness.analysis.gpu_work import KernelTable
from harness.analysis.operators.table import OperatorTable
from harness.records import Profile
from harness.reporters.numbers import joules, nanoseconds

if TYPE_CHECKING:
    from tests.gpu.conftest import Bench

#: A warning of whatever is installed there is no reason to lose a measurement.
pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]

#: By how much accounts may miss what they explain: a share of it, and of the MLP nanoseconds.
RESIDUAL, RESIDUAL_OF_MLP_NS = 0.03, 3000

#: The most that a probe may add to a node.
PROBE_NS = 400

#: The most of a core that the GPU's part of sampling may take, at 100 Hz.
SAMPLER = 0.005

INTERLEAVED = Path(__file__).with_name("interleaved.py")

#: Ceilings that every GPU has, by the end of the fact's name.
CEILINGS = ("add", "relu", "matmul_float32", "matmul_tf32", "matmul_float16")

Case = tuple[str, int]
Figure = Callable[..., None]


@dataclasses.dataclass(frozen=True, repr=False)
class Measured:
    """What a process of ``interleaved.py`` left.

    Without a repr: a test that fails would spend minutes on printing profiles. For the same reason
    no assertion reads an attribute of a profile.

    Attributes:
        told: what the profiles do not hold.
        launched: profile of inferences that launch each kernel.
        replayed: of those that replay a captured graph; None where the session refused it.
    """

    told: dict[str, Any]
    launched: Profile
    replayed: Profile | None


@pytest.fixture(scope="session")
def measured(bench: Bench, case: Case) -> Measured:
    """One process for each case: the tests of a case share it."""
    model, batch = case
    name = f"{model}-b{batch}"
    done = bench.run(INTERLEAVED, model, batch, bench.folder)
    assert done.returncode == 0, done.stderr
    told = json.loads((bench.folder / f"{name}.json").read_text())
    assert "nodes" in told, told["absent"]
    graph = bench.folder / f"{name}-graph.h5"
    replayed = read_profile(graph) if graph.exists() else None
    return Measured(told, read_profile(bench.folder / f"{name}.h5"), replayed)


def table_of(profile: Profile) -> OperatorTable:
    table = operators.table.operator_table(profile)
    assert isinstance(table, OperatorTable), table.reason
    return table


def device_of(profile: Profile) -> DeviceTime:
    told = device_time(profile)
    assert isinstance(told, DeviceTime), told.reason
    return told


def require_small(bench: Bench, case: Case, told_ns: float, clean_ns: float) -> None:
    """Accounts that must come close to what they explain; not those of doubles."""
    model, _ = case
    missed_ns = abs(told_ns - clean_ns)
    limit_ns = RESIDUAL_OF_MLP_NS if model == "mlp" else RESIDUAL * clean_ns
    if not bench.rehearsed:
        assert missed_ns <= limit_ns, f"{told_ns:.0f} ns told of {clean_ns:.0f} ns"


def test_probes_change_nothing_and_cost_little(
    bench: Bench, case: Case, measured: Measured, figure: Figure
) -> None:
    told = measured.told
    # That they keep the order of execution and add no copy is required before they record.
    assert told["probes"] == ""
    accounts = table_of(measured.launched).accounts
    assert accounts.tracer_cost_ns is not None
    cost_ns = accounts.tracer_cost_ns / (told["nodes"] + 1)
    figure(
        f"{label(case)}: {told['nodes']} nodes, {told['copies']} copies, a probe takes "
        f"{cost_ns:.0f} ns and adds {told['probe_added_ns']:.0f} ns, half: "
        f"{told['half_order'] or 'in order'}",
        probe=cost_ns,
    )
    if told["repeatable"]:
        assert told["identical"]
    if not bench.rehearsed:
        assert cost_ns <= PROBE_NS
        if case[1] == 1:  # of a long inference it is the small difference of two large times
            assert told["probe_added_ns"] <= PROBE_NS


def test_the_hosts_accounts_close_against_the_enqueue_time(
    bench: Bench, case: Case, measured: Measured, figure: Figure
) -> None:
    accounts = table_of(measured.launched).accounts
    assert accounts.enqueued
    assert accounts.told_ns is not None
    assert accounts.clean_ns is not None
    assert accounts.residual is not None
    figure(
        f"{label(case)}: host: nodes {nanoseconds(accounts.nodes_ns)} + framework "
        f"{nanoseconds(accounts.framework_ns)} against enqueue {nanoseconds(accounts.clean_ns)}: "
        f"{accounts.residual:+.1%}",
        host=accounts.residual,
    )
    require_small(bench, case, accounts.told_ns, accounts.clean_ns)


@pytest.mark.parametrize("graph", [False, True], ids=["launched", "replayed"])
def test_the_devices_accounts_close_against_the_resident_latency(
    bench: Bench, case: Case, measured: Measured, figure: Figure, graph: bool
) -> None:
    profile = measured.replayed if graph else measured.launched
    if profile is None:
        pytest.skip(f"no replay: {measured.told['replay']}")
    if graph and measured.told["kernels_of_replay"]:
        pytest.skip(f"the total only: {measured.told['kernels_of_replay']}")
    accounts = device_of(profile).accounts
    assert accounts.replayed == graph
    assert accounts.clean_ns is not None
    assert accounts.residual is not None
    figure(
        f"{label(case)}: {'replayed' if graph else 'device'}: before "
        f"{nanoseconds(accounts.before_ns)} + busy {nanoseconds(accounts.busy_ns)} + idle "
        f"{nanoseconds(accounts.idle_ns)} + after {nanoseconds(accounts.after_ns)} against "
        f"{nanoseconds(accounts.clean_ns)}: {accounts.residual:+.1%}, CUPTI "
        f"{nanoseconds(accounts.recorder_ns)} of {accounts.launches:.0f} launches {accounts.doubt}",
        **{"graph" if graph else "device": accounts.residual},
    )
    holds.require_device(device_of(profile))
    require_small(bench, case, accounts.told_ns, accounts.clean_ns)
    if not bench.rehearsed:
        # The residual cannot tell a wrong split between the parts; these can.
        assert accounts.checks.doubt == ""


def test_nodes_have_classes(bench: Bench, case: Case, measured: Measured, figure: Figure) -> None:
    if case[1] != 1:
        pytest.skip(
            "without ceilings, which these passes do not measure, only launches bound nodes"
        )
    table = table_of(measured.launched)
    figure(f"{label(case)}: {holds.classed(table):.0%} of the device's time in nodes of a class")
    if not bench.rehearsed:
        holds.require_classes(table)


def test_all_of_the_devices_time_is_joined_or_explained_launch_by_launch(
    case: Case, measured: Measured, figure: Figure
) -> None:
    assert measured.told["kernels"] == ""
    table = gpu_work.kernel_table(measured.launched)
    assert isinstance(table, KernelTable), table.reason
    kernels, timeline = measured.launched.kernels, measured.launched.timeline
    assert kernels is not None, measured.launched.absent
    assert timeline is not None, measured.launched.absent
    figure(
        f"{label(case)}: {table.joined:.2%} of the GPU's time joined, {table.disagreements} "
        f"launches outside their node {table.unjoined_reason}",
        unjoined=1 - table.joined,
    )
    unjoined = device_of(measured.launched).accounts.unjoined
    names = holds.require_joined(case, table.joined, kernels, timeline, unjoined)
    figure(f"{label(case)}: of no node: {', '.join(names) or 'none'}")
    assert table.dropped == 0
    assert table.disagreements == 0


def test_a_captured_graph_has_its_gain_or_the_reason(
    case: Case, measured: Measured, figure: Figure
) -> None:
    if measured.replayed is None:
        assert measured.told["replay"]
        figure(f"{label(case)}: no CUDA graph: {measured.told['replay']}")
        return
    gained = gain(measured.launched)
    assert isinstance(gained, Gain), gained.reason
    replay = measured.replayed.replay
    assert replay is not None
    told = measured.told["kernels_of_replay"]
    joined = len(replay.launches) > 0
    assert joined != bool(told)
    figure(
        f"{label(case)}: {nanoseconds(gained.typical_plain_ns)} → "
        f"{nanoseconds(gained.typical_captured_ns)} with {gained.option}; kernels of the graph: "
        f"{told or 'joined'}",
        closing=f"{label(case)} {nanoseconds(gained.typical_plain_ns)} → "
        f"{nanoseconds(gained.typical_captured_ns)}",
    )


def test_a_whole_profile(bench: Bench, whole: str, figure: Figure) -> None:
    # The ceilings take some ten seconds: those of one model are enough.
    quick = () if bench.rehearsed or whole == "resnet50" else ("--quick",)
    done = bench.run(
        *("-m", "harness", "profile", whole, "--provider", "cuda", "--energy", "--processes", 2),
        *("--sample-hz", 100, "--quiet", "--output", f"{whole}.h5", *quick),
        *(("--duration", 0.2) if bench.rehearsed else ()),
    )
    assert done.returncode == 0, done.stderr
    profile = read_profile(bench.folder / f"{whole}.h5")
    which = used_gpu.used_gpu(profile)
    assert which is not None
    assert which.index is not None, which.reason
    assert which.uuid
    sampled(bench, whole, profile, figure)
    energies(bench, whole, profile, figure)
    if not quick:
        figure(f"GPU: {which.told}", closing=which.told)
        ceilings(bench, whole, profile, figure)
        gained = gain(profile)
        assert isinstance(gained, Gain) or not bench.rehearsed, gained.reason
        table = operators.table.operator_table(profile)
        for found in findings(profile, table):
            figure(f"{whole}: {found.sentence}")
    told = precision.precision(profile)
    figure(f"{whole}: precision: {told.told}")
    assert told.shares or told.reason
    if not bench.rehearsed:
        assert told.shares
        table = operators.table.operator_table(profile)
        assert isinstance(table, OperatorTable), table.reason
        bounds = collections.Counter(row.bound for row in table.operators)
        figure(f"{whole}: bound: {', '.join(f'{n} {bound}' for bound, n in bounds.most_common())}")
        # Of accounts that are doubted no node is said to be bound by launches.
        if not isinstance(table.device, DeviceAccounts) or table.device.doubt:
            figure(f"{whole}: classes are not asserted: the device's accounts are doubted")
        else:
            holds.require_classes(table)
    told_as(bench, whole)


def told_as(bench: Bench, name: str) -> None:
    """What users look at goes into the bundle, too."""
    for command, target in (
        (("show", f"{name}.h5"), f"{name}-show.txt"),
        (("ops", f"{name}.h5", "--limit", 0), f"{name}-ops.txt"),
        (("report", f"{name}.h5", "-o", f"{name}.html"), ""),
        (("trace", f"{name}.h5", "-o", f"{name}.pftrace.gz"), ""),
    ):
        done = bench.run("-m", "harness", *command)
        assert done.returncode == 0, done.stderr
        if target:
            (bench.folder / target).write_text(done.stdout)


def sampled(bench: Bench, name: str, profile: Profile, figure: Figure) -> None:
    """The GPU's part of sampling."""
    threads = tuple(one for one in profile.devices if one.device.startswith("sampler_gpu"))
    share = noise.sampler_share(dataclasses.replace(profile, devices=threads))
    assert share is not None, profile.absent
    figure(f"{name}: sampling the GPU at 100 Hz took {share:.2%} of a core", sampler=share)
    if not bench.rehearsed:
        assert share < SAMPLER


def energies(bench: Bench, name: str, profile: Profile, figure: Figure) -> None:
    """Energy of an inference with its verdict: never a figure that is not accounted for."""
    (told,) = [one for one in energy.energy(profile) if one.device.startswith("gpu")]
    cost = told.joules.reason if told.joules.value is None else joules(told.joules.value)
    period = "?" if told.period_s is None else f"{told.period_s * 1e3:.0f} ms"
    figure(
        f"{name}: energy {cost}, {told.verdict} (the meter's period: {period})"
        + "".join(f"; {cause}" for cause in told.causes)
    )
    if bench.rehearsed:
        assert told.joules.value is None, "a double measures nothing"
        return
    holds.require_energy(told)


def ceilings(bench: Bench, name: str, profile: Profile, figure: Figure) -> None:
    """The device's, each measured or absent with its reason."""
    prefix = "ceiling_device_"
    facts = {
        one.name.removeprefix(prefix): one
        for one in profile.environment
        if one.name.startswith(prefix)
    }
    for what in CEILINGS:
        one = facts[what]
        told = one.reason if one.value is None else f"{float(one.value):.3g} {one.unit}"
        figure(f"{name}: ceiling {what}: {told}")
        assert one.value is not None or one.reason
        if not bench.rehearsed:
            assert one.value is not None, one.reason


def test_a_profile_of_a_captured_graph(bench: Bench, figure: Figure) -> None:
    done = bench.run(
        *("-m", "harness", "profile", "mlp", "--provider", "cuda", "--quick", "--processes", 2),
        *("--provider-option", "enable_cuda_graph=1", "--quiet", "--output", "mlp-graph.h5"),
        *(("--duration", 0.1) if bench.rehearsed else ()),
    )
    assert done.returncode == 0, done.stderr
    profile = read_profile(bench.folder / "mlp-graph.h5")
    absent, replay = dict(profile.absent), profile.replay
    assert replay is not None, absent.get("trace/replay")
    inferences = len(replay.inferences)
    assert inferences
    accounts = device_of(profile).accounts
    assert accounts.replayed or "trace/replay" in absent
    medians = [float(np.median(one.steady.duration_ns)) for one in profile.processes]
    figure(
        f"mlp with enable_cuda_graph=1: {nanoseconds(min(medians))}; kernels of the graph: "
        f"{absent.get('trace/replay', 'joined')}"
    )


def test_the_meters_answer(bench: Bench, figure: Figure) -> None:
    surveyed = survey(0, bench.nvml, seconds=1)
    assert surveyed.test_double == bench.rehearsed
    for channel in surveyed.working:
        period = surveyed.update_period_ns.get(channel.quantity)
        cost_ns = surveyed.cost_ns.get(channel.quantity)
        figure(
            f"{channel.quantity}: updated every {nanoseconds(period) if period else '?'}, a call "
            f"takes {'?' if cost_ns is None else nanoseconds(cost_ns)}"
        )
    for what, why in surveyed.absent:
        figure(f"{what}: absent: {why}")
    assert surveyed.working


def label(case: Case) -> str:
    model, batch = case
    return f"{model} batch {batch}"


def test_the_recordings_can_be_replayed(
    bench: Bench, case: Case, measured: Measured, figure: Figure
) -> None:
    """What the suite replays without a GPU: raw records of the smallest model."""
    if case != ("mlp", 1):
        pytest.skip("raw records are kept of the MLP of batch 1 only")
    held = np.load(Path(bench.folder, "cupti-records.npz"))
    assert {"marks", "first_id", "offset_ns", "addresses", "names", "data_0"} <= set(held)
    if measured.replayed is not None:
        assert "replay_offset_ns" in held
    figure(f"raw records: {len(held['marks'])} marks, {len(held['names'])} kernels")
