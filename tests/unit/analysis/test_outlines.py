"""Which profiles are of the same thing, and which ones a list is asked for."""

from __future__ import annotations

import dataclasses
import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from harness.analysis.outlines import (
    Wanted,
    chosen,
    comparable,
    comparable_beside,
    device,
    inputs_line,
    options,
    options_line,
    outline_of,
)
from harness.commands.list import moment
from harness.errors import RequestError
from harness.records import InputRecord, Outline
from harness.storage.profile_file import read_profile, write_profile

SAMPLE = Path(__file__).parents[3] / "profiles/sample.h5"

SESSION = {"provider": "cpu", "intra_threads": 1}
FACTS: dict[str, int | float | str] = {
    "cpu_model": "EPYC", "cpu_threads": 4, "affinity_cpus": 4, "ort_version": "1.31",
    "ort_build": "release", "host_name": "here",
}  # fmt: skip
INPUT = InputRecord("x", "float32", (1, 3), "", "abc")


def made(number: int = 0, **changes: Any) -> Outline:
    session = SESSION | changes.pop("session", {})
    asked = {"session": session, **changes.pop("asked", {})}
    values: dict[str, Any] = {
        "path": Path(f"{number}.h5"),
        "harness_version": "1",
        "created": f"2026-11-{number + 1:02d}T10:00:00+00:00",
        "complete": True,
        "config": json.dumps(asked),
        "provider": session["provider"],
        "model": "net",
        "model_sha256": "ab12cd34",
        "inputs": (INPUT,),
        "facts": FACTS | changes.pop("facts", {}),
        "processes": 10,
        "median_ns": 1000.0 + number,
        "interval_ns": (990.0, 1010.0),
        "samples": 100 + number,
    }
    return Outline(**values | changes)


BASE = made()


def test_a_later_profile_of_the_same_is_comparable_however_long_and_traced() -> None:
    other = made(3, asked={"duration_s": 0.5, "quick": True, "processes": 8, "trace": []})
    more = made(2, facts={"host_name": "renamed", "noise_verdict": "disturbed"}, processes=8)
    assert comparable(BASE, [other, BASE, more]) == [more, other], "the oldest first"


@pytest.mark.parametrize(
    "changes",
    [
        {"model_sha256": "other"},
        {"inputs": (dataclasses.replace(INPUT, shape=(2, 3)),)},
        {"inputs": (dataclasses.replace(INPUT, dtype="float16"),)},
        {"inputs": (dataclasses.replace(INPUT, sha256="other"),)},
        {"inputs": (INPUT, INPUT)},
        {"session": {"intra_threads": 2}},
        {"session": {"provider": "cuda"}},
        {"session": {"entries": {"a": "b"}}},
        {"session": {"optimization": "basic"}},
        {"session": {"no_arena": True}},
        {"asked": {"affinity": "0-1"}},
        {"facts": {"cpu_model": "Xeon"}},
        {"facts": {"affinity_cpus": 2}},
        {"facts": {"ort_version": "1.32"}},
        {"complete": False},
        {"median_ns": None},
    ],
)
def test_what_does_not_agree_is_not_comparable(changes: dict[str, Any]) -> None:
    assert comparable(BASE, [made(1, **changes)]) == []


def test_another_gpu_is_not_comparable() -> None:
    gpu = {"gpu_used": 1, "gpu0_name": "L4", "gpu1_name": "H200", "gpu_used_uuid": "GPU-1"}
    base = made(0, session={"provider": "cuda"}, facts=gpu)
    same = made(1, session={"provider": "cuda"}, facts=gpu)
    other = made(2, session={"provider": "cuda"}, facts=gpu | {"gpu_used": 0})
    driver = made(3, session={"provider": "cuda"}, facts=gpu | {"nvml_driver": "580.1"})
    assert comparable(base, [same, other, driver]) == [same]
    assert device(base) == "H200"
    assert device(BASE) == "EPYC"
    # On the CPU, GPUs do not matter.
    assert comparable(BASE, [made(1, facts=gpu)]) == [made(1, facts=gpu)]


def test_an_option_that_an_older_version_did_not_know_was_at_its_default() -> None:
    assert len(comparable(BASE, [made(1, session={"no_arena": False, "custom_ops": []})])) == 1


def test_copies_and_the_sides_of_a_pair_are_one_occasion() -> None:
    other, candidate = made(1), made(2)
    copy = dataclasses.replace(other, path=Path("copy.h5"))
    of_base = dataclasses.replace(BASE, path=Path("of-base.h5"))
    of_candidate = dataclasses.replace(candidate, path=Path("of-candidate.h5"))
    sides = [made(n, asked={"interleaved_with": "x"}) for n in (4, 5)]
    found = comparable(
        BASE, [other, copy, of_base, candidate, of_candidate, *sides], without=[candidate]
    )
    assert found == [other, sides[0]]


