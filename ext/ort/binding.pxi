# Bound inputs and outputs, and inferences with them.
import os

cimport cython
from libc.stdint cimport INT64_MAX, int64_t, uintptr_t
from libc.stdlib cimport calloc, free

from ort.abi cimport *


cdef extern from "ort/timing_loop.h" nogil:
    ctypedef struct HostValues:
        const char** input_names
        const OrtValue** inputs
        size_t input_count
        const char** output_names
        OrtValue** outputs
        size_t output_count
    ctypedef int (*Synchronise)() noexcept
    ctypedef struct Inference:
        const OrtFunctions* ort
        OrtSession* session
        const OrtRunOptions* options
        OrtIoBinding* binding
        const char** fresh
        const OrtMemoryInfo** fresh_places
        size_t fresh_count
        const HostValues* values
        Synchronise synchronise
    void wait_until(int64_t) noexcept
    int64_t timing_loop(
        const Inference*, int64_t, int64_t, int64_t*, int64_t*, int64_t*, OrtStatus**, int*
    ) noexcept
    int64_t untimed_loop(const Inference*, int64_t, OrtStatus**) noexcept
    int64_t stamp_loop(const Inference*, int64_t, int64_t*, OrtStatus**) noexcept

cdef tuple PLACES = ("host", "resident", "copied")


cdef list undetermined_outputs(Session session):
    """Names of the outputs that must not hold the previous inference's value.

    ORT writes into the value that a bound output holds: sequences and the texts of StringConcat
    grow, and a tensor of a different shape is refused (seen with ONNX Runtime 1.31).
    """
    given = {size for described in session.inputs for size in described.shape or ()}
    return [
        described.name for described in session.outputs
        if described.kind != "tensor" or described.dtype == "string" or described.shape is None
        or any(
            size is None or (isinstance(size, str) and size not in given)
            for size in described.shape
        )
    ]


