# Sessions, and what they report about their graph.
import os

cimport cython
from libc.stdint cimport int64_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free

from ort.abi cimport *

cdef dict OPTIMIZATION_LEVELS = {
    "disable": 0, "basic": 1, "extended": 2, "layout": 3, "all": 99
}
cdef dict EXECUTION_MODES = {"sequential": 0, "parallel": 1}


@cython.final
@cython.no_gc_clear  # its memory is released with the library's functions
cdef class SessionOwner:
    """An OrtSession and its run options; they live as long as anything refers to them."""

    cdef Library library
    cdef OrtSession* session
    cdef OrtRunOptions* options
    cdef bytes model  # with ORT's own format, a session may go on reading these bytes

    def __dealloc__(self):
        with nogil:  # releasing a session joins its threads
            if self.options != NULL:
                self.library.ort.ReleaseRunOptions(self.options)
            if self.session != NULL:
                self.library.ort.ReleaseSession(self.session)


cdef tuple describe_values(SessionOwner owner, bint inputs):
    """ValueType of each input or output."""
    cdef OrtFunctions* ort = &owner.library.ort
    cdef size_t count = 0
    cdef size_t i
    cdef char* name = NULL
    cdef OrtTypeInfo* info = NULL
    check(
        ort,
        ort.SessionGetInputCount(owner.session, &count) if inputs
        else ort.SessionGetOutputCount(owner.session, &count),
    )
    types = []
    for i in range(count):
        check(
            ort,
            ort.SessionGetInputName(owner.session, i, owner.library.allocator, &name) if inputs
            else ort.SessionGetOutputName(owner.session, i, owner.library.allocator, &name),
        )
        text = take_text(owner.library, name)
        check(
            ort,
            ort.SessionGetInputTypeInfo(owner.session, i, &info) if inputs
            else ort.SessionGetOutputTypeInfo(owner.session, i, &info),
        )
        try:
            types.append(ValueType(text, *describe_type(owner.library, info)))
        finally:
            ort.ReleaseTypeInfo(info)
    return tuple(types)


cdef int register_custom_ops(
    const OrtFunctions* ort, OrtSessionOptions* options, bytes path
) except -1:
    """Registers a library of custom operators; ORT keeps it loaded until the session ends."""
    cdef const char* c_path = path
    cdef OrtStatus* status
    with nogil:  # its constructors run
        status = ort.RegisterCustomOpsLibrary_V2(options, c_path)
    if status != NULL:
        raise_status(ort, status, 0, CustomOpsError)
    return 0


