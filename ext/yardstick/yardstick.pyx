"""A fixed workload whose time shows how fast the machine currently is.

The interface is described in harness/native/yardstick.pyi.
"""

from libc.stdint cimport int64_t, uint64_t


cdef extern from "yardstick/workload.h" nogil:
    struct yardstick:
        pass
    yardstick* yardstick_new() noexcept
    void yardstick_free(yardstick*) noexcept
    uint64_t yardstick_run(
        yardstick*, size_t, int64_t*, int64_t*, int64_t*, int64_t*
    ) noexcept


cdef class Timer:
    """The workload and its memory."""

    cdef yardstick* _yardstick
    cdef bint _busy

    def __cinit__(self):
        with nogil:
            self._yardstick = yardstick_new()
        if self._yardstick == NULL:
            raise MemoryError("no memory for the yardstick")

    def __dealloc__(self):
        yardstick_free(self._yardstick)

    def run(
        self, int64_t[::1] start_ns, int64_t[::1] compute_ns, int64_t[::1] cache_ns,
        int64_t[::1] memory_ns,
    ):
        cdef uint64_t digest
        cdef Py_ssize_t count = start_ns.shape[0]
        if count < 1 or not (
            count == compute_ns.shape[0] == cache_ns.shape[0] == memory_ns.shape[0]
        ):
            raise ValueError("the four arrays must have the same length, at least 1")
        self._check_idle()
        if self._yardstick == NULL:
            raise ValueError("the yardstick is closed")
        self._busy = True
        with nogil:
            digest = yardstick_run(
                self._yardstick, count, &start_ns[0], &compute_ns[0], &cache_ns[0],
                &memory_ns[0],
            )
        self._busy = False
        return digest

    def close(self):
        self._check_idle()
        yardstick_free(self._yardstick)
        self._yardstick = NULL

    cdef int _check_idle(self) except -1:
        if self._busy:
            raise ValueError("another thread is running the yardstick")
        return 0
