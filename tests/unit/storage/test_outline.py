"""What a file says about itself, read without its samples."""

from __future__ import annotations

import dataclasses
import gzip
import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from harness.analysis.outlines import outline_of
from harness.errors import ProfileFileError
from harness.records import InputRecord, Profile, Reading
from harness.storage.profile_file import read_outline, read_profile, write_profile

ROOT = Path(__file__).parents[3]
GOLDEN: dict[str, Any] = runpy.run_path(str(ROOT / "tests/golden/make_profile_v1.py"))
RECORDINGS = sorted((ROOT / "tests/gpu/recordings").glob("*.h5.gz"))
SAMPLE = ROOT / "profiles/sample.h5"


def golden(**changes: object) -> Profile:
    profile: Profile = GOLDEN["golden_profile"]()
    return dataclasses.replace(profile, **changes)


@pytest.mark.parametrize(
    "path", [GOLDEN["GOLDEN"], SAMPLE, *RECORDINGS], ids=lambda path: path.name
)
def test_it_says_of_every_old_file_what_the_whole_reader_says(path: Path, tmp_path: Path) -> None:
    if path.suffix == ".gz":
        plain = tmp_path / path.stem
        plain.write_bytes(gzip.decompress(path.read_bytes()))
        path = plain
    outline, whole = read_outline(path), outline_of(read_profile(path))
    # Figures are those that were stored: older versions calculated some of them otherwise.
    with h5py.File(path) as file:
        assert outline.median_ns == file["summary/latency_median_ns"][()]
    assert outline.median_ns == pytest.approx(whole.median_ns, rel=0.005)
    figures: dict[str, Any] = {"median_ns": None, "interval_ns": None}
    assert dataclasses.replace(outline, **figures) == dataclasses.replace(whole, **figures)


texts = some.text(some.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
names = some.sampled_from(
    ["cpu_model", "affinity_cpus", "ort_version", "gpu_used", "gpu0_name", "gpu12_name", "kernel"]
)
values = some.one_of(some.none(), texts, some.integers(-(2**63), 2**64 - 1), some.floats(0, 1e300))
inputs = some.builds(
    InputRecord,
    name=texts,
    dtype=texts,
    shape=some.lists(some.integers(0, 2**40), max_size=4).map(tuple),
    chosen_because=texts,
    sha256=texts,
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    complete=some.booleans(),
    config=some.dictionaries(texts, texts, max_size=3).map(json.dumps),
    provider=texts,
    fed=some.lists(inputs, max_size=3).map(tuple),
    facts=some.dictionaries(names, values, max_size=4),
    processes=some.integers(1, 12),
    durations=some.lists(some.integers(1, 2**40), min_size=1, max_size=9),
)
def test_it_says_of_a_new_file_exactly_what_the_whole_reader_says(
    tmp_path: Path,
    complete: bool,
    config: str,
    provider: str,
    fed: tuple[InputRecord, ...],
    facts: dict[str, Any],
    processes: int,
    durations: list[int],
) -> None:
    made = []
    for index in range(processes):
        process = GOLDEN["process"](1)
        steady = type(process.steady)(
            np.arange(len(durations)), np.array(durations, np.int64) + index
        )
        made.append(
            dataclasses.replace(process, index=index, steady=steady, enqueue_ns=np.empty(0, int))
        )
    profile = golden(
        complete=complete,
        config=config,
        provider=provider,
        inputs=fed,
        environment=tuple(Reading(name, value) for name, value in facts.items()),
        processes=tuple(made),
        nodes=None,
        traces={},
    )
    path = tmp_path / "made.h5"
    write_profile(profile, path, force=True)
    assert read_outline(path) == outline_of(read_profile(path))


def test_a_profile_without_figures_has_none(tmp_path: Path) -> None:
    write_profile(golden(), tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file["summary"]
    outline = read_outline(tmp_path / "a.h5")
    assert (outline.median_ns, outline.interval_ns, outline.samples) == (None, None, None)
    assert outline.processes == 2


@pytest.mark.parametrize(("low", "high"), [(9e17, 1.0), (1.0, 2.0), (8e17, 9e17)])
def test_an_interval_that_does_not_hold_the_median_leaves_no_figures(
    tmp_path: Path, low: float, high: float
) -> None:
    write_profile(golden(), tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        for name, value in (("low", low), ("high", high)):
            stored = f"summary/latency_interval_{name}_ns"
            if stored in file:
                del file[stored]
            file[stored] = value
    outline = read_outline(tmp_path / "a.h5")
    assert (outline.median_ns, outline.interval_ns, outline.samples) == (None, None, None)


def test_samples_are_not_read(tmp_path: Path) -> None:
    """So a damaged sample is found by whoever reads it, not by a list."""
    path = tmp_path / "a.h5"
    write_profile(golden(), path)
    with h5py.File(path, "a") as file:
        del file["processes/000/latency/duration_ns"]
        del file["nodes"]
    assert read_outline(path).model == golden().model.name
    with pytest.raises(ProfileFileError, match="duration_ns: is missing"):
        read_profile(path)


def summary_of_text(file: h5py.File) -> None:
    del file["summary/latency_median_ns"]
    file["summary/latency_median_ns"] = "fast"


def summary_of_no_number(file: h5py.File) -> None:
    file["summary/latency_median_ns"][()] = np.nan


def summary_below_zero(file: h5py.File) -> None:
    file["summary/latency_interval_low_ns"][()] = -1.0


def summary_of_many(file: h5py.File) -> None:
    del file["summary/latency_samples"]
    file["summary/latency_samples"] = np.ones(3)


def summary_elsewhere(file: h5py.File) -> None:
    del file["summary"]
    file["summary"] = h5py.ExternalLink("/etc/passwd", "/summary")


def shapes_of_no_list(file: h5py.File) -> None:
    file["inputs/shape"][0] = '{"a": 1}'


def facts_of_two_lengths(file: h5py.File) -> None:
    del file["environment/value"]
    file.create_dataset("environment/value", data=["1"], dtype=h5py.string_dtype())


def fact_of_no_kind(file: h5py.File) -> None:
    file["environment/kind"][0] = "complex"


def config_of_no_object(file: h5py.File) -> None:
    file.attrs["config"] = "[1]"


def created_of_no_text(file: h5py.File) -> None:
    file.attrs["created"] = np.arange(3)


def no_process(file: h5py.File) -> None:
    del file["processes/000"]
    del file["processes/001"]


def model_of_no_name(file: h5py.File) -> None:
    del file["model"].attrs["name"]


@pytest.mark.parametrize(
    "harm",
    [
        summary_of_text, summary_of_no_number, summary_below_zero, summary_of_many,
        summary_elsewhere, shapes_of_no_list, facts_of_two_lengths, fact_of_no_kind,
        config_of_no_object, created_of_no_text, no_process, model_of_no_name,
    ],
)  # fmt: skip
def test_what_is_wrong_with_it_is_one_error_that_names_the_file(
    harm: Callable[[h5py.File], None], tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"
    write_profile(golden(), path)
    with h5py.File(path, "a") as file:
        harm(file)
    with pytest.raises(ProfileFileError, match=r"a\.h5: damaged: ") as caught:
        read_outline(path)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("size", [0, 7, 8, 100, 5_000, 60_000])
def test_a_file_that_was_cut_is_one_error(size: int, tmp_path: Path) -> None:
    path = tmp_path / "cut.h5"
    path.write_bytes(SAMPLE.read_bytes()[:size])
    with pytest.raises(ProfileFileError, match=r"cut\.h5: "):
        read_outline(path)
