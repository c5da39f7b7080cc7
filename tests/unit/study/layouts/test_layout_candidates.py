from __future__ import annotations

from pathlib import Path

import pytest

from harness.machine.placement import place
from harness.machine.topology import Topology, topology
from harness.study.layouts.candidates import DEFAULT, Layout, candidates
from tests.builders.sysfs import Machine, numbers, plant

#: A small machine of each kind; large ones are thousands of files.
MACHINES = {
    "two sockets, two nodes and four L3 each, SMT": Machine(
        sockets=2, cores=16, l3=4, node=8, threads=2
    ),
    "L3 as NUMA": Machine(sockets=2, cores=8, l3=4, node=4),
    "one L3": Machine(cores=6, l3=6, node=6, threads=2),
    "no L3 told": Machine(cores=8, l3=0, node=8),
    "hybrid": Machine(cores=12, l3=12, node=12, threads=2, adjacent=True, efficient=8),
    "a single CPU": Machine(cores=1, l3=1, node=1),
}


@pytest.fixture(scope="module", params=MACHINES)
def machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Topology:
    return planted(tmp_path_factory.mktemp("machine"), MACHINES[request.param])


def planted(root: Path, machine: Machine, allowed: str = "") -> Topology:
    plant(root, machine)
    online = (root / "sys/devices/system/cpu/online").read_text()
    return topology(root, numbers(allowed or online))


def named(layouts: list[Layout]) -> dict[str, set[tuple[int, int, str]]]:
    found: dict[str, set[tuple[int, int, str]]] = {}
    for one in layouts:
        found.setdefault(one.placement, set()).add((one.instances, one.threads, one.memory))
    return found


def test_what_a_layout_asks_for_gives_its_cpus(machine: Topology) -> None:
    fit, unfit = candidates(machine)

    assert not unfit
    assert fit[0].placement == DEFAULT
    for one in fit[1:]:
        assert one.asked is not None
        placed = place(machine, one.asked, one.threads)
        assert placed.places == one.places
        assert len(one.places) == one.instances
        taken = [cpu for cpus in one.cpus for cpu in cpus]
        assert len(set(taken)) == len(taken)  # no CPU twice
        assert all(len(cpus) == one.threads for cpus in one.cpus)


def test_no_layout_is_there_twice_and_every_variant_has_a_first(machine: Topology) -> None:
    fit, _ = candidates(machine)

    keys = [(one.cpus, one.threads, one.memory) for one in fit]
    assert len(set(keys)) == len(keys)
    firsts = {one.family for one in fit if one.role == "first"}
    assert {one.family for one in fit if one.role == "variant"} <= firsts


def test_domains_their_halves_and_pairs_are_tried_and_interleaved_where_they_span(
    tmp_path: Path,
) -> None:
    found = named(
        candidates(planted(tmp_path, MACHINES["two sockets, two nodes and four L3 each, SMT"]))[0]
    )

    assert found["per-l3"] == {(8, 4, "local"), (8, 2, "local"), (8, 8, "local")}
    assert (16, 2, "local") in found["2-per-l3"]
    assert (4, 8, "local") in found["per-numa"]
    assert {memory for _, _, memory in found["per-socket"]} == {"local", "interleave"}
    assert (1, 32, "interleave") in found["whole"]
    assert (32, 1, "local") in found["per-core"]
    assert found["one-l3"] == {(1, 4, "local")}
    assert found["within-l3"] == {(1, 2, "local")}
    assert found["default"] == {(1, 0, "")}


def test_one_node_needs_no_memory_policy(tmp_path: Path) -> None:
    fit, _ = candidates(planted(tmp_path, MACHINES["one L3"]))

    assert {one.memory for one in fit} == {""}


def test_a_single_instance_is_tried_on_the_fast_cores_of_a_hybrid_machine(tmp_path: Path) -> None:
    fit, _ = candidates(planted(tmp_path, MACHINES["hybrid"]))

    assert any(one.cpus == ((0, 2, 4, 6),) for one in fit)


def test_more_threads_than_control_groups_allow_are_not_tried_and_the_reason_is_told(
    tmp_path: Path,
) -> None:
    machine = Machine(cores=8, l3=4, node=8, quota="300000 100000")
    fit, unfit = candidates(planted(tmp_path, machine))

    assert fit
    assert all(one.instances * one.threads <= 3 for one in fit)
    assert "control groups allow 3 CPUs" in unfit[0].reason
    assert any(one.role == "first" for one in fit if one.placement != DEFAULT)


def test_cpus_that_are_not_allowed_are_in_no_layout(tmp_path: Path) -> None:
    fit, _ = candidates(planted(tmp_path, MACHINES["L3 as NUMA"], allowed="2-9"))

    assert {cpu for one in fit for cpus in one.cpus for cpu in cpus} <= set(range(2, 10))
    assert len({cpu for one in fit for cpus in one.cpus for cpu in cpus}) == 8
