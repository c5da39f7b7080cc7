"""What the table of operators tells of a device: a GPU's work, replayed."""

from __future__ import annotations

import csv
import dataclasses
import io
import json

import numpy as np
import numpy.typing as npt
import pytest

from harness.analysis import device_time, gpu_work
from harness.analysis.device_bounds import held_back
from harness.analysis.device_time import DeviceAccounts, NodeWork
from harness.analysis.findings import seen
from harness.analysis.findings.rules import findings
from harness.analysis.kernel_ceilings import judged_kernels
from harness.analysis.occupancy import MULTIPROCESSORS
from harness.analysis.operators import table as operators
from harness.analysis.operators.table import OperatorTable, operator_table
from harness.records import Profile, Reading
from harness.reporters.html.digest import Digest
from harness.reporters.scripts.profile import operators_text
from harness.reporters.scripts.tables import operators_csv
from harness.reporters.terminal.operators import print_operators
from harness.statistics.figures import Figure
from tests.builders.recordings import (
    PROFILES,
    recorded,
    replayed,
    undoubted,
    wrongly_split,
)

OLD = "recorded without a pass for the device's times alone: profile again"


def table_of(profile: Profile, by: str = "node") -> OperatorTable:
    table = operator_table(profile, by)
    assert isinstance(table, OperatorTable)
    return table


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("by", ["node", "op", "layer"])
def test_rows_and_the_work_of_no_node_add_up_to_the_accounts(name: str, by: str) -> None:
    table = table_of(replayed(name), by)
    told = table.device
    assert isinstance(told, DeviceAccounts)

    def whole(column: str) -> float:
        return float(sum(getattr(row, column) for row in table.operators))

    assert whole("idle_ns") + told.unjoined_idle_ns == pytest.approx(told.idle_ns)
    assert whole("launches") + told.unjoined == pytest.approx(told.launches)
    assert whole("kernel_ns") + told.unjoined_ns == pytest.approx(told.busy_ns, rel=0.01)


@pytest.mark.parametrize("name", PROFILES)
def test_a_file_without_the_pass_has_kernels_and_no_idle_times(name: str) -> None:
    table = table_of(recorded(name))
    assert table.device == Figure(None, OLD)
    assert {row.idle_ns for row in table.operators} == {None}
    assert all(row.kernel_ns is not None for row in table.operators)
    assert not any(row.bound == "launch-bound" for row in table.operators)
    same = {row.order: row for row in table_of(replayed(name)).operators}
    for row in table.operators:
        # Means over all inferences and over the middle half of three.
        assert row.kernel_ns == pytest.approx(same[row.order].kernel_ns, rel=0.25)
        assert row.launches == same[row.order].launches


def work(
    kernel_ns: float, launches: float, copies: float, small_ns: float | None, idle_ns: float | None
) -> NodeWork:
    def column(value: float) -> npt.NDArray[np.float64]:
        return np.array([value])

    return NodeWork(
        column(kernel_ns),
        column(launches),
        column(copies),
        None if small_ns is None else column(small_ns),
        None if idle_ns is None else column(idle_ns),
    )


@pytest.mark.parametrize(
    ("of", "on_host", "ceilings", "bound"),
    [
        (work(100, 2, 1, 90, 101), False, "unknown", "launch-bound"),
        (work(100, 2, 1, 90, 101), False, "memory-bound", "launch-bound"),
        (work(100, 2, 1, 51, 100), False, "unknown", "small"),
        (work(100, 2, 1, 51, None), False, "unknown", "small"),
        (work(100, 2, 1, 51, 100), False, "compute-bound", None),
        (work(100, 2, 1, 50, 100), False, "unknown", None),
        (work(100, 2, 1, None, None), False, "unknown", None),
        (work(100, 2, 2, 0, 500), False, "unknown", "copy"),
        (work(0, 0, 0, 0, 0), False, "unknown", None),
        (work(0, 0, 0, 0, 0), True, "compute-bound", "host"),
    ],
)
def test_what_holds_a_node_back(
    of: NodeWork, on_host: bool, ceilings: str, bound: str | None
) -> None:
    told = held_back(of, [0], on_host=on_host, bound=ceilings)
    assert (told and told[0]) == bound


def test_kernels_of_few_blocks_are_known_where_the_device_is() -> None:
    """An H200 has 132 multiprocessors."""
    told = Reading(MULTIPROCESSORS, 132, "1")
    profiles = [
        dataclasses.replace(one, environment=(*one.environment, told))
        for name in PROFILES
        for one in (recorded(name), replayed(name))
    ]
    for profile in profiles:
        rows = 0 if profile.nodes is None else len(profile.nodes)
        seen = gpu_work.node_work(profile)
        assert seen is not None
        assert seen.small_ns is not None
        assert len(seen.small_ns) == rows
        assert 0 < seen.small_ns.sum() < seen.kernel_ns.sum()
        assert (seen.small_ns <= seen.kernel_ns).all()
    assert "small" in {row.bound for row in table_of(profiles[0]).operators}
    unknown = gpu_work.node_work(recorded("mlp"))
    assert unknown is not None
    assert unknown.small_ns is None


def test_a_node_says_how_long_the_device_waited_for_it() -> None:
    table = table_of(undoubted(replayed("mlp")))
    assert isinstance(table.device, DeviceAccounts)
    assert (table.device.doubt, table.device.residual) == ("", pytest.approx(0, abs=0.05))
    (row,) = [row for row in table.operators if row.order == 3]
    assert row.bound == "launch-bound"
    assert row.idle_ns is not None
    assert row.kernel_ns is not None
    assert f"waited {row.idle_ns:,.0f} ns for its launches, which took {row.kernel_ns:,.0f} ns" in (
        row.why
    )


