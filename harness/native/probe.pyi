"""Types of the native module: the probe operator and its stamp buffer."""

import numpy as np
import numpy.typing as npt

DOMAIN: str

#: Inputs of a DeviceProbe in the host's memory, each of which may be missing.
HOST_TENSORS: int

def domain(library_path: str, provider: str = "") -> int:
    """Address of the OrtCustomOpDomain of the probes, to pass to a Session.

    Args:
        library_path: path of libonnxruntime.
        provider: ORT's name of a device's execution provider, for which ``DeviceProbe`` is
            registered, and for the CPU likewise. Empty: there is only ``Probe``, on the CPU.

    Raises:
        OSError: the library is not ONNX Runtime 1.18 or newer, or refuses an operator.
        ValueError: no provider has such a name.
    """

def start(place: npt.NDArray[np.int32], stamp_ns: npt.NDArray[np.int64]) -> None:
    """Starts recording: each execution of a probe stores its place and CLOCK_MONOTONIC.

    Stamps that do not fit are only counted. One recording at a time per process.
    """

def stop() -> int:
    """Stops recording; returns how many stamps were taken, stored or not."""
