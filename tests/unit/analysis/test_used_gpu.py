"""Which GPU a profile was measured on."""

from __future__ import annotations

import dataclasses

import pytest

from harness.analysis.used_gpu import UsedGpu, used_gpu
from harness.records import Profile, Reading
from tests.builders.process_records import process, profile

TWO = (
    Reading("nvml_driver", "580.1"),
    Reading("gpu_count", 2, "1"),
    Reading("gpu0_name", "NVIDIA H200"),
    Reading("gpu0_uuid", "GPU-aa"),
    Reading("gpu1_name", "NVIDIA L4"),
    Reading("gpu1_uuid", "GPU-bb"),
)
SECOND = (Reading("gpu_used", 1, "1"), Reading("gpu_used_uuid", "GPU-bb"))


def on_gpu(*facts: Reading) -> Profile:
    return dataclasses.replace(profile(process([1])), provider="cuda", environment=facts)


def found(*facts: Reading) -> UsedGpu:
    seen = used_gpu(on_gpu(*facts))
    assert seen is not None
    return seen


def test_one_of_several_is_told_apart() -> None:
    seen = found(*TWO, *SECOND)
    assert (seen.name, seen.index, seen.uuid) == ("NVIDIA L4", 1, "GPU-bb")
    assert seen.told == "NVIDIA L4 (gpu1 of 2, GPU-bb), driver 580.1"


def test_a_mig_instance_is_said_to_be_a_part() -> None:
    told = found(*TWO, *SECOND, Reading("gpu_used_mig", "MIG-cc")).told
    assert told.endswith(
        "; its part MIG-cc was used, while power and clocks are those of the whole"
    )


def test_the_only_gpu_of_an_older_file_is_the_one() -> None:
    alone = (Reading("gpu_count", 1, "1"), *TWO[2:4])
    assert found(*alone).told == "NVIDIA H200 (gpu0, GPU-aa)"


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        (TWO, "not known which: not recorded: file of an older version, driver 580.1"),
        (
            (Reading("gpu_used", None, "1", reason="NVML lists no GPU that is CUDA device 0"),),
            "not known which: NVML lists no GPU that is CUDA device 0",
        ),
        ((Reading("gpu_used", 3, "1"),), "GPU of unknown name (gpu3)"),
    ],
)
def test_what_is_not_known_is_said(facts: tuple[Reading, ...], told: str) -> None:
    assert found(*facts).told == told


def test_the_host_has_none() -> None:
    assert used_gpu(profile(process([1]), environment=(*TWO, *SECOND))) is None
