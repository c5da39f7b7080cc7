"""Memory bandwidth: streaming copy and triad with pinned threads.

The interface is described in harness/native/bandwidth.pyi.
"""

import os

from libc.errno cimport ENOMEM
from libc.stdint cimport int64_t

import numpy as np


cdef extern from "bandwidth/stream.h" nogil:
    int64_t STREAM_LINE_BYTES
    struct stream_failure:
        const char* call
        int error
        int cpu
    bint stream_bypasses_caches() noexcept
    int stream(
        size_t, const int*, int, int, int64_t*, int64_t*, stream_failure*
    ) noexcept


def bypasses_caches():
    """Whether written lines go to memory without being read first."""
    return bool(stream_bypasses_caches())


def copy_and_triad(int64_t bytes_per_array, cpus, int repetitions):
    """Nanoseconds of each repetition of the copy and of the triad."""
    cdef int[::1] numbers = np.fromiter(cpus, np.intc)
    cdef int threads = numbers.shape[0]
    cdef stream_failure failure
    cdef int status
    if threads < 1 or min(numbers) < 0 or len(set(numbers)) != threads:
        raise ValueError(f"cpus must be one CPU number or more, none twice: {tuple(numbers)}")
    if repetitions < 1:
        raise ValueError(f"repetitions must be at least 1: {repetitions}")
    if bytes_per_array % STREAM_LINE_BYTES or bytes_per_array // STREAM_LINE_BYTES < threads:
        raise ValueError(
            f"bytes_per_array must be a multiple of {STREAM_LINE_BYTES} "
            f"and at least that for each CPU: {bytes_per_array}"
        )
    copies = np.zeros(repetitions, np.int64)
    triads = np.zeros(repetitions, np.int64)
    cdef int64_t[::1] copy_ns = copies
    cdef int64_t[::1] triad_ns = triads
    with nogil:
        status = stream(
            bytes_per_array // STREAM_LINE_BYTES, &numbers[0], threads, repetitions,
            &copy_ns[0], &triad_ns[0], &failure,
        )
    if status == 0:
        return copies, triads
    call = failure.call.decode()
    if failure.error == ENOMEM:
        raise MemoryError(f"{call}: no memory for three arrays of {bytes_per_array} bytes")
    if failure.error == 0:
        raise RuntimeError(f"the thread on CPU {failure.cpu} left wrong values in its arrays")
    raise OSError(
        failure.error, f"{call} on CPU {failure.cpu}: {os.strerror(failure.error)}"
    )