@cython.no_gc_clear  # its memory is released with the library's functions
cdef class Binding:
    cdef SessionOwner owner
    cdef Inference inference
    cdef HostValues values
    cdef OrtRunOptions* own_options
    cdef list kept  # memory that the inference points into
    cdef bint busy

    def __cinit__(
        self, Session session not None, inputs, place="host", uintptr_t synchronise=0
    ):
        cdef SessionOwner owner = session.require_open()
        cdef OrtFunctions* ort = &owner.library.ort
        if place not in PLACES:
            raise ValueError(f"{place!r} is not one of {', '.join(PLACES)}")
        if synchronise and place != "resident":
            raise ValueError("synchronise needs the place 'resident'")
        self.owner = owner
        self.kept = []
        self.inference.ort = ort
        self.inference.options = owner.options
        self.inference.synchronise = <Synchronise> synchronise
        if synchronise:
            check(ort, ort.CreateRunOptions(&self.own_options))
            # Else Run would wait for the device itself, and the wait could not be timed.
            check(
                ort,
                ort.AddRunConfigEntry(
                    self.own_options, b"disable_synchronize_execution_providers", b"1"
                ),
            )
            self.inference.options = self.own_options
        types = {described.name: described.dtype for described in session.inputs}
        for name in inputs:
            if name not in types:
                raise ValueError(f"the model has no input {name!r}")
        # The C API cannot express an absent optional: an input that is not bound is absent.
        given = [
            (name.encode(), content, types[name])
            for name, content in inputs.items() if content is not None
        ]
        if place == "copied":
            self.keep_values(given, session.outputs)
        else:
            self.bind_inputs(given)
            self.bind_outputs(session, place == "resident")
        self.inference.session = owner.session  # from here on it is open

    cdef int bind_inputs(self, list given) except -1:
        cdef const OrtFunctions* ort = self.inference.ort
        cdef OrtValue* value
        cdef OrtStatus* status
        cdef bytes name
        cdef const char* c_name
        check(ort, ort.CreateIoBinding(self.owner.session, &self.inference.binding))
        for name, content, dtype in given:
            c_name = name
            value = create_value(self.owner.library, content, dtype, self.kept)
            with nogil:  # ORT copies it to the device whose node reads it
                status = ort.BindInput(self.inference.binding, c_name, value)
                ort.ReleaseValue(value)  # the binding holds a reference of its own
            check(ort, status)
        return 0

    cdef int bind_outputs(self, Session session, bint resident) except -1:
        """Binds each output to the memory in which it is produced, or to the host's."""
        cdef const OrtFunctions* ort = self.inference.ort
        cdef const OrtMemoryInfo** places = NULL
        cdef const OrtMemoryInfo* place
        cdef size_t i = 0
        cdef bytes name
        undetermined = undetermined_outputs(session)
        self.inference.fresh = <const char**> calloc(len(undetermined) + 1, sizeof(char*))
        self.inference.fresh_places = <const OrtMemoryInfo**> calloc(
            len(undetermined) + 1, sizeof(OrtMemoryInfo*)
        )
        if self.inference.fresh == NULL or self.inference.fresh_places == NULL:
            raise MemoryError()
        if resident:
            places = output_places(self.owner, len(session.outputs))
        try:
            for described in session.outputs:
                name = described.name.encode()
                place = places[i] if resident else self.owner.library.host
                i += 1
                check(ort, ort.BindOutputToDevice(self.inference.binding, name, place))
                if described.name in undetermined:
                    self.kept.append(name)
                    self.inference.fresh[self.inference.fresh_count] = name
                    self.inference.fresh_places[self.inference.fresh_count] = place
                    self.inference.fresh_count += 1
        finally:
            free(places)
        return 0

    cdef int keep_values(self, list given, tuple outputs) except -1:
        """Keeps the inputs in host memory, so that ORT copies them in each inference."""
        cdef HostValues* values = &self.values
        cdef bytes name
        values.input_names = <const char**> calloc(len(given) + 1, sizeof(char*))
        values.inputs = <const OrtValue**> calloc(len(given) + 1, sizeof(OrtValue*))
        values.output_names = <const char**> calloc(len(outputs) + 1, sizeof(char*))
        values.outputs = <OrtValue**> calloc(len(outputs) + 1, sizeof(OrtValue*))
        if (
            values.input_names == NULL or values.inputs == NULL
            or values.output_names == NULL or values.outputs == NULL
        ):
            raise MemoryError()
        for name, content, dtype in given:
            self.kept.append(name)
            values.input_names[values.input_count] = name
            values.inputs[values.input_count] = create_value(
                self.owner.library, content, dtype, self.kept
            )
            values.input_count += 1
        for described in outputs:
            name = described.name.encode()
            self.kept.append(name)
            values.output_names[values.output_count] = name
            values.output_count += 1
        self.inference.values = values
        return 0

    cdef int require_idle(self) except -1:
        """Call before each use: ORT does not protect a binding against concurrent use."""
        if self.busy:
            raise ValueError("the binding is in use by another thread")
        return 0

    cdef int require_open(self) except -1:
        if self.inference.session == NULL:
            raise ValueError("the binding is closed")
        return self.require_idle()

    cdef int require_plain(self) except -1:
        """The loops that check the timing loop exist for its CPU form only."""
        if self.inference.values != NULL or self.inference.synchronise != NULL:
            raise ValueError("only for a binding that neither copies nor waits for a device")
        return 0

    cdef int raise_failure(self, OrtStatus* failure, int device_error, int64_t completed) except -1:
        if failure != NULL:
            raise_status(self.inference.ort, failure, completed)
        if device_error:
            raise OrtError(
                f"waiting for the device failed with error {device_error}", "FAIL", completed
            )
        return 0

    def run(self, profile_prefix=None):
        """One inference; returns its duration in nanoseconds."""
        cdef const OrtFunctions* ort = self.inference.ort
        cdef Inference inference
        cdef OrtRunOptions* profiling = NULL
        cdef OrtStatus* failure = NULL
        cdef int device_error = 0
        cdef int64_t start
        cdef int64_t duration = 0
        self.require_open()
        inference = self.inference
        try:
            if profile_prefix is not None:
                if ort.RunOptionsEnableProfiling == NULL:
                    raise OrtError(
                        f"ONNX Runtime {self.owner.library.version} cannot profile single "
                        "inferences, 1.25 or newer is needed", "NOT_IMPLEMENTED",
                    )
                check(ort, ort.CreateRunOptions(&profiling))
                check(
                    ort,
                    ort.RunOptionsEnableProfiling(
                        profiling, c_string(os.fsencode(profile_prefix))
                    ),
                )
                inference.options = profiling
            self.busy = True
            with nogil:
                timing_loop(
                    &inference, 1, INT64_MAX, &start, &duration, NULL, &failure, &device_error
                )
            self.busy = False
            self.raise_failure(failure, device_error, 0)
            return duration
        finally:
            if profiling != NULL:
                ort.ReleaseRunOptions(profiling)

    def outputs(self):
        """Outputs of the last inference, copied to Python, in the model's order."""
        cdef Library library
        cdef const OrtFunctions* ort = self.inference.ort
        cdef OrtValue** values = NULL
        cdef size_t count = 0
        cdef size_t i
        self.require_open()
        library = self.owner.library
        self.busy = True
        try:
            if self.inference.values != NULL:
                return [
                    value_to_python(library, self.values.outputs[i])
                    if self.values.outputs[i] != NULL else None
                    for i in range(self.values.output_count)
                ]
            check(
                ort,
                ort.GetBoundOutputValues(
                    self.inference.binding, library.allocator, &values, &count
                ),
            )
            return [value_to_python(library, values[i]) for i in range(count)]
        finally:
            self.busy = False
            for i in range(count):
                ort.ReleaseValue(values[i])
            if values != NULL:
                check(ort, ort.AllocatorFree(library.allocator, values))

    def time(self, int64_t[::1] start_ns not None, int64_t[::1] duration_ns not None,
             int64_t deadline_ns=0, int64_t[::1] enqueue_ns=None, int64_t begin_ns=0):
        """The timing loop; returns the number of inferences."""
        cdef int64_t count = start_ns.shape[0]
        cdef int64_t completed
        cdef int64_t* enqueue = NULL
        cdef OrtStatus* failure = NULL
        cdef int device_error = 0
        self.require_open()
        if duration_ns.shape[0] != count:
            raise ValueError("start_ns and duration_ns differ in length")
        if enqueue_ns is not None:
            if enqueue_ns.shape[0] != count:
                raise ValueError("start_ns and enqueue_ns differ in length")
            if self.inference.synchronise == NULL:
                raise ValueError("enqueue_ns needs a binding with synchronise")
        if count == 0:
            return 0
        if enqueue_ns is not None:
            enqueue = &enqueue_ns[0]
        self.busy = True
        with nogil:
            wait_until(begin_ns)
            completed = timing_loop(
                &self.inference, count, deadline_ns if deadline_ns else INT64_MAX,
                &start_ns[0], &duration_ns[0], enqueue, &failure, &device_error,
            )
        self.busy = False
        self.raise_failure(failure, device_error, completed)
        return completed

    def repeat(self, int64_t count):
        """Inferences without stamps in between; returns their total time in nanoseconds."""
        cdef OrtStatus* failure = NULL
        cdef int64_t total_ns
        self.require_open()
        self.require_plain()
        self.busy = True
        with nogil:
            total_ns = untimed_loop(&self.inference, count, &failure)
        self.busy = False
        check(self.inference.ort, failure)
        return total_ns

    def stamp_cost(self, int64_t[::1] added_ns not None):
        """Writes what the timing loop adds to each inference, in nanoseconds, into added_ns."""
        cdef int64_t count = added_ns.shape[0]
        cdef OrtStatus* failure = NULL
        self.require_open()
        self.require_plain()
        if count == 0:
            return
        self.busy = True
        with nogil:
            stamp_loop(&self.inference, count, &added_ns[0], &failure)
        self.busy = False
        check(self.inference.ort, failure)

    def close(self):
        """Releases the bound values; may be called twice."""
        self.require_idle()
        self.release()
        self.kept = []
        self.owner = None

    cdef void release(self) noexcept:
        """Releases everything native; safe to call again."""
        cdef const OrtFunctions* ort = self.inference.ort
        cdef HostValues* values = &self.values
        cdef OrtIoBinding* binding = self.inference.binding
        cdef size_t i
        self.inference.session = NULL
        self.inference.binding = NULL
        self.inference.values = NULL
        with nogil:  # freeing a device's memory may wait for it
            if binding != NULL:
                ort.ReleaseIoBinding(binding)
            for i in range(values.input_count):
                ort.ReleaseValue(<OrtValue*> values.inputs[i])
            for i in range(values.output_count):
                if values.outputs[i] != NULL:
                    ort.ReleaseValue(values.outputs[i])
            values.input_count = 0
            values.output_count = 0
            if self.own_options != NULL:
                ort.ReleaseRunOptions(self.own_options)
            self.own_options = NULL
            free(values.input_names)
            free(values.inputs)
            free(values.output_names)
            free(values.outputs)
            free(self.inference.fresh)
            free(self.inference.fresh_places)
            values.input_names = NULL
            values.inputs = NULL
            values.output_names = NULL
            values.outputs = NULL
            self.inference.fresh = NULL
            self.inference.fresh_places = NULL
            self.inference.fresh_count = 0

    def __dealloc__(self):
        self.release()
