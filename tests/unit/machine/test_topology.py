from __future__ import annotations

import dataclasses
import functools
import os
from pathlib import Path
from typing import Protocol

import pytest

from harness.errors import RequestError
from harness.machine.placement import PER, place
from harness.machine.topology import Topology, described, topology
from tests.builders.sysfs import Machine, numbers, plant

EPYC_9965 = Machine(sockets=2, cores=192, l3=16, node=192)
SMT = Machine(sockets=2, cores=192, l3=16, node=192, threads=2)
MACHINES = {
    "EPYC 9965 x2, NPS1": EPYC_9965,
    "EPYC 9965 x2, NPS1, SMT": SMT,
    "EPYC 9965 x2, NPS4": Machine(sockets=2, cores=192, l3=16, node=48),
    "EPYC 9965 x2, NPS4, SMT": Machine(sockets=2, cores=192, l3=16, node=48, threads=2),
    "EPYC 9965 x2, L3 as NUMA": Machine(sockets=2, cores=192, l3=16, node=16),
    "EPYC 9965 x2, L3 as NUMA, SMT": Machine(sockets=2, cores=192, l3=16, node=16, threads=2),
    "EPYC 9654": Machine(sockets=1, cores=96, l3=8, node=96, threads=2),
    "Xeon 8480+ x2, SNC4": Machine(sockets=2, cores=56, l3=56, node=14, threads=2),
    "hybrid desktop": Machine(cores=24, l3=24, node=24, threads=2, adjacent=True, efficient=16),
    "VM without L3": Machine(cores=8, l3=0, node=8),
    "container without nodes": Machine(cores=8, l3=4, node=0),
}
#: Domains of each: sockets, NUMA nodes, L3 domains, cores.
COUNTS = {
    "EPYC 9965 x2, NPS1": (2, 2, 24, 384),
    "EPYC 9965 x2, NPS1, SMT": (2, 2, 24, 384),
    "EPYC 9965 x2, NPS4": (2, 8, 24, 384),
    "EPYC 9965 x2, NPS4, SMT": (2, 8, 24, 384),
    "EPYC 9965 x2, L3 as NUMA": (2, 24, 24, 384),
    "EPYC 9965 x2, L3 as NUMA, SMT": (2, 24, 24, 384),
    "EPYC 9654": (1, 1, 12, 96),
    "Xeon 8480+ x2, SNC4": (2, 8, 8, 112),  # an L3 is cut where NUMA nodes cut it
    "hybrid desktop": (1, 1, 1, 24),
    "VM without L3": (1, 1, 1, 8),
    "container without nodes": (1, 1, 2, 8),
}


class Trees(Protocol):
    """The topology of a machine, of which a process may use all CPUs or those allowed."""

    def __call__(self, machine: Machine, allowed: str = "") -> Topology: ...


@pytest.fixture(scope="module")
def of(tmp_path_factory: pytest.TempPathFactory) -> Trees:
    first_with: dict[Machine, Path] = {}  # these CPUs, whatever the nodes

    @functools.cache
    def planted(machine: Machine) -> Path:
        cpus = dataclasses.replace(machine, node=0)
        root = plant(tmp_path_factory.mktemp("machine"), machine, first_with.get(cpus))
        first_with.setdefault(cpus, root)
        return root

    @functools.cache
    def found(machine: Machine, allowed: str = "") -> Topology:
        root = planted(machine)
        online = (root / "sys/devices/system/cpu/online").read_text()
        return topology(root, numbers(allowed or online))

    return found


@pytest.mark.parametrize("name", MACHINES)
def test_domains_are_those_of_the_machine(of: Trees, name: str) -> None:
    found = of(MACHINES[name])

    assert tuple(len(found.domains(domain)) for domain in PER.values()) == COUNTS[name]


