"""Marks of the nodes that ONNX Runtime executes.

The interface is described in harness/native/marks.pyi.
"""

import os
from collections import namedtuple

from libc.stdint cimport int64_t, uint64_t, uintptr_t

from ort.abi cimport OrtEnv, OrtFunctions, OrtSessionOptions, OrtStatus
from ort.library cimport OrtLibrary, open_library, require_ok

import numpy as np


cdef extern from "marks/node_marks.h" nogil:
    int NODE_MARKS_OLDEST_MINOR
    struct node_mark:
        pass
    struct node_marks_counts:
        int64_t begun
        int64_t refused
        int64_t strayed
    OrtStatus* node_marks_register(const OrtFunctions*, const char*, OrtEnv**) noexcept
    OrtStatus* node_marks_unregister(OrtEnv*) noexcept
    OrtStatus* node_marks_append(OrtEnv*, OrtSessionOptions*) noexcept
    void node_marks_hooks(void (*)(uint64_t) noexcept nogil, void (*)() noexcept nogil) noexcept
    int64_t node_marks_start(node_mark*, int64_t) noexcept
    node_marks_counts node_marks_stop() noexcept


# struct node_mark.
MARK = np.dtype([
    ("start_ns", np.int64), ("stop_ns", np.int64), ("parent", np.int64), ("thread", np.int32),
    ("profiler", np.int32), ("category", np.int32), ("name_bytes", np.int32), ("name", "S64"),
])
assert MARK.itemsize == sizeof(node_mark)

Marks = namedtuple("Marks", ("first_id", "mark", "lost", "refused", "strayed"), module=__name__)

cdef bint registered = False
cdef object recording_into = None  # the marks that ORT's threads write to


cdef class NodeMarks:
    cdef OrtLibrary library
    cdef OrtEnv* env  # NULL when closed

    def __init__(self, library_path):
        global registered
        cdef bytes path = os.fsencode(__file__)
        cdef const char* c_path = path
        cdef OrtStatus* status
        if registered:
            raise ValueError("node marks already exist: close them first")
        open_library(
            &self.library, os.fsencode(library_path), NODE_MARKS_OLDEST_MINOR,
            b"cannot tell which node it executes",
        )
        with nogil:
            status = node_marks_register(&self.library.ort, c_path, &self.env)
        require_ok(&self.library.ort, status)
        registered = True

    def append_to(self, uintptr_t options):
        """Makes the session that will be created with these options report its nodes."""
        cdef OrtStatus* status
        if self.env == NULL:
            raise ValueError("the node marks are closed")
        with nogil:
            status = node_marks_append(self.env, <OrtSessionOptions*> options)
        require_ok(&self.library.ort, status)

    def hook(self, uintptr_t push, uintptr_t pop):
        """Reports each event to a tracer while it executes; see marks.pyi."""
        if self.env == NULL:
            raise ValueError("the node marks are closed")
        if recording_into is not None:
            raise ValueError("a recording is already on")
        node_marks_hooks(
            <void (*)(uint64_t) noexcept nogil> <void*> push,
            <void (*)() noexcept nogil> <void*> pop,
        )

    def unhook(self):
        """Stops reporting events to the tracer."""
        node_marks_hooks(NULL, NULL)

    def start(self, int64_t capacity):
        """Starts recording a mark for every event of ORT's profiler."""
        global recording_into
        if self.env == NULL:
            raise ValueError("the node marks are closed")
        if recording_into is not None:
            raise ValueError("a recording is already on")
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1: {capacity}")
        marks = np.empty(capacity, MARK)
        marks.view(np.uint8).fill(0)  # page faults now, not in the first inference
        cdef uintptr_t address = marks.ctypes.data
        recording_into = (node_marks_start(<node_mark*> address, capacity), marks)

    def stop(self):
        """Ends the recording and returns its Marks."""
        global recording_into
        cdef node_marks_counts counts
        if recording_into is None:
            raise ValueError("no recording is on")
        with nogil:
            counts = node_marks_stop()
        first_id, marks = recording_into
        recording_into = None
        kept = min(counts.begun, len(marks))
        return Marks(
            first_id, marks[:kept].copy(), counts.begun - kept, counts.refused, counts.strayed
        )

    def close(self):
        """Unregisters the provider."""
        cdef OrtStatus* status
        global registered
        if self.env == NULL:
            return
        if recording_into is not None:
            self.stop()
        self.unhook()
        with nogil:
            status = node_marks_unregister(self.env)
        self.env = NULL
        registered = False
        require_ok(&self.library.ort, status)
