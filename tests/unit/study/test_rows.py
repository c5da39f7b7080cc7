"""What a study reads of a profile: real recordings of a GPU, and hand-made ones."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from harness.analysis.device_time import DeviceTime, device_time
from harness.records import InputRecord, Profile, Reading
from harness.statistics.figures import Figure
from harness.study.figures import study
from harness.study.joining import Joined
from harness.study.rows import CPU, GPU, Row, Setting, row_of
from tests.builders.process_records import process, profile
from tests.builders.recordings import recorded, replayed


def read(of: Profile) -> Row:
    found = row_of(of)
    assert isinstance(found, Row)
    return found


def made(**columns: Any) -> Profile:
    processes = [process([1000, 1010, 990] * 200, index) for index in range(3)]
    return profile(*processes, path=Path("a.h5"), **columns)


def test_the_idle_share_of_a_gpu_is_what_its_account_leaves() -> None:
    whole = replayed("resnet50")
    found, told = read(whole), device_time(whole)
    assert isinstance(told, DeviceTime)
    assert found.setting.kind == GPU
    assert found.setting.device == "NVIDIA H200"
    # It was recorded under ORT's profiler, which lengthens the gaps, not the kernels.
    idle_ns = told.accounts.before_ns + told.accounts.idle_ns + told.accounts.after_ns
    assert found.idle_share.value == pytest.approx(idle_ns / (idle_ns + told.accounts.busy_ns))
    assert 0.5 < (found.idle_share.value or 0) < 0.95
    assert found.idle_doubt == told.accounts.doubt
    assert found.joules.value is not None


def test_an_older_recording_says_why_there_is_no_idle_share() -> None:
    found = read(dataclasses.replace(recorded("mlp"), timeline=None))
    assert found.idle_share.value is None
    assert found.idle_share.reason


def test_a_share_of_the_nominal_peak_of_the_recorded_gpu() -> None:
    found = study(Joined((read(recorded("resnet50")),), (), (), (), ()))
    (peak,) = found.peaks
    assert peak.peak == "494 TFLOP/s tf32"
    assert peak.share.value is not None
    assert 0.001 < peak.share.value < 0.1
    assert "data sheet" in peak.source


def test_the_batch_of_an_older_file_is_what_was_asked_for_and_fed() -> None:
    config = json.dumps({"inputs": {"batch": 8}})
    fed = InputRecord("x", "float32", (8, 3), "", "")
    assert read(made(config=config, inputs=(fed,))).setting.batch == 8
    other = dataclasses.replace(fed, shape=(4, 3))
    assert read(made(config=config, inputs=(fed, other))).setting.batch is None
    assert read(made(inputs=(fed,))).setting.batch is None
    told = Reading("items_per_inference", 4, "1")
    assert read(made(config=config, inputs=(fed,), environment=(told,))).setting.batch == 4


@pytest.mark.parametrize(
    ("text", "kind", "model"),
    [
        ("int8-dynamic of resnet50 0123456789ab", "int8-dynamic", "resnet50"),
        ("prune:0.5 of my net 0123456789ab (broken)", "prune:0.5 (broken)", "my net"),
        ("fp16 of  0123456789ab", "fp16", "m"),
        ("nonsense", "", "m"),
    ],
)
def test_a_variant_is_of_the_model_that_it_was_made_from(text: str, kind: str, model: str) -> None:
    found = read(made(environment=(Reading("variant", text),))).setting
    assert (found.variant, found.model) == (kind, model)


def test_a_profile_without_a_timed_pass_is_no_row() -> None:
    found = row_of(profile(path=Path("a.h5")))
    assert isinstance(found, Figure)
    assert "no process" in found.reason
    assert read(made()).setting.kind == CPU


def test_another_runtime_is_named_with_its_version() -> None:
    facts = (Reading("ort_version", "1.31"), Reading("runtime_version", "2.10"))
    config = json.dumps({"runtime": "torch"})
    assert read(made(environment=facts)).setting.runtime == "ort 1.31"
    assert read(made(environment=facts, config=config)).setting.runtime == "torch 2.10"


@pytest.mark.parametrize("odd", [-1, 2**40, 10**400])
def test_numbers_that_nobody_asked_for_are_none(odd: int) -> None:
    def threads(number: int) -> int | None:
        return read(made(config=json.dumps({"session": {"intra_threads": number}}))).setting.threads

    assert threads(2) == 2
    assert threads(odd) is None


def test_what_changes_precision_or_algorithm_is_another_setting() -> None:
    def setting(**session: Any) -> Setting:
        return read(made(config=json.dumps({"session": session}))).setting

    assert setting(provider_options={}) == setting(optimization="all", inter_threads=0)
    exact = setting(provider_options={"use_tf32": "0"})
    assert exact != setting()
    assert "use_tf32=0" in exact.told
    assert "session.dynamic_block_base=4" in setting(
        entries={"session.dynamic_block_base": "4"}
    ).told  # fmt: skip
    assert setting(provider_options=3, entries="odd").told == setting().told
    other = read(made(config=json.dumps({"runtime": "torch", "runtime_options": {"a": "b"}})))
    assert other.setting.told == "torch, a=b"