@pytest.mark.parametrize("layout", PER)
@pytest.mark.parametrize("name", MACHINES)
def test_a_layout_gives_each_domain_its_cores(of: Trees, name: str, layout: str) -> None:
    found = of(MACHINES[name])
    by_number = {cpu.number: cpu for cpu in found.cpus}
    wanted = PER[layout]

    placed = place(found, layout)

    assert len(placed.places) == COUNTS[name][list(PER).index(layout)]
    assert placed.threads * len(placed.places) == COUNTS[name][3]
    taken = [cpu for one in placed.places for cpu in one.cpus]
    assert len(set(taken)) == len(taken)
    cores = [by_number[cpu].core for cpu in taken]
    assert len(set(cores)) == len(cores)  # no two on siblings
    for one in placed.places:
        assert len({by_number[cpu].member_of(wanted) for cpu in one.cpus}) == 1
        assert set(one.nodes) == {by_number[cpu].node for cpu in one.cpus}


def test_24_instances_on_the_measured_original_are_one_for_each_l3(of: Trees) -> None:
    for name in (name for name in MACHINES if "9965" in name):
        found = of(MACHINES[name])

        assert place(found, 24) == place(found, "per-l3")
        assert place(found, 24).places[1].cpus == tuple(range(16, 32))


def test_fewer_instances_than_domains_get_whole_ones_next_to_each_other(of: Trees) -> None:
    found = of(MACHINES["EPYC 9965 x2, NPS4"])

    placed = place(found, 4)

    assert [one.nodes for one in placed.places] == [(0, 1), (2, 3), (4, 5), (6, 7)]
    assert placed.threads == 96
    assert place(found, 1).places[0].nodes == tuple(range(8))


def test_several_instances_in_a_domain_do_not_cross_its_border(of: Trees) -> None:
    found = of(EPYC_9965)

    placed = place(found, 48)

    assert placed.threads == 8
    by_number = {cpu.number: cpu for cpu in found.cpus}
    for one in placed.places:
        assert len({by_number[cpu].l3 for cpu in one.cpus}) == 1


def test_threads_stay_in_as_few_l3_domains_as_possible(of: Trees) -> None:
    found = of(EPYC_9965)

    placed = place(found, "per-socket", threads=8)

    assert [one.cpus for one in placed.places] == [tuple(range(8)), tuple(range(192, 200))]


def test_siblings_are_used_only_when_asked_for(of: Trees) -> None:
    found = of(SMT)

    assert place(found, "per-l3").places[0].cpus == tuple(range(16))
    both = place(found, "per-l3", threads=32).places[0].cpus
    assert both == (*range(16), *range(384, 400))
    with pytest.raises(RequestError, match="33 threads on 32 CPUs"):
        place(found, "per-l3", threads=33)


def test_only_allowed_cpus_are_used_and_shares_stay_equal(of: Trees) -> None:
    found = of(EPYC_9965, allowed="0-95")
    assert len(place(found, "per-l3").places) == 6
    assert len(place(found, "per-socket").places) == 1

    cut = of(EPYC_9965, allowed="0-39")
    placed = place(cut, "per-l3")

    assert [len(one.cpus) for one in placed.places] == [8, 8, 8]
    assert placed.notes == ("16 cores stay idle, as all instances get the same 8",)


def test_a_core_whose_first_thread_is_not_allowed_is_used_by_its_other_one(of: Trees) -> None:
    found = of(Machine(cores=2, l3=2, node=2, threads=2), allowed="2-3")

    assert place(found, "per-core").places == (((2,), (0,)), ((3,), (0,)))


def test_offline_and_isolated_cpus_are_told_and_the_former_not_used(of: Trees) -> None:
    machine = Machine(cores=8, l3=4, node=8, offline=(0, 5), isolated="6-7")
    found = of(machine)

    assert found.offline == (0, 5)
    assert found.isolated == (6, 7)
    assert [one.cpus for one in place(found, "per-l3", threads=2).places] == [(1, 2), (4, 6)]
    assert "offline: 0,5" in described(found)
    assert "isolated: 6-7" in described(found)


