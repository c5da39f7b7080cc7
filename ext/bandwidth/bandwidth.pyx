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
    struct stream_times:
        int64_t* wall_ns
        int64_t* cpu_ns
    struct stream_task:
        size_t lines
        const int* cpus
        int threads
        int rounds
        int parts
        int passes
        bint past_caches
    bint stream_bypasses_caches() noexcept
    int stream(const stream_task*, stream_times, stream_times, stream_failure*) noexcept


def bypasses_caches():
    """Whether lines can be written to memory without being read first."""
    return bool(stream_bypasses_caches())


def copy_and_triad(
    int64_t bytes_per_array,
    cpus,
    int rounds,
    int parts=1,
    int passes=1,
    bint past_caches=True,
):
    """Wall and CPU nanoseconds of each part of each round of the copy and of the triad."""
    cdef int[::1] numbers = np.fromiter(cpus, np.intc)
    cdef int threads = numbers.shape[0]
    cdef stream_failure failure
    cdef stream_times copies, triads
    cdef stream_task task
    cdef int status
    if threads < 1 or min(numbers) < 0 or len(set(numbers)) != threads:
        raise ValueError(f"cpus must be one or more CPU numbers, all different: {tuple(numbers)}")
    for name, number in (("rounds", rounds), ("parts", parts), ("passes", passes)):
        if number < 1:
            raise ValueError(f"{name} must be at least 1: {number}")
    cdef int64_t lines = bytes_per_array // STREAM_LINE_BYTES
    if bytes_per_array % STREAM_LINE_BYTES or lines < threads * parts:
        raise ValueError(
            f"bytes_per_array must be a multiple of {STREAM_LINE_BYTES} "
            f"and at least that for each CPU and part: {bytes_per_array}"
        )
    copied = np.zeros((2, rounds * parts), np.int64)
    summed = np.zeros((2, rounds * parts), np.int64)
    cdef int64_t[:, ::1] copied_ns = copied
    cdef int64_t[:, ::1] summed_ns = summed
    copies.wall_ns, copies.cpu_ns = &copied_ns[0, 0], &copied_ns[1, 0]
    triads.wall_ns, triads.cpu_ns = &summed_ns[0, 0], &summed_ns[1, 0]
    task.lines = lines
    task.cpus, task.threads = &numbers[0], threads
    task.rounds, task.parts, task.passes = rounds, parts, passes
    task.past_caches = past_caches
    with nogil:
        status = stream(&task, copies, triads, &failure)
    if status == 0:
        return copied, summed
    call = failure.call.decode()
    if failure.error == ENOMEM:
        raise MemoryError(f"{call}: no memory for three arrays of {bytes_per_array} bytes")
    if failure.error == 0:
        raise RuntimeError(f"the thread on CPU {failure.cpu} left wrong values in its arrays")
    raise OSError(
        failure.error, f"{call} on CPU {failure.cpu}: {os.strerror(failure.error)}"
    )
