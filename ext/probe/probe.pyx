"""The probe operator and its stamp buffer.

The interface is described in harness/native/probe.pyi.
"""

import os

from libc.stdint cimport int32_t, int64_t, uintptr_t

from ort.abi cimport OrtCustomOpDomain, OrtFunctions, OrtStatus
from ort.library cimport OrtLibrary, open_library, require_ok


cdef extern from "probe/probe_op.h" nogil:
    int PROBE_OLDEST_MINOR
    size_t PROBE_HOST_TENSORS
    size_t PROBE_PROVIDER_BYTES
    OrtStatus* probe_domain(const OrtFunctions*, const char*, OrtCustomOpDomain**) noexcept
    void probe_start(int32_t*, int64_t*, int64_t) noexcept
    int64_t probe_stop() noexcept


# The arrays that probes write to; they must live as long as probes may run.
cdef object recording_into = None

DOMAIN = "harness.probe"
HOST_TENSORS = <int> PROBE_HOST_TENSORS


def domain(library_path, provider=""):
    """Address of the probes' OrtCustomOpDomain in the opened library."""
    cdef OrtLibrary library
    cdef OrtCustomOpDomain* made = NULL
    cdef bytes placed_on = provider.encode()
    if len(placed_on) >= PROBE_PROVIDER_BYTES or b"\0" in placed_on:
        raise ValueError(f"{provider!r} cannot be the name of an execution provider")
    open_library(&library, os.fsencode(library_path), PROBE_OLDEST_MINOR, b"cannot have probes")
    require_ok(&library.ort, probe_domain(&library.ort, placed_on, &made))
    if made == NULL:
        raise MemoryError()
    return <uintptr_t> made


def start(int32_t[::1] place not None, int64_t[::1] stamp_ns not None):
    """Starts recording: probes store their place and time in these arrays."""
    global recording_into
    if place.shape[0] != stamp_ns.shape[0] or place.shape[0] == 0:
        raise ValueError("place and stamp_ns must have the same length, at least 1")
    recording_into = (place, stamp_ns)
    probe_start(&place[0], &stamp_ns[0], place.shape[0])


def stop():
    """Ends the recording; returns how many stamps were taken, stored or not."""
    global recording_into
    recording_into = None
    return probe_stop()