def test_performance_cores_come_first_and_mixed_ones_are_told(of: Trees) -> None:
    found = of(MACHINES["hybrid desktop"])

    assert place(found, 1, threads=8).places[0].cpus == tuple(range(0, 16, 2))
    assert not place(found, 1, threads=8).notes
    assert "not alike" in place(found, "per-core").notes[0]
    assert described(found)[0] == "1 socket, 1 NUMA node, 1 L3 domain, 24 cores, 32 CPUs"


def test_where_no_l3_is_told_numa_nodes_stand_in_and_it_is_said(of: Trees) -> None:
    found = of(MACHINES["VM without L3"])

    placed = place(found, "per-l3")

    assert [one.cpus for one in placed.places] == [tuple(range(8))]
    assert "taken as per-numa" in placed.notes[0]
    assert "cache of level 3" in described(found)[-1]


def test_memory_comes_from_the_nearest_node_that_has_some(of: Trees) -> None:
    machine = Machine(sockets=2, cores=8, l3=4, node=4, bare=(1,), memories="1-3")
    found = of(machine)

    assert [one.nodes for one in place(found, "per-numa").places] == [(2,), (2,), (2,), (3,)]


def test_more_instances_than_cores_and_than_cpus_are_told(of: Trees) -> None:
    found = of(Machine(cores=2, l3=2, node=2, threads=2))

    siblings = place(found, 4)
    assert sorted(cpu for one in siblings.places for cpu in one.cpus) == [0, 1, 2, 3]
    assert "share cores" in siblings.notes[0]
    shared = place(found, 5)
    assert len(shared.places) == 5
    assert "5 instances share 4 CPUs" in shared.notes[0]
    assert "they wait" in place(found, 2, threads=3).notes[0]


def test_a_quota_is_told(of: Trees) -> None:
    found = of(Machine(cores=8, l3=4, node=8, quota="200000 100000"))

    assert place(found, "per-l3").notes == ("control groups allow 2 CPUs, so 8 threads will stall",)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 24, 100, 383, 384])
def test_any_number_of_instances_gets_equal_shares_of_cores_of_their_own(
    of: Trees, count: int
) -> None:
    found = of(SMT)

    placed = place(found, count)

    assert len(placed.places) == count
    assert {len(one.cpus) for one in placed.places} == {placed.threads}
    taken = [cpu for one in placed.places for cpu in one.cpus]
    assert len(set(taken)) == len(taken)
    assert max(taken) < 384  # one thread a core


def test_an_unknown_layout_is_refused(of: Trees) -> None:
    with pytest.raises(RequestError, match="no such layout"):
        place(of(Machine()), "per-die")


@pytest.mark.parametrize("number", [0, -1])
def test_fewer_than_one_instance_or_thread_is_refused(of: Trees, number: int) -> None:
    with pytest.raises(RequestError, match=f"instances {number}: there must be at least one"):
        place(of(Machine()), number)
    for instances in (2, "per-core"):
        with pytest.raises(RequestError, match=f"intra_threads {number}: there must be"):
            place(of(Machine()), instances, threads=number)


def test_an_empty_tree_is_one_node_of_the_allowed_cpus(tmp_path: Path) -> None:
    found = topology(tmp_path, {0, 1})

    assert [cpu.number for cpu in found.usable] == [0, 1]
    assert {what for what, _ in found.absent} == {"topology", "NUMA nodes", "L3 domains"}
    assert len(place(found, "per-core").places) == 2


@pytest.mark.parametrize("name", MACHINES)
def test_the_drawing_takes_few_lines_and_tells_the_shape(of: Trees, name: str) -> None:
    lines = described(of(MACHINES[name]))

    assert len(lines) <= 3
    assert f"{COUNTS[name][3]} cores" in lines[0]


def test_this_machine_is_described() -> None:
    found = topology()

    assert {cpu.number for cpu in found.usable} == os.sched_getaffinity(0)
    assert place(found, "per-core").threads == 1
