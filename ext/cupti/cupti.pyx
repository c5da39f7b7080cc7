"""What the GPU did, as CUPTI records it.

The interface is described in harness/native/cupti.pyi.
"""

import os
from collections import namedtuple

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free
from libc.string cimport memcpy

import numpy as np


cdef extern from "cupti/session.h" nogil:
    struct cupti_failure:
        const char* call
        int code
        const char* result
    struct cupti_buffer:
        cupti_buffer* next
        size_t valid_bytes
        uint8_t* data
    struct cupti_recording:
        cupti_buffer* buffers
        int64_t dropped
        int64_t unnamed
        int64_t offset_ns
        int64_t step_ns
    const char* cupti_open(const char*) noexcept
    uint32_t cupti_version() noexcept
    bint cupti_start(int64_t, bint, cupti_failure*) noexcept
    void cupti_push(uint64_t) noexcept
    void cupti_pop() noexcept
    bint cupti_stop(cupti_recording*, cupti_failure*) noexcept
    void cupti_free(cupti_buffer*) noexcept
    int64_t cupti_offsets(const cupti_buffer*, int64_t*, int64_t, int*) noexcept

cdef extern from "cupti/decode.h" nogil:
    struct cupti_work:
        pass
    struct cupti_call:
        pass
    struct cupti_external:
        pass
    struct cupti_columns:
        cupti_work* work
        cupti_call* call
        cupti_external* external
        int64_t works
        int64_t calls
        int64_t externals
        int64_t skipped
        int64_t truncated
    void cupti_decode(
        const uint8_t*, int64_t, const int64_t*, int64_t, cupti_columns*
    ) noexcept
    char* cupti_demangle(const char*) noexcept

# struct cupti_work, cupti_call and cupti_external.
WORK = np.dtype([
    ("start_ns", np.int64), ("end_ns", np.int64), ("bytes", np.int64),
    ("shared_bytes", np.int64), ("name", np.uint64), ("graph_node", np.uint64),
    ("kind", np.int32), ("copy_kind", np.int32), ("device", np.uint32), ("context", np.uint32),
    ("stream", np.uint32), ("correlation", np.uint32), ("graph", np.uint32),
    ("grid", np.int32, 3), ("block", np.int32, 3), ("registers", np.int32),
])
CALL = np.dtype([
    ("start_ns", np.int64), ("end_ns", np.int64), ("thread", np.uint32),
    ("correlation", np.uint32), ("function", np.uint32), ("result", np.uint32),
])
EXTERNAL = np.dtype([("id", np.uint64), ("kind", np.uint32), ("correlation", np.uint32)])
assert WORK.itemsize == sizeof(cupti_work) and CALL.itemsize == sizeof(cupti_call)
assert EXTERNAL.itemsize == sizeof(cupti_external)

RawRecords = namedtuple("RawRecords", ("data", "offsets"), module=__name__)
CuptiRecording = namedtuple(
    "CuptiRecording",
    ("buffers", "dropped", "unreadable", "unnamed", "offset_ns", "step_ns", "failure"),
    module=__name__,
)
CuptiColumns = namedtuple(
    "CuptiColumns", ("work", "call", "external", "skipped", "truncated"), module=__name__
)

cdef str failure_text(const cupti_failure* failure):
    return f"{failure.call.decode()}: {failure.result.decode('utf-8', 'replace')} ({failure.code})"


cdef object raw_records(const cupti_buffer* buffer):
    """(RawRecords, whether CUPTI could read the buffer to its end)."""
    cdef int whole = 0
    cdef int64_t count = cupti_offsets(buffer, NULL, 0, &whole)
    cdef int64_t[::1] into
    cdef uint8_t[::1] copied
    data = np.empty(buffer.valid_bytes, np.uint8)
    copied = data
    memcpy(&copied[0], buffer.data, buffer.valid_bytes)
    offsets = np.empty(count, np.int64)
    if count > 0:
        into = offsets
        cupti_offsets(buffer, &into[0], count, &whole)
    return RawRecords(data, offsets), bool(whole)


