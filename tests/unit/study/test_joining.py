"""Many profiles as one table: none lost, in any order, machines recognised."""

from __future__ import annotations

import dataclasses
import itertools
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import RequestError
from harness.study import joining
from harness.study.joining import join, short_cpu
from harness.study.rows import Host, Row
from tests.builders.study_rows import HOST, row

SAMPLE = Path(__file__).parents[3] / "profiles" / "study-sample"


def host(name: str = "host", cpu: str = "Xeon", gpus: Sequence[str] = ()) -> Host:
    return Host((name, cpu, "1", "8", "16"), frozenset(gpus), cpu, 16, ("L4",) * len(gpus))


def names(rows: Sequence[Row], folders: dict[str, Path] | None = None) -> list[str]:
    return [one.machine for one in joining._named(rows, folders or {})]


def alike(*hosts: Host) -> list[bool]:
    """Whether each host is told to be the first one's machine."""
    rows = [row(1.0, name=f"/x/{k}.h5", host=one, machine="") for k, one in enumerate(hosts)]
    found = names(rows)
    return [one == found[0] for one in found]


def test_a_machine_is_recognised_by_its_facts() -> None:
    assert alike(host(), host()) == [True, True]
    assert alike(host(), host("other")) == [True, False]
    assert alike(host(), host(cpu="EPYC")) == [True, False]
    # A container has a fresh name each time: its GPU tells.
    assert alike(host("a", gpus=["GPU-1"]), host("b", gpus=["GPU-1"])) == [True, True]
    # Two machines of a cloud may have equal names: their GPUs tell.
    assert alike(host(gpus=["GPU-1"]), host(gpus=["GPU-2"])) == [True, False]
    # A profile that names no GPU is of the only machine that agrees otherwise …
    assert alike(host(gpus=["GPU-1"]), host()) == [True, True]
    # … and of neither of two.
    found = alike(host(gpus=["GPU-1"]), host(gpus=["GPU-2"]), host())
    assert found == [True, False, False]


def booted(boot: str, began_s: float, measured_s: float, name: str = "host") -> Host:
    return dataclasses.replace(host(name), boot=boot, up_s=(began_s, measured_s))


def test_boots_tell_machines_of_one_name_apart() -> None:
    hour = 3600.0
    first = booted("a", 1 * hour, 3 * hour)
    # Booted again after it had been measured: the same machine may well be.
    assert alike(first, booted("b", 4 * hour, 5 * hour)) == [True, True]
    # Booted while the other was up: another machine, whichever was measured first.
    assert alike(first, booted("b", 2 * hour, 5 * hour)) == [True, False]
    assert alike(first, booted("b", 0 * hour, 2 * hour)) == [True, False]
    # A clock that was set by a few seconds tells nothing.
    assert alike(first, booted("b", 3 * hour - 5, 5 * hour)) == [True, True]
    # What does not tell its boot is of neither.
    found = alike(first, booted("b", 2 * hour, 5 * hour), host())
    assert found == [True, False, False]
    # A container has a fresh name each time: the boot of its host tells.
    assert alike(first, booted("a", 1 * hour, 6 * hour, "other")) == [True, True]


def test_nothing_is_known_of_two_machines_without_facts() -> None:
    unknown = Host(("", "", "", "", ""), frozenset(), "", 0, ())
    assert alike(unknown, unknown) == [True, False]


def test_names_can_be_given() -> None:
    rows = [row(1.0, name="/a/1.h5", machine=""), row(2.0, name="/b/2.h5", machine="")]
    assert len(set(names(rows))) == 1
    folders = {"left": Path("/a"), "right": Path("/b")}
    assert names(rows, folders) == ["left", "right"]
    # Others that are recognised as a named machine get its name, too.
    assert names(rows, {"left": Path("/a")}) == ["left", "left"]
    inner = {"all": Path("/"), "left": Path("/a")}
    assert names(rows, inner) == ["left", "all"]


