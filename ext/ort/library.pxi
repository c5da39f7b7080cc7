# The library, its environment and its log.
import os

from libc.stdint cimport int64_t

from ort.abi cimport *
from ort.library cimport OrtLibrary, open_library


cdef extern from "ort/log_ring.h" nogil:
    int LOG_LINE_BYTES
    void log_ring_write(
        void*, int, const char*, const char*, const char*, const char*
    ) noexcept
    int log_ring_take(char*, int*) noexcept
    int64_t log_ring_take_lost() noexcept

cdef tuple SEVERITIES = ("VERBOSE", "INFO", "WARNING", "ERROR", "FATAL")
cdef int WARNING = 2
cdef int ARENA_ALLOCATOR = 1, MEMORY_DEFAULT = 0


cdef class Library:
    cdef OrtFunctions ort
    cdef OrtEnv* env
    cdef OrtAllocator* allocator   # ORT's default allocator; never released
    cdef OrtMemoryInfo* host
    cdef readonly str path
    cdef readonly str version
    cdef readonly str build_info
    cdef readonly int64_t open_ns

    def __cinit__(self, path):
        cdef OrtLibrary opened
        cdef int64_t start = c_monotonic_ns()
        self.path = os.fsdecode(os.fsencode(path))
        open_library(&opened, os.fsencode(path), ORT_OLDEST_MINOR, b"cannot be used")
        self.ort = opened.ort
        self.version = opened.version.decode()
        self.build_info = self.ort.GetBuildInfoString().decode("utf-8", "replace")
        with nogil:
            check(
                &self.ort,
                self.ort.CreateEnvWithCustomLogger(
                    log_ring_write, NULL, WARNING, b"harness", &self.env
                ),
            )
            check(&self.ort, self.ort.DisableTelemetryEvents(self.env))
            check(&self.ort, self.ort.GetAllocatorWithDefaultOptions(&self.allocator))
            check(
                &self.ort,
                self.ort.CreateCpuMemoryInfo(ARENA_ALLOCATOR, MEMORY_DEFAULT, &self.host),
            )
        self.open_ns = c_monotonic_ns() - start

    def __dealloc__(self):
        if self.host != NULL:
            self.ort.ReleaseMemoryInfo(self.host)
        if self.env != NULL:
            self.ort.ReleaseEnv(self.env)

    def available_providers(self):
        """Execution providers this build has, whether or not they work here."""
        cdef char** names = NULL
        cdef int count = 0
        check(&self.ort, self.ort.GetAvailableProviders(&names, &count))
        try:
            return tuple(names[i].decode() for i in range(count))
        finally:
            check(&self.ort, self.ort.ReleaseAvailableProviders(names, count))

    def take_log(self):
        """Lines ORT logged since the last call, oldest first."""
        cdef char text[1024]
        cdef int severity = 0
        cdef list lines = []
        assert sizeof(text) == LOG_LINE_BYTES
        lost = log_ring_take_lost()
        if lost:
            lines.append(f"({lost} earlier lines were lost)")
        while log_ring_take(text, &severity):
            name = SEVERITIES[severity] if 0 <= severity < 5 else str(severity)
            lines.append(f"{name} {text.decode('utf-8', 'replace').rstrip()}")
        return lines


cdef str take_text(Library library, char* text):
    """Text that ORT allocated, copied and freed."""
    try:
        return text.decode("utf-8", "replace")
    finally:
        check(&library.ort, library.ort.AllocatorFree(library.allocator, text))