def test_idle_times_that_are_doubtful_decide_nothing() -> None:
    table = table_of(replayed("mlp"))
    assert isinstance(table.device, DeviceAccounts)
    assert table.device.doubt
    assert "launch-bound" not in {row.bound for row in table.operators}
    assert all(row.idle_ns for row in table.operators)
    assert {row.idle_doubt for row in table.operators} == {table.device.doubt}
    assert {row.idle_doubt for row in table_of(undoubted(replayed("mlp"))).operators} == {""}
    assert {row.idle_doubt for row in table_of(recorded("mlp")).operators} == {""}, "there are none"


def test_what_a_command_tells_of_the_device_is_worked_out_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worked_out: list[Profile] = []
    told = device_time.device_time

    def counted(profile: Profile) -> device_time.DeviceTime | Figure:
        worked_out.append(profile)
        return told(profile)

    for module in (device_time, gpu_work, operators, seen):
        monkeypatch.setattr(module, "device_time", counted)
    for profile in (undoubted(replayed("mlp")), recorded("mlp")):
        table = table_of(profile)  # what `show` and `profile` do
        findings(profile, table)
        assert len(worked_out) == 1
        Digest.of(profile)  # a page
        assert len(worked_out) == 2
        judged_kernels(profile)  # `ops --by kernel`
        assert len(worked_out) == 3
        worked_out.clear()


def test_rows_are_sorted_by_the_devices_clock() -> None:
    for sort, column in (("gpu", "kernel_ns"), ("idle", "idle_ns")):
        table = operator_table(replayed("mlp"), sort=sort)
        assert isinstance(table, OperatorTable)
        values = [getattr(row, column) for row in table.operators]
        assert values == sorted(values, reverse=True)
        # Where it is not known they come as they are executed.
        nothing = operator_table(dataclasses.replace(recorded("mlp"), kernels=None), sort=sort)
        assert isinstance(nothing, OperatorTable)
        assert [row.order for row in nothing.operators] == [0, 1, 2, 3, 4]


def test_scripts_get_both_clocks() -> None:
    told = json.loads(operators_text(table_of(replayed("mlp"))))
    for row in told["operators"]:
        assert (row["host_ns"], row["device_ns"]) == (row["median_ns"], row["kernel_ns"])
        assert row["idle_caused_ns"] == row["idle_ns"]
        assert row["idle_doubt"].startswith("they miss the timed pass by")
    accounts = told["accounts"]["device"]
    parts = [accounts[f"{part}_ns"] for part in ("before", "busy", "idle", "after")]
    assert sum(parts) == pytest.approx(accounts["told_ns"])
    old = json.loads(operators_text(table_of(recorded("mlp"))))
    assert (old["accounts"]["device"], old["accounts"]["device_reason"]) == (None, OLD)
    assert old["operators"][0]["idle_caused_ns_reason"] == OLD
    rows = list(csv.DictReader(io.StringIO(operators_csv(table_of(replayed("mlp"))))))
    assert {row["launches"] for row in rows} == {"1.0", "2.0"}
    assert all(row["idle_doubt"].startswith("they miss the timed pass by") for row in rows)


def test_a_split_that_another_recording_contradicts_is_told_everywhere(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_operators(table_of(undoubted(replayed("mlp"))), 0)
    out = " ".join(capsys.readouterr().out.split())
    assert (
        "split: times of launches differ by 0.0% (0 ns) from the pass with node marks; idle before "
        "them longer than there by 0 ns; CUPTI adds 0 ns a launch"
    ) in out
    wrong = undoubted(wrongly_split(replayed("mlp")))
    print_operators(table_of(wrong), 0)
    out = " ".join(capsys.readouterr().out.split())
    assert "do not trust the device's accounts: the device's work differs from the pass" in out
    assert "most in launch 1:" in out
    assert "residual +0.0%" in out
    device = json.loads(operators_text(table_of(wrong)))["accounts"]["device"]
    assert device["residual"] == pytest.approx(0)
    assert device["checks"]["apart_ns"] == pytest.approx(2000)
    assert device["checks"]["launches_apart"] == 1
    assert device["doubt"] == device["checks"]["doubt"] != ""


def test_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print_operators(table_of(replayed("mlp")), 0)
    out = capsys.readouterr().out
    assert "GPU idle" in out
    assert "launches" in out
    assert "doubtful (?): before its first work" in out
    _, *lines = out.splitlines()
    (cells,) = [line.split() for line in lines if line.split()[-1] == "fc1/Relu"]
    assert sum(cell.endswith("?") for cell in cells) == 1, "its idle time"
    assert "with 0 ns of CUPTI taken out" in " ".join(out.split())
    assert "9 launches, 1 of no node" in out
    assert "waits longest" not in out
    assert "do not trust the device's accounts: they miss the timed pass" in out
    print_operators(table_of(undoubted(replayed("mlp"))), 0)
    out = capsys.readouterr().out
    assert "waits longest for the launches of fc1/Relu (" in out
    assert "?" not in out
    print_operators(table_of(recorded("mlp")), 0)
    assert f"idle times not known: {OLD}" in " ".join(capsys.readouterr().out.split())
    print_operators(table_of(dataclasses.replace(recorded("mlp"), kernels=None)), 0)
    assert "device" not in capsys.readouterr().out
