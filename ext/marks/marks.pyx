"""Marks of the nodes that ONNX Runtime executes.

The interface is described in harness/native/marks.pyi.
"""

import os
from collections import namedtuple

from libc.stdint cimport int64_t, uint64_t, uintptr_t
from posix.dlfcn cimport RTLD_LOCAL, RTLD_NOW, dlerror, dlopen, dlsym

from ort.abi cimport OrtApiBase, OrtEnv, OrtSessionOptions, OrtStatus

import numpy as np


cdef extern from "marks/node_marks.h" nogil:
    int NODE_MARKS_OLDEST_MINOR
    struct node_mark:
        pass
    struct node_marks_counts:
        int64_t begun
        int64_t refused
        int64_t strayed
    OrtStatus* node_marks_register(const void*, const char*, OrtEnv**) noexcept
    OrtStatus* node_marks_unregister(const void*, OrtEnv*) noexcept
    OrtStatus* node_marks_append(const void*, OrtEnv*, OrtSessionOptions*) noexcept
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
cdef object recording_into = None  # the marks that threads of ORT write to


cdef int check(const void* api, OrtStatus* status) except -1:
    """NULL passes, anything else is released and raised."""
    cdef const void* const* slot = <const void* const*> api
    if status == NULL:
        return 0
    text = (<const char* (*)(const OrtStatus*) noexcept nogil> slot[2])(status)
    message = text.decode("utf-8", "replace")
    (<void (*)(OrtStatus*) noexcept nogil> slot[93])(status)
    raise OSError(message)


cdef class NodeMarks:
    cdef const void* api
    cdef OrtEnv* env  # NULL when closed

    def __init__(self, library_path):
        global registered
        cdef bytes name = os.fsencode(library_path)
        cdef bytes path = os.fsencode(__file__)
        cdef const char* c_path = path
        cdef void* handle
        cdef void* symbol
        cdef const OrtApiBase* base
        cdef OrtStatus* status
        if registered:
            raise ValueError("there are node marks already: close them first")
        handle = dlopen(name, RTLD_NOW | RTLD_LOCAL)
        if handle == NULL:
            raise OSError(dlerror().decode("utf-8", "replace"))
        symbol = dlsym(handle, b"OrtGetApiBase")
        if symbol == NULL:
            raise OSError(f"{library_path}: not ONNX Runtime")
        base = (<const OrtApiBase* (*)() noexcept nogil> symbol)()
        version = base.GetVersionString().decode()
        major, minor = (int(part) for part in version.split(".")[:2])
        if (major, minor) < (1, NODE_MARKS_OLDEST_MINOR):
            raise OSError(
                f"ONNX Runtime {version} cannot tell which node it executes, "
                f"1.{NODE_MARKS_OLDEST_MINOR} or newer is needed"
            )
        self.api = base.GetApi(NODE_MARKS_OLDEST_MINOR)
        if self.api == NULL:
            raise OSError(f"{library_path}: has no API version {NODE_MARKS_OLDEST_MINOR}")
        with nogil:
            status = node_marks_register(self.api, c_path, &self.env)
        check(self.api, status)
        registered = True

    def append_to(self, uintptr_t options):
        """Makes a session that is about to be made report its nodes."""
        cdef OrtStatus* status
        if self.env == NULL:
            raise ValueError("the node marks are closed")
        with nogil:
            status = node_marks_append(self.api, self.env, <OrtSessionOptions*> options)
        check(self.api, status)

    def hook(self, uintptr_t push, uintptr_t pop):
        """Has a tracer told which event is being executed; see marks.pyi."""
        if self.env == NULL:
            raise ValueError("the node marks are closed")
        if recording_into is not None:
            raise ValueError("a recording is on already")
        node_marks_hooks(
            <void (*)(uint64_t) noexcept nogil> <void*> push,
            <void (*)() noexcept nogil> <void*> pop,
        )

    def unhook(self):
        """Tells the tracer of no further event."""
        node_marks_hooks(NULL, NULL)

    def start(self, int64_t capacity):
        """From now on every event of ORT's profiler leaves a mark."""
        global recording_into
        if self.env == NULL:
            raise ValueError("the node marks are closed")
        if recording_into is not None:
            raise ValueError("a recording is on already")
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1: {capacity}")
        marks = np.empty(capacity, MARK)
        marks.view(np.uint8).fill(0)  # touched before the first inference does it
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
        """Takes the provider back."""
        cdef OrtStatus* status
        global registered
        if self.env == NULL:
            return
        if recording_into is not None:
            self.stop()
        self.unhook()
        with nogil:
            status = node_marks_unregister(self.api, self.env)
        self.env = NULL
        registered = False
        check(self.api, status)