cdef class Session:
    cdef SessionOwner owner  # None when closed
    cdef bint profiled
    cdef readonly tuple inputs
    cdef readonly tuple outputs
    cdef readonly int64_t create_ns
    cdef readonly int64_t provider_ns
    cdef readonly dict provider_options

    def __init__(
        self,
        Library library not None,
        model,
        *,
        int intra_threads=0,
        int inter_threads=0,
        optimization="all",
        execution_mode="sequential",
        entries=(),
        optimized_model_path=None,
        profile_prefix=None,
        providers=(),
        custom_op_domains=(),
        custom_op_libraries=(),
        bint arena=True,
        bint memory_pattern=True,
        session_options_hook=None,
    ):
        cdef OrtFunctions* ort = &library.ort
        cdef SessionOwner owner = SessionOwner()
        cdef OrtSessionOptions* options = NULL
        cdef bytes path
        cdef const char* c_model
        cdef size_t size = 0
        cdef bint from_memory = isinstance(model, bytes)
        cdef OrtStatus* status
        cdef int64_t start
        if self.inputs is not None:
            raise ValueError("a session can be created only once")
        owner.library = library
        if from_memory:
            owner.model = model
            c_model = owner.model
            size = len(owner.model)
        else:
            path = c_string(os.fsencode(model))
            c_model = path
        check(ort, ort.CreateSessionOptions(&options))
        try:
            check(ort, ort.SetIntraOpNumThreads(options, intra_threads))
            check(ort, ort.SetInterOpNumThreads(options, inter_threads))
            check(
                ort,
                ort.SetSessionGraphOptimizationLevel(options, OPTIMIZATION_LEVELS[optimization]),
            )
            check(ort, ort.SetSessionExecutionMode(options, EXECUTION_MODES[execution_mode]))
            if not arena:
                check(ort, ort.DisableCpuMemArena(options))
            if not memory_pattern:
                check(ort, ort.DisableMemPattern(options))
            for key, text in dict(entries).items():
                check(
                    ort,
                    ort.AddSessionConfigEntry(
                        options, c_string(key.encode()), c_string(text.encode())
                    ),
                )
            if optimized_model_path is not None:
                check(
                    ort,
                    ort.SetOptimizedModelFilePath(
                        options, c_string(os.fsencode(optimized_model_path))
                    ),
                )
            if profile_prefix is not None:
                check(
                    ort, ort.EnableProfiling(options, c_string(os.fsencode(profile_prefix)))
                )
                self.profiled = True
            for address in custom_op_domains:
                check(
                    ort,
                    ort.AddCustomOpDomain(options, <OrtCustomOpDomain*> <uintptr_t> address),
                )
            for file in custom_op_libraries:
                register_custom_ops(ort, options, c_string(os.fsencode(file)))
            start = c_monotonic_ns()
            self.provider_options = {
                name: append_provider(library, options, name, provider_options)
                for name, provider_options in providers
            }
            self.provider_ns = c_monotonic_ns() - start
            if session_options_hook is not None:
                session_options_hook(<uintptr_t> options)
            start = c_monotonic_ns()
            with nogil:
                if from_memory:
                    status = ort.CreateSessionFromArray(
                        library.env, c_model, size, options, &owner.session
                    )
                else:
                    status = ort.CreateSession(library.env, c_model, options, &owner.session)
            self.create_ns = c_monotonic_ns() - start
            check(ort, status)
        finally:
            ort.ReleaseSessionOptions(options)
        check(ort, ort.CreateRunOptions(&owner.options))
        inputs = describe_values(owner, True)
        self.outputs = describe_values(owner, False)
        self.inputs = inputs
        self.owner = owner

    cdef SessionOwner require_open(self):
        if self.owner is None:
            raise ValueError("the session is closed")
        return self.owner

    @property
    def profiling_start_ns(self):
        """CLOCK_REALTIME in nanoseconds at which the stamps of the session's profile start."""
        cdef SessionOwner owner = self.require_open()
        cdef uint64_t start = 0
        check(
            &owner.library.ort,
            owner.library.ort.SessionGetProfilingStartTimeNs(owner.session, &start),
        )
        return start

    def assignments(self):
        """(provider, nodes) of each part of the graph; see ort.pyi."""
        return describe_assignments(self.require_open())

    def bind(self, inputs, place="host", synchronise=0):
        """Binds inputs and lets ORT allocate every output."""
        return Binding(self, inputs, place, synchronise)

    def arena(self):
        """Statistics of the session's host allocator; see ort.pyi."""
        cdef SessionOwner owner = self.require_open()
        return describe_arena(owner, owner.library.host)

    def end_profiling(self):
        """Ends the session's profile and returns the path of its JSON file."""
        cdef SessionOwner owner = self.require_open()
        cdef char* name = NULL
        cdef OrtStatus* status
        if not self.profiled:
            raise ValueError("the session was created without profile_prefix")
        with nogil:
            status = owner.library.ort.SessionEndProfiling(
                owner.session, owner.library.allocator, &name
            )
        check(&owner.library.ort, status)
        self.profiled = False
        return take_text(owner.library, name)

    def close(self):
        """Closes the session; ORT's is released once its last binding is closed too."""
        self.owner = None