def test_a_profile_that_was_read_is_the_one_of_its_outline() -> None:
    whole = outline_of(read_profile(SAMPLE))
    stored = dataclasses.replace(whole, path=Path("copy.h5"), median_ns=2318.5)
    assert comparable(whole, [stored]) == []
    with pytest.raises(ValueError, match="not stored"):
        outline_of(dataclasses.replace(read_profile(SAMPLE), path=None))


def test_the_comparable_ones_are_found_beside_the_base(tmp_path: Path) -> None:
    profile = read_profile(SAMPLE)
    for number in range(3):
        created = f"2026-11-2{number}T10:00:00+00:00"
        write_profile(dataclasses.replace(profile, created=created), tmp_path / f"{number}.h5")
    other = dataclasses.replace(profile, config='{"session": {"intra_threads": 7}}')
    write_profile(other, tmp_path / "other.h5")
    (tmp_path / "damaged.h5").write_text("no profile")
    base, candidate = (outline_of(read_profile(tmp_path / f"{n}.h5")) for n in (1, 2))
    found = comparable_beside(base, without=[candidate])
    assert [one.path for one in found] == [tmp_path / "0.h5"]
    assert [one.path.name for one in comparable_beside(base, tmp_path)] == ["0.h5", "2.h5"]


def test_options_are_told_where_they_differ_from_the_default() -> None:
    assert options(BASE) == {}
    told = made(session={"optimization": "basic", "entries": {"k": "v"}}, asked={"affinity": "0"})
    assert options(told) == {"optimization": "basic", "entries": {"k": "v"}, "affinity": "0"}
    assert options_line(told) == 'optimization=basic entries={"k": "v"} affinity=0'
    assert inputs_line(made(inputs=(INPUT, INPUT)), 1) == "float32 1x3 +1"
    assert inputs_line(made(inputs=(dataclasses.replace(INPUT, shape=()),)), 1) == "float32 scalar"


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        (Wanted(), True),
        (Wanted(model="NE"), True),
        (Wanted(model="nets"), False),
        (Wanted(model="AB12CD"), True),
        (Wanted(model="ab12"), False),  # so few characters are part of too many digests
        (Wanted(device="epyc"), True),
        (Wanted(device="H200"), False),
        (Wanted(provider="cpu"), True),
        (Wanted(provider="c"), False),
        (Wanted(since=datetime.datetime(2026, 11, 1, 10, tzinfo=datetime.UTC)), True),
        (Wanted(since=datetime.datetime(2026, 11, 1, 11, tzinfo=datetime.UTC)), False),
    ],
)
def test_what_a_list_is_asked_for(wanted: Wanted, fits: bool) -> None:
    assert chosen([BASE], wanted, "created") == [BASE] * fits


def test_the_order_of_a_list() -> None:
    two = [made(0, model="b", median_ns=None), made(1, model="a"), made(2, model="b")]
    orders = {"created": [2, 1, 0], "median": [1, 2, 0], "model": [1, 2, 0], "file": [0, 1, 2]}
    for order, expected in orders.items():
        assert chosen(two, Wanted(), order) == [two[n] for n in expected], order


@pytest.mark.parametrize("text", ["", "soon", "9999-99-99T", "1" * 400 + "-01-01"])
def test_a_profile_of_no_moment_is_listed_last_and_never_since(text: str) -> None:
    odd = made(created=text)
    assert chosen([odd, BASE], Wanted(), "created") == [BASE, odd]
    since = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    assert chosen([odd, BASE], Wanted(since=since), "created") == [BASE]


def test_moments() -> None:
    now = datetime.datetime.now(datetime.UTC)
    week = datetime.timedelta(weeks=1)
    assert abs(now - moment("7d") - week) < datetime.timedelta(minutes=1)
    assert abs(moment("1w") - moment("168h")) < datetime.timedelta(minutes=1)
    assert moment("2026-11-28T12:00+01:00").isoformat() == "2026-11-28T11:00:00+00:00"
    local = datetime.datetime(2026, 11, 28).astimezone(datetime.UTC)
    assert moment("2026-11-28") == local
    for early in ("0001-01-01", "9999-12-31T23:59"):
        assert moment(early).isoformat()[:4] == early[:4]
    for wrong in ("", "7", "7y", "-7d", "yesterday", "999999w", "0001-01-01T00:00+23:59"):
        with pytest.raises(RequestError, match="`since`"):
            moment(wrong)


def test_options_tell_callers_side_by_side() -> None:
    grouped = dataclasses.replace(
        made(), config=json.dumps({"session": SESSION, "instances": "per-l3", "concurrency": None})
    )
    assert options(grouped) == {"instances": "per-l3"}
    assert options_line(grouped) == "instances=per-l3"