hosts = st.builds(
    host, st.sampled_from(["a", "b"]), st.sampled_from(["X", "Y"]),
    st.lists(st.sampled_from(["GPU-1", "GPU-2", "GPU-3"]), max_size=2, unique=True),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(hosts, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_order_does_not_matter_and_nothing_is_lost(
    given_hosts: list[Host], shuffled: random.Random
) -> None:
    rows = [row(1.0 + k, name=f"/x/{k}.h5", host=one) for k, one in enumerate(given_hosts)]
    other = list(rows)
    shuffled.shuffle(other)

    def partition(of: Sequence[Row]) -> set[frozenset[Path]]:
        named = sorted(joining._named(of, {}), key=lambda one: one.machine)
        groups = itertools.groupby(named, key=lambda one: one.machine)
        return {frozenset(one.file for one in group) for _, group in groups}

    first = partition(rows)
    assert first == partition(other)
    assert sum(map(len, first)) == len(rows)
    # Hosts that agree entirely are never apart.
    for one, two in itertools.combinations(rows, 2):
        if one.host == two.host:
            assert any({one.file, two.file} <= group for group in first) or not one.host.gpus


def test_every_file_is_a_row_or_is_named_with_its_reason(tmp_path: Path) -> None:
    whole = SAMPLE / "resnet50-b1-cpu.h5"
    inner = tmp_path / "sweep" / "cells"
    inner.mkdir(parents=True)
    shutil.copy(whole, tmp_path / "one.h5")
    shutil.copy(whole, inner / "copy.h5")
    shutil.copy(SAMPLE / "resnet50-b32-cpu.h5", inner / "interrupted.h5")
    (tmp_path / "damaged.h5").write_bytes(whole.read_bytes()[:5000])
    (tmp_path / "empty.h5").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("not a profile")
    (inner / ".left.h5.partial").mkdir()
    (inner / "cell-3.failed.json").write_text('{"message": "no room"}')
    found = join([tmp_path])
    assert [one.file.name for one in found.rows] == ["copy.h5", "interrupted.h5"] or [
        one.file.name for one in found.rows
    ] == ["one.h5", "interrupted.h5"]
    assert [file.name for file in found.incomplete] == ["interrupted.h5"]
    assert {one.name for pair in found.copies for one in pair} == {"copy.h5", "one.h5"}
    left = {file.name: reason for file, reason in found.left_out}
    assert left.keys() == {"damaged.h5", "empty.h5", ".left.h5.partial", "cell-3.failed.json"}
    assert left["cell-3.failed.json"].endswith("no room")
    assert "harness recover" in left[".left.h5.partial"]
    again = join([inner, tmp_path / "damaged.h5", tmp_path / "one.h5", tmp_path])
    assert [one.file for one in again.rows] == [one.file for one in found.rows]
    assert again.left_out == found.left_out


def test_a_name_that_is_given_counts_wherever_copies_lie(tmp_path: Path) -> None:
    for place in ("all", "named"):
        (tmp_path / place).mkdir()
        shutil.copy(SAMPLE / "mlp-b1-cpu.h5", tmp_path / place)
    (tmp_path / "link").symlink_to(tmp_path / "named")
    for folder in ("named", "link", "all/../named"):
        found = join([tmp_path / "all"], {"L4 box": tmp_path / folder})
        assert [one.machine for one in found.rows] == ["L4 box"]
        assert len(found.copies) == 1


def test_names_of_nothing_and_two_names_of_one_place_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no such folder"):
        join([SAMPLE], {"L4": tmp_path / "nowhere"})
    with pytest.raises(RequestError, match="both are"):
        join([SAMPLE], {"one": SAMPLE, "two": SAMPLE / ".." / SAMPLE.name})


def test_what_is_not_looked_at_is_named_and_ends_nothing(tmp_path: Path) -> None:
    deep = tmp_path / "many"
    for _ in range(300):
        deep = deep / "d"
    deep.mkdir(parents=True)
    shutil.copy(SAMPLE / "mlp-b1-cpu.h5", deep)
    (tmp_path / "link").symlink_to(SAMPLE)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    found = join([tmp_path])
    assert len(found.rows) == 1
    assert [(path.name, "link" in why) for path, why in found.left_out] == [("link", True)]
    with pytest.raises(RequestError, match="no such folder"):
        join([tmp_path], {"x": tmp_path / "loop"})


def test_an_odd_name_of_a_cpu_costs_no_time() -> None:
    assert short_cpu("@" * 200_000 + "\nx") == ""


def test_different_models_of_one_name_are_told_apart() -> None:
    rows = [row(1.0, original="a" * 12), row(2.0, original="b" * 12), row(3.0, model="other"),
            row(4.0, variant="fp16", original="a" * 12), row(5.0, variant="int8")]  # fmt: skip
    apart = [one.setting.model for one in joining._models_apart(rows)]
    assert apart == ["m aaaaaaaa", "m bbbbbbbb", "other", "m aaaaaaaa", "m of unknown origin"]
    assert joining._models_apart(rows[1:3]) == rows[1:3]


def test_nothing_to_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no profile to study"):
        join([tmp_path])
    with pytest.raises(RequestError, match="no such file"):
        join([tmp_path / "none.h5"])


def test_a_cpu_is_named_without_trade_marks() -> None:
    assert short_cpu("Intel(R) Xeon(R) Processor") == "Intel Xeon"
    assert short_cpu("AMD EPYC 9965 192-Core Processor") == "AMD EPYC 9965"
    assert dataclasses.replace(HOST).threads == 16
