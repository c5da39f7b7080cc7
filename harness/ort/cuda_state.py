"""Whether ONNX Runtime can use a GPU here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from harness.errors import MachineError
from harness.ort import nvidia_libraries
from harness.records import Reading

_PROBE_TIMEOUT_S = 60


#: Asks the driver in a separate process, since its libraries start threads and may crash.
#: Prints the CUDA version that the driver supports (13000 for 13.0), or its error.
_ASK_DRIVER = """
import ctypes
try:
    cuda = ctypes.CDLL("libcuda.so.1")
except OSError as error:
    raise SystemExit(str(error))
def checked(name, *arguments):
    code = getattr(cuda, name)(*arguments)
    if code:
        text = ctypes.c_char_p()
        cuda.cuGetErrorString(code, ctypes.byref(text))
        raise SystemExit(f"{name}: {(text.value or b'?').decode()} (error {code})")
number = ctypes.c_int()
checked("cuInit", 0)
checked("cuDeviceGetCount", ctypes.byref(number))
if not number.value:
    raise SystemExit("cuDeviceGetCount: no GPU is visible")
checked("cuDriverGetVersion", ctypes.byref(number))
print(number.value)
"""


def cuda_state(library: Path, *, name: str, plugin: str) -> tuple[Reading, str]:
    """Whether ORT can use the GPU here, without loading anything into this process.

    Checks, in this order: the driver, whether this build of ORT has the provider, and whether
    the loader or the nvidia wheels have every library that the provider needs. The provider
    itself is not opened: its constructors call into an ORT core and crash without one.

    Args:
        library: the libonnxruntime in question; its providers are next to it.
        name: name of the provider.
        plugin: file name of its library.

    Returns:
        A Reading named after the provider, ``usable`` or absent with the reason; and the
        remedy, empty if nothing is missing. A usable provider has a remedy too if it lacks a
        library that it loads only when an operator needs it (above all cuDNN).
    """
    path = library.parent / plugin
    source = f"libcuda.so.1, {plugin}"

    def absent(reason: str, remedy: str) -> tuple[Reading, str]:
        return Reading(name, None, "", source, reason), remedy

    driver = _ask([sys.executable, "-IS", "-c", _ASK_DRIVER])
    if driver.returncode:
        complaint = _last_line(driver.stderr) or f"exited with {driver.returncode}"
        return absent(
            f"no usable NVIDIA driver: {complaint}",
            "use a machine on which nvidia-smi lists a GPU "
            "(containers: --gpus all), or the CPU",  # another program's
        )
    if not path.exists():
        return absent(
            f"{library.name} is built without it: no {plugin} next to it",
            "pip install onnxruntime-gpu, or name a GPU build with `library`",
        )
    try:
        needs = nvidia_libraries.needs(path)
    except MachineError as error:
        return absent(error.message, error.remedy)
    if needs.missing:
        return absent(
            f"neither the loader's path nor the nvidia wheels have {', '.join(needs.missing)} "
            f"for {plugin}",
            needs.remedy,
        )
    served = int(driver.stdout) // 1000
    if needs.cuda and served < int(needs.cuda):
        return absent(
            f"the driver supports CUDA {served}, but {plugin} needs CUDA {needs.cuda}",
            f"update the NVIDIA driver, or use an ONNX Runtime built for CUDA {served}",
        )
    remedy = ""
    if needs.missing_lazy:
        remedy = f"operators that need {', '.join(needs.missing_lazy)} fail: {needs.remedy}"
    return Reading(name, "usable", "", source), remedy


def _ask(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=_PROBE_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(
            command, -1, "", f"no answer within {_PROBE_TIMEOUT_S} s"
        )


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]
