"""CUDA's numbers of devices against NVML's: doubles of three GPUs, the second one in MIG mode."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.doubles import build_cuda, build_nvml

CHECKOUT = Path(__file__).parents[4]
UUID = "GPU-00000000-0000-0000-0000-00000000000{}".format
MIG = "MIG-ff000000-0000-0000-0000-000000000001"


def found(device_id: str = "0", gpus: int = 3, **environment: str) -> dict[str, Any]:
    """Of each fact its value, or else its reason; both libraries are found by their names."""
    code = f"""
import ctypes, json
ctypes.CDLL({build_nvml()!r})
ctypes.CDLL({build_cuda()!r})
from harness.machine.devices import cuda_devices
facts = cuda_devices.readings({device_id!r})
print(json.dumps({{one.name: one.reason if one.value is None else one.value for one in facts}}))
"""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("CUDA_")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=CHECKOUT,
        env={**inherited, "HARNESS_DOUBLE_GPUS": str(gpus), **environment},
    )
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_cuda_counts_the_fastest_first_and_nvml_by_address() -> None:
    assert found("0")["gpu_used"] == 2
    last = found("2")
    assert (last["gpu_used"], last["gpu_used_uuid"]) == (0, UUID(0))
    assert last["gpu_used_multiprocessors"] == 58
    assert last["gpu_used_multiprocessor_threads"] == 1536
    assert last["gpu_used_multiprocessor_registers"] == 65536
    assert last["gpu_used_multiprocessor_shared_bytes"] == 100 * 1024
    assert last["gpu_used_multiprocessor_blocks"] == 24
    assert last["gpu_used_block_reserved_bytes"] == 1024
    assert "gpu_used_mig" not in last


@pytest.mark.parametrize(
    ("visible", "device_id", "index"),
    [("2", "0", 0), ("2,0", "1", 2), (UUID(0), "0", 0), (f"{UUID(2)},{UUID(0)}", "1", 0)],
)
def test_what_is_visible_is_counted_by_index_or_uuid(
    visible: str, device_id: str, index: int
) -> None:
    told = found(device_id, CUDA_VISIBLE_DEVICES=visible)
    assert (told["gpu_used"], told["gpu_used_uuid"]) == (index, UUID(index))
    assert told["cuda_visible_devices"] == visible


@pytest.mark.parametrize("visible", ["1", MIG])
def test_a_mig_instance_is_a_part_of_its_gpu(visible: str) -> None:
    told = found("0", CUDA_VISIBLE_DEVICES=visible)
    assert (told["gpu_used"], told["gpu_used_uuid"]) == (1, UUID(1))
    assert told["gpu_used_mig"] == MIG
    assert told["gpu_used_multiprocessors"] == 16, "its own"
    assert "gpu_used_block_reserved_bytes" not in told, "none is taken"


def test_a_gpu_that_nvml_does_not_list_is_none_of_those_it_does() -> None:
    told = found("0", gpus=2)
    assert told["gpu_used"] == "NVML lists no GPU that is CUDA device 0"
    assert "gpu_used_uuid" not in told


def test_where_uuids_differ_the_address_decides() -> None:
    # With one GPU the double of NVML has a UUID that CUDA's does not have.
    assert found("2", gpus=1)["gpu_used"] == 0


def test_no_such_device_is_said_with_what_hides_it() -> None:
    told = found("1", CUDA_VISIBLE_DEVICES="0", CUDA_DEVICE_ORDER="PCI_BUS_ID")["gpu_used"]
    assert told == (
        "cuDeviceGet of CUDA device 1 failed with 101 "
        "with CUDA_VISIBLE_DEVICES=0, CUDA_DEVICE_ORDER=PCI_BUS_ID"
    )
    assert found(CUDA_VISIBLE_DEVICES="none")["gpu_used"].startswith("cuInit of CUDA device 0")