cdef class Cupti:
    cdef readonly str path
    cdef readonly int version
    cdef bint on

    def __init__(self, candidates):
        cdef bytes name
        cdef const char* c_name
        cdef const char* reason
        reasons = []
        for candidate in candidates:
            name = os.fsencode(candidate)
            c_name = name
            with nogil:
                reason = cupti_open(c_name)
            if reason == NULL:
                self.path = os.fsdecode(name)
                self.version = cupti_version()
                return
            reasons.append(reason.decode("utf-8", "replace"))
        raise OSError("; ".join(reasons) or "no library was named")

    def start(self, int64_t limit_bytes=1 << 29, bint launches=True):
        """Starts recording."""
        cdef cupti_failure failure
        cdef bint started
        if self.on:
            raise ValueError("a recording is already on")
        with nogil:
            started = cupti_start(limit_bytes, launches, &failure)
        if not started:
            raise OSError(failure_text(&failure))
        self.on = True

    def external_ids(self):
        """Addresses of the functions that tag launches with an id; see cupti.pyi."""
        return <uintptr_t> cupti_push, <uintptr_t> cupti_pop

    def stop(self):
        """Ends the recording and returns its CuptiRecording."""
        cdef cupti_failure failure
        cdef cupti_recording recording
        cdef const cupti_buffer* buffer
        cdef bint ended
        if not self.on:
            raise ValueError("no recording is on")
        self.on = False
        with nogil:
            ended = cupti_stop(&recording, &failure)
        buffers = []
        unreadable = 0
        try:
            buffer = recording.buffers
            while buffer != NULL:
                records, whole = raw_records(buffer)
                buffers.append(records)
                unreadable += not whole
                buffer = buffer.next
        finally:
            cupti_free(recording.buffers)
        return CuptiRecording(
            tuple(buffers), recording.dropped, unreadable, recording.unnamed,
            recording.offset_ns, recording.step_ns, "" if ended else failure_text(&failure),
        )


def decode(buffers):
    """CuptiColumns of raw records."""
    cdef cupti_columns columns
    cdef uintptr_t address
    columns.work = NULL
    columns.call = NULL
    columns.external = NULL
    checked = [
        (np.frombuffer(data, np.uint8), np.ascontiguousarray(offsets, np.int64))
        for data, offsets in buffers
    ]
    decode_all(checked, &columns)
    work = np.empty(max(columns.works, 1), WORK)
    call = np.empty(max(columns.calls, 1), CALL)
    external = np.empty(max(columns.externals, 1), EXTERNAL)
    address = work.ctypes.data
    columns.work = <cupti_work*> address
    address = call.ctypes.data
    columns.call = <cupti_call*> address
    address = external.ctypes.data
    columns.external = <cupti_external*> address
    decode_all(checked, &columns)
    return CuptiColumns(
        work[:columns.works], call[:columns.calls], external[:columns.externals],
        columns.skipped, columns.truncated,
    )


cdef int decode_all(list buffers, cupti_columns* columns) except -1:
    cdef const uint8_t[::1] data
    cdef const int64_t[::1] offsets
    columns.works = columns.calls = columns.externals = 0
    columns.skipped = columns.truncated = 0
    for bytes_of, offsets_of in buffers:
        data = bytes_of
        offsets = offsets_of
        if offsets.shape[0] == 0:
            continue
        if data.shape[0] == 0:
            columns.truncated += offsets.shape[0]
            continue
        with nogil:
            cupti_decode(
                &data[0], data.shape[0], &offsets[0], offsets.shape[0], columns
            )
    return 0


def names_at(addresses):
    """The text at each address of this process's memory: kernel names, demangled."""
    cdef uintptr_t address
    cdef const char* text
    cdef char* plain
    names = {}
    for number in set(addresses):
        address = number
        if address == 0:
            names[number] = ""
            continue
        text = <const char*> address
        plain = cupti_demangle(text)
        try:
            names[number] = (plain if plain != NULL else text).decode("utf-8", "replace")
        finally:
            free(plain)
    return names
