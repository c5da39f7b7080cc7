"""The probe operator and its stamp buffer.

The interface is described in harness/native/probe.pyi.
"""

import os

from libc.stdint cimport int32_t, int64_t, uint32_t, uintptr_t
from posix.dlfcn cimport RTLD_LOCAL, RTLD_NOW, dlerror, dlopen, dlsym

from ort.abi cimport OrtApiBase


cdef extern from "probe/probe_op.h" nogil:
    int PROBE_OLDEST_MINOR
    void* probe_domain(const void*, int, const char**) noexcept
    void probe_start(int32_t*, int64_t*, int64_t) noexcept
    int64_t probe_stop() noexcept


# The arrays that probes write into; they must live as long as probes may run.
cdef object recording_into = None

DOMAIN = "harness.probe"


def domain(library_path):
    """Address of the probe's OrtCustomOpDomain in the opened library."""
    cdef bytes name = os.fsencode(library_path)
    cdef void* handle = dlopen(name, RTLD_NOW | RTLD_LOCAL)
    cdef void* symbol
    cdef const OrtApiBase* base
    cdef const char* error = NULL
    cdef void* made
    if handle == NULL:
        raise OSError(dlerror().decode("utf-8", "replace"))
    symbol = dlsym(handle, b"OrtGetApiBase")
    if symbol == NULL:
        raise OSError(f"{library_path}: not ONNX Runtime")
    base = (<const OrtApiBase* (*)() noexcept nogil> symbol)()
    minor = int(base.GetVersionString().decode().split(".")[1])
    # Never more than the library has: GetApi would print.
    made = probe_domain(base.GetApi(<uint32_t> min(minor, PROBE_OLDEST_MINOR)), minor, &error)
    if made == NULL:
        raise OSError(f"{library_path}: {error.decode()}")
    return <uintptr_t> made


def start(int32_t[::1] place not None, int64_t[::1] stamp_ns not None):
    """From now on probes store their place and time in these arrays."""
    global recording_into
    if place.shape[0] != stamp_ns.shape[0] or place.shape[0] == 0:
        raise ValueError("place and stamp_ns must have one length, at least 1")
    recording_into = (place, stamp_ns)
    probe_start(&place[0], &stamp_ns[0], place.shape[0])


def stop():
    """Ends the recording; returns how many stamps were taken, stored or not."""
    global recording_into
    recording_into = None
    return probe_stop()
