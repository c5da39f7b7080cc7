"""The assertions of the tests on a GPU, tried on recorded figures of one, and on spoilt ones."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from harness.analysis import energy, gpu_work
from harness.analysis.device_time import DeviceTime, device_time
from harness.analysis.energy import Energy
from harness.analysis.operators.table import OperatorTable, operator_table
from harness.records import Profile
from harness.statistics.figures import Figure
from tests.builders.recordings import PROFILES, on_both_clocks, recorded, replayed, undoubted
from tests.gpu import holds


def energy_of_a_gpu() -> Energy:
    (told,) = [one for one in energy.energy(recorded("resnet50")) if one.device == "gpu0"]
    return told


def test_a_recorded_energy_holds() -> None:
    holds.require_energy(energy_of_a_gpu())


@pytest.mark.parametrize(
    ("spoilt", "wrong"),
    [
        ({"power_j": Figure(0.5, ""), "verdict": "doubtful", "causes": ("they differ",)}, "apart"),
        ({"joules": Figure(None, "not read")}, "not read"),
        ({"interval_j": None}, "no interval"),
        ({"interval_j": (0.9, 1.0)}, "outside"),
        ({"verdict": "doubtful"}, "doubtful with the causes"),
        ({"causes": ("it throttled",)}, "trusted with the causes"),
        ({"power_j": Figure(None, "")}, "no power, and no reason"),
    ],
)
def test_a_spoilt_energy_does_not(spoilt: dict[str, Any], wrong: str) -> None:
    with pytest.raises(AssertionError, match=wrong):
        holds.require_energy(dataclasses.replace(energy_of_a_gpu(), **spoilt))


def device(profile: Profile) -> DeviceTime:
    told = device_time(profile)
    assert isinstance(told, DeviceTime), told.reason
    return told


@pytest.mark.parametrize("name", PROFILES)
def test_recorded_accounts_of_a_device_hold(name: str) -> None:
    holds.require_device(device(undoubted(replayed(name))))


@pytest.mark.parametrize(
    ("spoilt", "wrong"),
    [
        ({"busy_ns": 0.0}, "busy 0.0 ns"),
        ({"before_ns": -5.0}, "before -5.0 ns"),
        ({"after_ns": -5.0}, "after -5.0 ns"),
        ({"idle_ns": 9e9}, "ns idle of"),
        ({"launches": 0.0}, "nothing was launched"),
    ],
)
def test_spoilt_accounts_of_a_device_do_not(spoilt: dict[str, Any], wrong: str) -> None:
    told = device(undoubted(replayed("mlp")))
    accounts = dataclasses.replace(told.accounts, **spoilt)
    with pytest.raises(AssertionError, match=wrong):
        holds.require_device(dataclasses.replace(told, accounts=accounts))


def test_accounts_whose_split_was_held_against_nothing_do_not() -> None:
    with pytest.raises(AssertionError, match="there is no pass with node marks"):
        holds.require_device(device(dataclasses.replace(replayed("mlp"), kernels=None)))


def joined(profile: Profile, case: tuple[str, int], **other: Any) -> list[str]:
    table = gpu_work.kernel_table(profile)
    assert isinstance(table, gpu_work.KernelTable), table.reason
    arguments: dict[str, Any] = {
        "joined": table.joined,
        "kernels": profile.kernels,
        "timeline": profile.timeline,
        "unjoined": device(profile).accounts.unjoined,
    }
    return holds.require_joined(case, **(arguments | other))


@pytest.mark.parametrize("name", PROFILES)
def test_recorded_work_is_joined_but_for_the_copies_of_the_output(name: str) -> None:
    named = joined(replayed(name), (name, 1))
    assert set(named) == {"memcpy DtoH"}


def left_alone(profile: Profile, count: int) -> Profile:
    """The first launches of each inference belong to no node: in both passes."""
    kernels, made = profile.kernels, profile.timeline
    assert kernels is not None
    assert made is not None
    node, nodes = kernels.node.copy(), made.launches.node.copy()
    nodes[:count] = -1
    for number in np.unique(kernels.inference).tolist():
        rows = np.flatnonzero(kernels.inference == number)
        node[rows[np.argsort(kernels.launch_ns[rows], kind="stable")][:count]] = -1
    return dataclasses.replace(
        profile,
        kernels=dataclasses.replace(kernels, node=node),
        timeline=dataclasses.replace(made, launches=dataclasses.replace(made.launches, node=nodes)),
    )


def test_work_that_is_not_joined_is_found() -> None:
    whole, case = replayed("mlp"), ("mlp", 1)
    assert whole.kernels is not None
    with pytest.raises(AssertionError, match="kernels of no node"):
        joined(left_alone(whole, 3), case)
    with pytest.raises(AssertionError, match="1 launches are named, 2"):
        joined(whole, case, unjoined=2.0)
    with pytest.raises(AssertionError, match="joined, not"):
        joined(whole, case, joined=0.5)
    with pytest.raises(AssertionError, match="no reason"):
        joined(whole, case, kernels=dataclasses.replace(whole.kernels, unjoined_reason=""))
    with pytest.raises(AssertionError, match="launches of no node with marks"):
        joined(whole, case, kernels=left_alone(whole, 2).kernels)
    with pytest.raises(AssertionError, match=r"100\.00% joined"):
        joined(whole, case, joined=1.0)


def table_of(name: str) -> OperatorTable:
    table = operator_table(undoubted(on_both_clocks(name)))
    assert isinstance(table, OperatorTable), table.reason
    return table


def spoilt_rows(table: OperatorTable, **columns: Any) -> OperatorTable:
    rows = tuple(dataclasses.replace(row, **columns) for row in table.operators)
    return dataclasses.replace(table, operators=rows)


@pytest.mark.parametrize("name", PROFILES)
def test_recorded_nodes_have_classes(name: str) -> None:
    holds.require_classes(table_of(name))


@pytest.mark.parametrize(
    ("spoilt", "wrong"),
    [
        ({"bound": "unknown"}, "0% of the device's time is in nodes of a known class"),
        ({"bound": "yes"}, "no such class"),
        ({"bound": ""}, "no such class"),
        ({"why": ""}, "without a reason"),
        ({"kernel_ns": None, "idle_ns": None}, "0% of the device's time"),
    ],
)
def test_nodes_without_a_class_do_not_hold(spoilt: dict[str, Any], wrong: str) -> None:
    with pytest.raises(AssertionError, match=wrong):
        holds.require_classes(spoilt_rows(table_of("mlp"), **spoilt))
