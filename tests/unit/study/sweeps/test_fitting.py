"""Cells on machines: relative values, and what does not fit."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from harness.config.profile import ProfileConfig
from harness.machine.cpu_lists import cpu_list
from harness.options import words
from harness.study.sweeps.cells import Cell, cells_of
from harness.study.sweeps.fitting import DoesNotFitError, Machine
from harness.study.sweeps.plan import read_plan
from harness.study.sweeps.settings import Names
from harness.study.sweeps.state import states
from tests.builders.sysfs import Machine as Tree
from tests.builders.sysfs import plant

pytest.importorskip("harness.native.ort", reason="the native module is not built")

#: 2 sockets of 16 cores, 4 to an L3 domain, 8 to a NUMA node, 2 threads each.
EPYC = Tree(sockets=2, cores=16, l3=4, node=8, threads=2)


def machine(folder: Path, tree: Tree) -> Machine:
    root = plant(folder / "root", tree)
    cpus = tree.sockets * tree.cores * tree.threads
    return Machine(root, frozenset(range(cpus)))


def cell(**axes: str | int) -> Cell:
    given = [(name, [str(value)]) for name, value in {"model": "mlp", **axes}.items()]
    return cells_of(read_plan(None, words(), given))[0]


def fitted(on: Machine, **axes: str | int) -> ProfileConfig:
    return on.fit(cell(**axes))


def why_not(on: Machine, **axes: str | int) -> str:
    with pytest.raises(DoesNotFitError) as caught:
        fitted(on, **axes)
    return str(caught.value)


def test_threads_relative_to_the_machine_count_its_cores(tmp_path: Path) -> None:
    on = machine(tmp_path, EPYC)
    asked = {
        text: fitted(on, threads=text).session.intra_threads
        for text in ("all", "half", "per-socket", "per-numa", "per-l3", "per-core", "default")
    }
    assert asked == {
        "all": 32, "half": 16, "per-socket": 16, "per-numa": 8, "per-l3": 4, "per-core": 1,
        "default": 0,
    }  # fmt: skip


def test_threads_of_an_instance_are_those_of_its_share(tmp_path: Path) -> None:
    on = machine(tmp_path, EPYC)
    assert fitted(on, placement="per-l3", threads="all").session.intra_threads == 4
    assert fitted(on, instances=16, threads="all").session.intra_threads == 2
    assert fitted(on, placement="2-l3", threads="half").session.intra_threads == 4
    assert fitted(on, placement="2-l3", instances=2, threads="all").session.intra_threads == 4


def test_a_placement_is_instances_or_a_part_of_the_machine(tmp_path: Path) -> None:
    on = machine(tmp_path, EPYC)
    assert fitted(on, placement="per-numa").instances == "per-numa"
    part = fitted(on, placement="3-l3", instances=3)
    assert part.instances == 3
    assert part.affinity is not None
    cpus = cpu_list(part.affinity)
    assert len(cpus) == 24  # of 12 cores, both threads
    assert cpus[:12] == list(range(12))
    assert fitted(on, placement="default").affinity is None


def test_what_a_machine_lacks_is_said(tmp_path: Path) -> None:
    on = machine(tmp_path, EPYC)
    assert why_not(on, threads=65) == "65 threads on 64 CPUs"
    assert why_not(on, placement="1-l3", threads=9) == "9 threads on 8 CPUs"
    assert why_not(on, placement="9-l3") == "placement 9-l3: this machine has 8 L3 domains"
    assert why_not(on, placement="3-socket") == "placement 3-socket: this machine has 2 sockets"
    assert why_not(on, instances=8, threads=16) == "8 instances of 16 threads on 64 CPUs"
    assert why_not(on, instances=100) == "100 instances on 64 CPUs"
    assert "no CPU 64" in why_not(on, affinity="60-64")
    assert "no such file" in why_not(on, ort_library="/nowhere/libonnxruntime.so")


def test_a_small_machine_skips_what_needs_a_large_one(tmp_path: Path) -> None:
    on = machine(tmp_path, Tree(cores=2, l3=0, node=0))
    assert "no cache of level 3" in why_not(on, placement="per-l3")
    assert "no cache of level 3" in why_not(on, placement="1-l3")
    assert why_not(on, instances="per-l3").endswith(
        why_not(on, threads="per-l3")[len("threads ") :]
    )
    assert fitted(on, instances="per-numa", threads="per-numa").session.intra_threads == 2
    assert why_not(on, instances=1, memory="interleave") == (
        "1 NUMA node: there is nothing to interleave over"
    )
    assert fitted(on, instances=1, memory="local").memory == "local"


def test_control_groups_bound_how_many_cores_all_is(tmp_path: Path) -> None:
    on = machine(tmp_path, Tree(cores=8, l3=8, node=8, quota="250000 100000"))
    assert fitted(on, threads="all").session.intra_threads == 2


def test_the_number_of_processes_is_fixed_before_the_rounds(tmp_path: Path) -> None:
    on = machine(tmp_path, EPYC)
    assert fitted(on).processes == 10
    assert fitted(on, quick="true").processes == 3
    assert fitted(on, instances=2).processes == 5  # groups
    assert fitted(on, processes=7).processes == 7


def test_two_cells_that_are_the_same_here_are_measured_once(tmp_path: Path) -> None:
    on = machine(tmp_path, Tree(cores=2, l3=2, node=2))
    axes = [("model", ["mlp"]), ("threads", ["1", "half", "2", "all"])]
    cells = cells_of(read_plan(None, words(), axes))
    found = states(tmp_path / "results", cells, on)
    assert [(one.status, one.reason) for one in found] == [
        ("pending", ""),
        ("skipped", "the same as cell 1 on this machine"),
        ("pending", ""),
        ("skipped", "the same as cell 3 on this machine"),
    ]
    # Numbers and identities are the same wherever they are asked for.
    other = machine(tmp_path / "other", EPYC)
    elsewhere = states(tmp_path / "results", cells, other)
    assert [one.cell for one in elsewhere] == [one.cell for one in found]
    assert {one.status for one in elsewhere} == {"pending"}


def test_what_one_cell_may_not_set_is_held_against_no_other(tmp_path: Path) -> None:
    on = machine(tmp_path, EPYC)
    (plain,) = cells_of(read_plan(None, words(), [("model", ["mlp"])]))
    option = Names(words()).of("provider_options.device_id")
    assert option is not None
    # Read from a plan, it would be refused at once; what a machine remembers must not rest on that.
    odd = dataclasses.replace(plain, settings={**plain.settings, option: "0"})
    for cell, why in ((odd, "has no options"), (plain, ""), (odd, "has no options"), (plain, "")):
        if why:
            with pytest.raises(DoesNotFitError, match=why):
                on.fit(cell)
        else:
            assert on.fit(cell).session.provider == "cpu"


def test_a_library_whose_name_no_file_can_have_does_not_fit(tmp_path: Path) -> None:
    on = machine(tmp_path, EPYC)
    assert "too long" in why_not(on, ort_library="/" + "x" * 300)
