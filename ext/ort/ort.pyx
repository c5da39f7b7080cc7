# cython: auto_pickle=False
"""ONNX Runtime through its C API: sessions, bindings and the timing loop.

The interface is described in harness/native/ort.pyi.
"""

from libc.stdint cimport int64_t


cdef extern from "clock.h" nogil:
    int64_t c_monotonic_ns "monotonic_ns"() noexcept
    int64_t c_realtime_offset_ns "realtime_offset_ns"() noexcept


def monotonic_ns():
    """CLOCK_MONOTONIC in nanoseconds."""
    return c_monotonic_ns()


def realtime_offset_ns():
    """CLOCK_REALTIME minus CLOCK_MONOTONIC in nanoseconds."""
    return c_realtime_offset_ns()


cdef bytes c_string(bytes text):
    """The text itself; refused if C would see only the part before a NUL."""
    if b"\0" in text:
        raise ValueError(f"embedded NUL in {text!r}")
    return text


include "ort/status.pxi"
include "ort/library.pxi"
include "ort/types.pxi"
include "ort/values.pxi"
include "ort/providers.pxi"
include "ort/session.pxi"
include "ort/binding.pxi"
