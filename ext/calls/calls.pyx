"""Calls of a C function of another runtime, timed.

The interface is described in harness/native/calls.pyi.
"""

from libc.stdint cimport int64_t, uintptr_t


cdef extern from "calls/call_loop.h" nogil:
    ctypedef int (*Call)(void*) noexcept
    int64_t call_loop(Call, void*, int64_t, int64_t*, int64_t*, int*) noexcept
    int empty_call(void*) noexcept


class CallError(RuntimeError):
    """A call returned an error code."""

    def __init__(self, code, completed):
        super().__init__(f"error code {code}")
        self.code = code
        self.completed = completed


def time(
    uintptr_t function,
    uintptr_t argument,
    int64_t[::1] start_ns not None,
    int64_t[::1] duration_ns not None,
):
    """Makes as many calls as the arrays hold."""
    cdef int64_t count = start_ns.shape[0]
    cdef int64_t completed
    cdef int failure = 0
    if function == 0:
        raise ValueError("the function's address is 0")
    if duration_ns.shape[0] != count:
        raise ValueError("start_ns and duration_ns differ in length")
    if count == 0:
        return
    with nogil:
        completed = call_loop(
            <Call> function, <void*> argument, count, &start_ns[0], &duration_ns[0], &failure
        )
    if completed < count:
        raise CallError(failure, completed)


def empty():
    """Address of a function that does nothing and returns 0."""
    return <uintptr_t> &empty_call
