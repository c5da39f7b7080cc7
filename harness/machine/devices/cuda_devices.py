"""Which GPU a CUDA device number means: CUDA and NVML count differently.

CUDA counts the devices that CUDA_VISIBLE_DEVICES leaves to the process (by index or UUID), the
fastest first unless CUDA_DEVICE_ORDER says otherwise; a device may be a MIG instance, a part of a
GPU. NVML counts whole GPUs, all that the container sees, in the order of their PCI addresses.
"""

from __future__ import annotations

import ctypes
import dataclasses
import os
import uuid
from collections.abc import Iterator

from harness.machine.devices import nvml
from harness.machine.devices.nvml import Gpu
from harness.records import Reading

LIBRARY = "libcuda.so.1"

#: CUdevice_attribute (cuda.h): multiprocessors, and bytes of the L2 cache.
_MULTIPROCESSORS, _L2_BYTES = 16, 38

#: Likewise what a multiprocessor holds at most, and the shared memory that the driver takes for
#: each block (0 before compute capability 8.0): name of the fact, unit, attribute and its name.
_HELD = (
    ("gpu_used_multiprocessor_threads", "1", 39, "MAX_THREADS_PER_MULTIPROCESSOR"),
    ("gpu_used_multiprocessor_registers", "1", 82, "MAX_REGISTERS_PER_MULTIPROCESSOR"),
    ("gpu_used_multiprocessor_shared_bytes", "bytes", 81, "MAX_SHARED_MEMORY_PER_MULTIPROCESSOR"),
    ("gpu_used_multiprocessor_blocks", "1", 106, "MAX_BLOCKS_PER_MULTIPROCESSOR"),
    ("gpu_used_block_reserved_bytes", "bytes", 111, "RESERVED_SHARED_MEMORY_PER_BLOCK"),
)

#: Environment variables of CUDA that choose and order the devices.
_VARIABLES = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")


@dataclasses.dataclass(frozen=True, slots=True)
class CudaDevice:
    """A CUDA device of this process, and the GPU that it is or is a part of.

    Attributes:
        index: NVML's index of the GPU; None if NVML lists none that it could be.
        uuid: the GPU's, as NVML writes it (``GPU-…``); empty if not known.
        mig: UUID of the MIG instance (``MIG-…``); empty if the device is a whole GPU.
        multiprocessors, l2_bytes: of the device, so of a MIG instance its part; None if not known.
        held: what a multiprocessor holds, as facts.
        reason: why index is None; empty otherwise.
    """

    index: int | None
    uuid: str = ""
    mig: str = ""
    multiprocessors: int | None = None
    l2_bytes: int | None = None
    held: tuple[Reading, ...] = ()
    reason: str = ""


def device(device_id: str) -> CudaDevice:
    """The CUDA device with this number in this process.

    Args:
        device_id: as the provider's option gives it; what is no number counts as 0.
    """
    number = int(device_id) if device_id.isdecimal() else 0
    try:
        cuda = ctypes.CDLL(LIBRARY)
    except OSError as error:
        return CudaDevice(None, reason=f"no NVIDIA driver: {error}")
    handle = ctypes.c_int()
    for name, arguments in (("cuInit", (0,)), ("cuDeviceGet", (ctypes.byref(handle), number))):
        code = cuda[name](*arguments)
        if code:
            told = ", ".join(f"{key}={os.environ[key]}" for key in _VARIABLES if key in os.environ)
            where = f" with {told}" if told else ""
            reason = f"{name} of CUDA device {number} failed with {code}{where}"
            return CudaDevice(None, reason=reason)
    listed = nvml.gpus()
    uuids = tuple(_uuids(cuda, handle))
    gpu = _listed(listed.found, uuids, _bus_id(cuda, handle))
    known = CudaDevice(
        None if gpu is None else gpu.index,
        multiprocessors=_attribute(cuda, handle, _MULTIPROCESSORS),
        l2_bytes=_attribute(cuda, handle, _L2_BYTES),
        held=tuple(_held(cuda, handle)),
    )
    if gpu is None:
        reason = listed.reason or f"NVML lists no GPU that is CUDA device {number}"
        return dataclasses.replace(known, reason=reason)
    whole = _uuid_of(gpu)
    # The second function gives a MIG instance's own UUID; without MIG it is the GPU's.
    part = uuids[-1] if uuids and whole and f"GPU-{uuids[-1]}" != whole else ""
    return dataclasses.replace(known, uuid=whole, mig=part and f"MIG-{part}")


def readings(device_id: str) -> Iterator[Reading]:
    """What a profile records about the device that it uses.

    Args:
        device_id: as ``device`` takes it.
    """
    source = "cuDeviceGetUuid and cuDeviceGetPCIBusId, against NVML's"
    found = device(device_id)
    yield Reading("gpu_used", found.index, "1", source, found.reason)
    if found.uuid:
        yield Reading("gpu_used_uuid", found.uuid, "", source)
    if found.mig:
        yield Reading("gpu_used_mig", found.mig, "", "cuDeviceGetUuid_v2")
    if found.multiprocessors is not None:
        told = "cuDeviceGetAttribute(MULTIPROCESSOR_COUNT)"
        yield Reading("gpu_used_multiprocessors", found.multiprocessors, "1", told)
    yield from found.held
    for variable in _VARIABLES:
        if variable in os.environ:
            yield Reading(variable.lower(), os.environ[variable], "", "environment variable")


def _listed(gpus: tuple[Gpu, ...], uuids: tuple[str, ...], bus_id: str) -> Gpu | None:
    """The GPU with one of the UUIDs, or else at this PCI address: a MIG instance has its GPU's."""
    for gpu in gpus:
        if _uuid_of(gpu).removeprefix("GPU-") in uuids:
            return gpu
    # NVML writes the PCI domain with eight digits, CUDA with four.
    wanted = bus_id.lower().lstrip("0")
    return next((gpu for gpu in gpus if wanted and gpu.bus_id.lower().lstrip("0") == wanted), None)


def _uuid_of(gpu: Gpu) -> str:
    name = f"gpu{gpu.index}_uuid"
    return next((str(fact.value) for fact in gpu.facts if fact.name == name and fact.value), "")


def _uuids(cuda: ctypes.CDLL, handle: ctypes.c_int) -> Iterator[str]:
    """UUIDs without their prefix: the older function's first."""
    for name in ("cuDeviceGetUuid", "cuDeviceGetUuid_v2"):
        found = ctypes.create_string_buffer(16)
        if hasattr(cuda, name) and not cuda[name](found, handle):
            yield str(uuid.UUID(bytes=found.raw))


def _bus_id(cuda: ctypes.CDLL, handle: ctypes.c_int) -> str:
    """PCI address; empty if it is not told."""
    found = ctypes.create_string_buffer(32)
    failed = cuda.cuDeviceGetPCIBusId(found, len(found), handle)
    return "" if failed else found.value.decode()


def _held(cuda: ctypes.CDLL, handle: ctypes.c_int) -> Iterator[Reading]:
    for name, unit, attribute, called in _HELD:
        value = _attribute(cuda, handle, attribute)
        if value is not None:
            yield Reading(name, value, unit, f"cuDeviceGetAttribute({called})")


def _attribute(cuda: ctypes.CDLL, handle: ctypes.c_int, attribute: int) -> int | None:
    value = ctypes.c_int()
    failed = cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, handle)
    return None if failed or value.value <= 0 else value.value