cdef const OrtMemoryInfo** output_places(SessionOwner owner, size_t count) except NULL:
    """Memory that the graph writes each output to, in an array that the caller frees.

    The elements belong to ORT.
    """
    cdef OrtFunctions* ort = &owner.library.ort
    cdef const OrtMemoryInfo** places
    cdef OrtStatus* status
    if ort.SessionGetMemoryInfoForOutputs == NULL:
        raise OrtError(
            f"ONNX Runtime {owner.library.version} does not report where outputs are, "
            "1.23 or newer is needed", "NOT_IMPLEMENTED",
        )
    places = <const OrtMemoryInfo**> calloc(count + 1, sizeof(OrtMemoryInfo*))
    if places == NULL:
        raise MemoryError()
    status = ort.SessionGetMemoryInfoForOutputs(owner.session, places, count)
    if status != NULL:
        free(places)
        raise_status(ort, status)
    return places


cdef dict describe_arena(SessionOwner owner, const OrtMemoryInfo* place):
    """Statistics by ORT's own names; empty for an allocator that keeps none."""
    cdef OrtFunctions* ort = &owner.library.ort
    cdef OrtAllocator* allocator = NULL
    cdef OrtKeyValuePairs* pairs = NULL
    cdef const char* const* names = NULL
    cdef const char* const* values = NULL
    cdef size_t count = 0
    cdef size_t i
    if ort.AllocatorGetStats == NULL:
        raise OrtError(
            f"ONNX Runtime {owner.library.version} does not report what its allocators hold, "
            "1.23 or newer is needed", "NOT_IMPLEMENTED",
        )
    check(ort, ort.CreateAllocator(owner.session, place, &allocator))
    try:
        check(ort, ort.AllocatorGetStats(allocator, &pairs))
        ort.GetKeyValuePairs(pairs, &names, &values, &count)
        return {
            names[i].decode("utf-8", "replace"): int(values[i].decode("utf-8", "replace"))
            for i in range(count)
        }
    finally:
        if pairs != NULL:
            ort.ReleaseKeyValuePairs(pairs)
        ort.ReleaseAllocator(allocator)


cdef tuple describe_assignments(SessionOwner owner):
    """(provider, nodes) of each part of the graph.

    The C strings and arrays belong to the session: nothing has to be freed.
    """
    cdef OrtFunctions* ort = &owner.library.ort
    cdef const OrtEpAssignedSubgraph* const* parts = NULL
    cdef const OrtEpAssignedNode* const* nodes = NULL
    cdef const char* provider = NULL
    cdef const char* name = NULL
    cdef const char* op_type = NULL
    cdef const char* domain = NULL
    cdef size_t part_count = 0
    cdef size_t node_count = 0
    cdef size_t i
    cdef size_t j
    if ort.Session_GetEpGraphAssignmentInfo == NULL:
        raise OrtError(
            f"ONNX Runtime {owner.library.version} does not report which provider runs a node, "
            "1.24 or newer is needed", "NOT_IMPLEMENTED",
        )
    check(ort, ort.Session_GetEpGraphAssignmentInfo(owner.session, &parts, &part_count))
    assignments = []
    for i in range(part_count):
        check(ort, ort.EpAssignedSubgraph_GetEpName(parts[i], &provider))
        check(ort, ort.EpAssignedSubgraph_GetNodes(parts[i], &nodes, &node_count))
        assigned = []
        for j in range(node_count):
            check(ort, ort.EpAssignedNode_GetName(nodes[j], &name))
            check(ort, ort.EpAssignedNode_GetOperatorType(nodes[j], &op_type))
            check(ort, ort.EpAssignedNode_GetDomain(nodes[j], &domain))
            assigned.append(
                tuple(text.decode("utf-8", "replace") for text in (name, op_type, domain))
            )
        assignments.append((provider.decode("utf-8", "replace"), tuple(assigned)))
    return tuple(assignments)
