# cython: auto_pickle=False
"""ONNX Runtime through its C API: sessions, bindings and the timing loop.

The interface is described in harness/native/ort.pyi.
"""

import os
from collections import namedtuple

cimport cython
from libc.stdint cimport INT64_MAX, int64_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from ort.abi cimport *
from ort.library cimport OrtLibrary, open_library, take_status

import numpy as np


cdef extern from "clock.h" nogil:
    int64_t c_monotonic_ns "monotonic_ns"() noexcept
    int64_t c_realtime_offset_ns "realtime_offset_ns"() noexcept

cdef extern from "ort/log_ring.h" nogil:
    int LOG_LINE_BYTES
    void log_ring_write(
        void*, int, const char*, const char*, const char*, const char*
    ) noexcept
    int log_ring_take(char*, int*) noexcept
    int64_t log_ring_take_lost() noexcept

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
    int64_t timing_loop(
        const Inference*, int64_t, int64_t, int64_t*, int64_t*, int64_t*, OrtStatus**, int*
    ) noexcept
    int64_t untimed_loop(const Inference*, int64_t, OrtStatus**) noexcept
    int64_t stamp_loop(const Inference*, int64_t, int64_t*, OrtStatus**) noexcept


# ONNXTensorElementDataType by number: numpy's or ml_dtypes' name, and elements a byte where
# several share one (ORT packs them; ml_dtypes gives each a byte of its own).
cdef tuple ELEMENT_TYPES = (
    "undefined", "float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "string",
    "bool", "float16", "float64", "uint32", "uint64", "complex64", "complex128", "bfloat16",
    "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "uint4", "int4",
    "float4_e2m1fn", "uint2", "int2", "float8_e8m0fnu",
)
cdef dict ELEMENT_NUMBERS = {name: number for number, name in enumerate(ELEMENT_TYPES)}
cdef dict ELEMENTS_PER_BYTE = {"uint4": 2, "int4": 2, "float4_e2m1fn": 2, "uint2": 4, "int2": 4}
cdef int STRING = 8

cdef tuple KINDS = ("unknown", "tensor", "sequence", "map", "opaque", "sparse", "optional")
cdef int TENSOR = 1, SEQUENCE = 2, MAP = 3, OPTIONAL = 6

cdef tuple SEVERITIES = ("VERBOSE", "INFO", "WARNING", "ERROR", "FATAL")
cdef int WARNING = 2
cdef dict OPTIMIZATION_LEVELS = {
    "disable": 0, "basic": 1, "extended": 2, "layout": 3, "all": 99
}
cdef dict EXECUTION_MODES = {"sequential": 0, "parallel": 1}
cdef int ARENA_ALLOCATOR = 1, MEMORY_DEFAULT = 0
cdef int DEVICE_IS_CPU = 0
cdef tuple PLACES = ("host", "resident", "copied")

ValueType = namedtuple("ValueType", ("name", "kind", "dtype", "shape"), module=__name__)
ValueType.__doc__ = "Type of a model's input or output; see ort.pyi."


class OrtError(RuntimeError):
    """ONNX Runtime returned a status; see ort.pyi."""

    def __init__(self, message, code="FAIL", completed=0):
        super().__init__(message)
        self.code = code
        self.completed = completed


class ProviderError(OrtError):
    """An execution provider cannot be loaded or made; see ort.pyi."""


class ProviderOptionError(ProviderError):
    """An execution provider refuses its options; see ort.pyi."""


def monotonic_ns():
    """CLOCK_MONOTONIC in nanoseconds."""
    return c_monotonic_ns()


def realtime_offset_ns():
    """CLOCK_REALTIME minus CLOCK_MONOTONIC in nanoseconds."""
    return c_realtime_offset_ns()


cdef bytes c_string(bytes text):
    """The text itself; refused if C would see only a part of it."""
    if b"\0" in text:
        raise ValueError(f"embedded NUL in {text!r}")
    return text


cdef int raise_status(const OrtFunctions* ort, OrtStatus* status, int64_t completed) except -1:
    message, code = take_status(ort, status)
    raise OrtError(message, code, completed)


cdef inline int check(const OrtFunctions* ort, OrtStatus* status) except -1 nogil:
    """NULL passes, anything else is raised."""
    if status != NULL:
        with gil:
            raise_status(ort, status, 0)
    return 0


cdef class Library:
    cdef OrtFunctions ort
    cdef OrtEnv* env
    cdef OrtAllocator* allocator   # ORT's own default one; never released
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

    cdef str take_text(self, char* text):
        """Text that ORT allocated, copied and freed."""
        try:
            return text.decode("utf-8", "replace")
        finally:
            check(&self.ort, self.ort.AllocatorFree(self.allocator, text))

    cdef tuple describe_tensor(self, const OrtTensorTypeAndShapeInfo* info):
        """(element type name, shape with names of free dimensions or None).

        The shape is None where the model leaves even the number of dimensions open; ONNX
        Runtime before 1.24 does not tell that from a scalar.
        """
        cdef int element = 0
        cdef size_t rank = 0
        cdef size_t i
        cdef int64_t* sizes = NULL
        cdef const char** names = NULL
        check(&self.ort, self.ort.GetTensorElementType(info, &element))
        check(&self.ort, self.ort.GetDimensionsCount(info, &rank))
        if (
            rank == 0
            and self.ort.TensorTypeAndShape_HasShape != NULL
            and not self.ort.TensorTypeAndShape_HasShape(info)
        ):
            return element_name(element), None
        sizes = <int64_t*> malloc((rank + 1) * sizeof(int64_t))
        names = <const char**> malloc((rank + 1) * sizeof(char*))
        try:
            if sizes == NULL or names == NULL:
                raise MemoryError()
            check(&self.ort, self.ort.GetDimensions(info, sizes, rank))
            check(&self.ort, self.ort.GetSymbolicDimensions(info, names, rank))
            shape = tuple(
                sizes[i] if sizes[i] >= 0 else (names[i].decode("utf-8", "replace") or None)
                for i in range(rank)
            )
        finally:
            free(sizes)
            free(names)
        return element_name(element), shape

    cdef tuple describe_type(self, OrtTypeInfo* info):
        """(kind, dtype, shape) of a type; ValueType says what they mean."""
        cdef int kind = 0
        cdef int key = 0
        cdef const OrtTensorTypeAndShapeInfo* tensor = NULL
        cdef const OrtSequenceTypeInfo* sequence = NULL
        cdef const OrtMapTypeInfo* mapping = NULL
        cdef const OrtOptionalTypeInfo* optional = NULL
        cdef OrtTypeInfo* inner = NULL
        check(&self.ort, self.ort.GetOnnxTypeFromTypeInfo(info, &kind))
        if KINDS[kind] in ("tensor", "sparse"):
            check(&self.ort, self.ort.CastTypeInfoToTensorInfo(info, &tensor))
            if tensor != NULL:
                dtype, shape = self.describe_tensor(tensor)
                return KINDS[kind], dtype, shape
            return KINDS[kind], "undefined", None
        if kind == SEQUENCE:
            check(&self.ort, self.ort.CastTypeInfoToSequenceTypeInfo(info, &sequence))
            check(&self.ort, self.ort.GetSequenceElementType(sequence, &inner))
        elif kind == MAP:
            check(&self.ort, self.ort.CastTypeInfoToMapTypeInfo(info, &mapping))
            check(&self.ort, self.ort.GetMapKeyType(mapping, &key))
            check(&self.ort, self.ort.GetMapValueType(mapping, &inner))
        elif kind == OPTIONAL:
            check(&self.ort, self.ort.CastTypeInfoToOptionalTypeInfo(info, &optional))
            check(&self.ort, self.ort.GetOptionalContainedTypeInfo(optional, &inner))
        else:
            return KINDS[kind], "undefined", None
        try:
            inner_kind, dtype, _ = self.describe_type(inner)
        finally:
            self.ort.ReleaseTypeInfo(inner)
        if kind == MAP:
            dtype = f"{element_name(key)}->{dtype}"
        elif inner_kind != "tensor":
            dtype = f"{inner_kind}({dtype})"
        return KINDS[kind], dtype, None

    cdef OrtValue* create_tensor(self, array, list kept) except NULL:
        """An OrtValue over the array's memory; what must outlive it is appended to kept."""
        cdef OrtValue* value = NULL
        cdef int64_t* shape = NULL
        cdef size_t rank = array.ndim
        cdef size_t i
        cdef size_t size
        cdef uintptr_t address
        cdef int element
        name = "string" if array.dtype.kind in "OSTU" else array.dtype.name
        if name not in ELEMENT_NUMBERS:
            raise TypeError(f"element type {name} has no ONNX counterpart")
        element = ELEMENT_NUMBERS[name]
        shape = <int64_t*> malloc((rank + 1) * sizeof(int64_t))
        if shape == NULL:
            raise MemoryError()
        try:
            for i in range(rank):
                shape[i] = array.shape[i]
            if element != STRING:
                native = array.dtype.newbyteorder("=")
                array = pack(np.require(array, native, ["C", "A", "E"]), name)
                kept.append(array)
                address = array.ctypes.data
                size = array.nbytes
                check(
                    &self.ort,
                    self.ort.CreateTensorWithDataAsOrtValue(
                        self.host, <void*> address, size, shape, rank, element, &value
                    ),
                )
                return value
            encoded = [encode_text(text) for text in array.reshape(-1).tolist()]
            check(
                &self.ort,
                self.ort.CreateTensorAsOrtValue(self.allocator, shape, rank, element, &value),
            )
            try:
                self.fill_text(value, encoded)
            except BaseException:
                self.ort.ReleaseValue(value)
                raise
            return value
        finally:
            free(shape)

    cdef int fill_text(self, OrtValue* value, list encoded) except -1:
        """Copies bytes objects into a string tensor of as many elements."""
        cdef bytes text
        cdef const char* source
        cdef char* buffer = NULL
        cdef size_t length
        cdef size_t i = 0
        for text in encoded:
            source = text
            length = len(text)
            check(
                &self.ort,
                self.ort.GetResizedStringTensorElementBuffer(value, i, length, &buffer),
            )
            memcpy(buffer, source, length)
            i += 1
        return 0

    cdef OrtValue* create_value(self, content, str dtype, list kept) except NULL:
        """An OrtValue of an array, a list (sequence) or a dict (map).

        dtype is that of the ValueType; a dict's keys and values are brought to it.
        """
        cdef OrtValue* value = NULL
        cdef OrtValue** parts = NULL
        cdef size_t count
        cdef size_t made = 0
        cdef int kind
        if isinstance(content, np.ndarray):
            return self.create_tensor(content, kept)
        if isinstance(content, dict):
            kind = MAP
            contents = map_columns(content, dtype)
        elif isinstance(content, (list, tuple)):
            kind = SEQUENCE
            contents = list(content)
            if any(isinstance(part, (list, tuple)) for part in contents):
                raise TypeError("ONNX Runtime's C API cannot take a sequence of sequences")
        else:
            raise TypeError(
                f"an input must be a numpy array, a list or a dict, not {type(content).__name__}"
            )
        count = len(contents)
        if count == 0:
            raise ValueError("ONNX Runtime's C API cannot take an empty sequence or map")
        parts = <OrtValue**> malloc(count * sizeof(OrtValue*))
        if parts == NULL:
            raise MemoryError()
        try:
            for part in contents:
                parts[made] = self.create_value(part, dtype, kept)
                made += 1
            check(
                &self.ort,
                self.ort.CreateValue(<const OrtValue* const*> parts, count, kind, &value),
            )
            return value
        finally:
            # CreateValue took references of its own.
            while made:
                made -= 1
                self.ort.ReleaseValue(parts[made])
            free(parts)

    cdef int require_host_memory(self, OrtValue* value) except -1:
        """Reading a tensor that lies on a device would crash."""
        cdef const OrtMemoryInfo* place = NULL
        cdef const char* name = NULL
        cdef int device = DEVICE_IS_CPU
        check(&self.ort, self.ort.GetTensorMemoryInfo(value, &place))
        self.ort.MemoryInfoGetDeviceType(place, &device)
        if device != DEVICE_IS_CPU:
            check(&self.ort, self.ort.MemoryInfoGetName(place, &name))
            raise ValueError(f"an output lies in {name.decode()} memory: bind it to the host")
        return 0

    cdef object tensor_to_python(self, OrtValue* value):
        cdef OrtTensorTypeAndShapeInfo* info = NULL
        cdef size_t count = 0
        cdef size_t total = 0
        cdef size_t i
        cdef void* data = NULL
        cdef char* text = NULL
        cdef size_t* offsets = NULL
        check(&self.ort, self.ort.GetTensorTypeAndShape(value, &info))
        try:
            name, shape = self.describe_tensor(info)
            check(&self.ort, self.ort.GetTensorShapeElementCount(info, &count))
        finally:
            self.ort.ReleaseTensorTypeAndShapeInfo(info)
        if name != "string":
            self.require_host_memory(value)
            result = np.empty(packed_length(count, name), dtype=storage_dtype(name))
            if result.nbytes:
                check(&self.ort, self.ort.GetTensorMutableData(value, &data))
                result.view(np.uint8)[:] = <uint8_view[:result.nbytes]> data
            return unpack(result, name, count).reshape(shape)
        check(&self.ort, self.ort.GetStringTensorDataLength(value, &total))
        text = <char*> malloc(total + 1)
        offsets = <size_t*> malloc((count + 1) * sizeof(size_t))
        try:
            if text == NULL or offsets == NULL:
                raise MemoryError()
            check(
                &self.ort, self.ort.GetStringTensorContent(value, text, total, offsets, count)
            )
            offsets[count] = total
            strings = np.empty(count, dtype=object)
            for i in range(count):
                strings[i] = text[offsets[i]:offsets[i + 1]].decode("utf-8", "replace")
            return strings.reshape(shape)
        finally:
            free(text)
            free(offsets)

    cdef object value_to_python(self, OrtValue* value):
        cdef int kind = 0
        cdef int present = 0
        cdef size_t count = 0
        cdef size_t i
        cdef OrtValue* part = NULL
        check(&self.ort, self.ort.HasValue(value, &present))
        if not present:
            return None
        check(&self.ort, self.ort.GetValueType(value, &kind))
        if kind == TENSOR:
            return self.tensor_to_python(value)
        if kind != SEQUENCE and kind != MAP:
            raise TypeError(f"an output of kind {KINDS[kind]} cannot be read")
        check(&self.ort, self.ort.GetValueCount(value, &count))
        parts = []
        for i in range(count):
            check(&self.ort, self.ort.GetValue(value, <int> i, self.allocator, &part))
            try:
                parts.append(self.value_to_python(part))
            finally:
                self.ort.ReleaseValue(part)
        if kind == MAP:
            return dict(zip(parts[0].tolist(), parts[1].tolist(), strict=True))
        return parts


ctypedef unsigned char uint8_view


cdef bytes encode_text(text):
    """An element of a string tensor; bytes go in as they are."""
    if isinstance(text, bytes):
        return text
    if isinstance(text, str):
        return text.encode()
    raise TypeError(f"an element of a string tensor must be text, not {type(text).__name__}")


cdef list map_columns(dict content, str dtype):
    """Keys and values of a map as two arrays of the types in ``KEY->VALUE``."""
    names = dtype.removeprefix("map(").removesuffix(")").split("->")
    if len(names) != 2:
        raise TypeError(f"a dict was given for an input of type {dtype}")
    return [
        np.array(column, dtype=object) if name == "string"
        else np.array(column).astype(name, casting="same_kind")
        for column, name in zip(zip(*content.items(), strict=True), names)
    ]


cdef str element_name(int number):
    if 0 <= number < len(ELEMENT_TYPES):
        return ELEMENT_TYPES[number]
    return f"element_type_{number}"


cdef object storage_dtype(str name):
    """dtype of the memory that holds elements of this type."""
    if name in ELEMENTS_PER_BYTE:
        return np.dtype(np.uint8)
    if name in np.sctypeDict:
        return np.dtype(name)
    import ml_dtypes

    if not hasattr(ml_dtypes, name):
        raise TypeError(f"an output of element type {name} cannot be read")
    return np.dtype(getattr(ml_dtypes, name))


cdef size_t packed_length(size_t count, str name):
    cdef size_t per_byte = ELEMENTS_PER_BYTE.get(name, 1)
    return (count + per_byte - 1) // per_byte


cdef object pack(array, str name):
    """The array as ORT lays it out: several small elements a byte, the first lowest."""
    per_byte = ELEMENTS_PER_BYTE.get(name, 1)
    if per_byte == 1:
        return array
    bits = 8 // per_byte
    padded = np.zeros(packed_length(array.size, name) * per_byte, dtype=np.uint8)
    padded[: array.size] = array.reshape(-1).view(np.uint8) & ((1 << bits) - 1)
    shifts = np.arange(per_byte, dtype=np.uint8) * np.uint8(bits)
    return np.bitwise_or.reduce(padded.reshape(-1, per_byte) << shifts, axis=1)


cdef object unpack(packed, str name, size_t count):
    """Inverse of pack, as an ml_dtypes array."""
    per_byte = ELEMENTS_PER_BYTE.get(name, 1)
    if per_byte == 1:
        return packed
    import ml_dtypes

    bits = 8 // per_byte
    shifts = np.arange(per_byte, dtype=np.uint8) * np.uint8(bits)
    elements = ((packed[:, None] >> shifts) & ((1 << bits) - 1)).reshape(-1)[:count]
    dtype = np.dtype(getattr(ml_dtypes, name))
    if name.startswith("int"):  # sign extension
        signed = elements.astype(np.int8)
        signed[signed >= (1 << (bits - 1))] -= 1 << bits
        return signed.astype(dtype)
    if name.startswith("uint"):
        return elements.astype(dtype)
    return elements.view(dtype)


@cython.final
@cython.no_gc_clear  # its memory is released with the library's functions
cdef class SessionOwner:
    """An OrtSession and the options of its inferences, for as long as anyone refers to it."""

    cdef Library library
    cdef OrtSession* session
    cdef OrtRunOptions* options
    cdef bytes model  # a session of ORT's own format may read on in the bytes it was given

    def __dealloc__(self):
        with nogil:  # a session joins its threads
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
        text = owner.library.take_text(name)
        check(
            ort,
            ort.SessionGetInputTypeInfo(owner.session, i, &info) if inputs
            else ort.SessionGetOutputTypeInfo(owner.session, i, &info),
        )
        try:
            types.append(ValueType(text, *owner.library.describe_type(info)))
        finally:
            ort.ReleaseTypeInfo(info)
    return tuple(types)


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
        free_dimensions=(),
        optimized_model_path=None,
        profile_prefix=None,
        providers=(),
        custom_op_domains=(),
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
            raise ValueError("a session is created once")
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
            for key, text in dict(entries).items():
                check(
                    ort,
                    ort.AddSessionConfigEntry(
                        options, c_string(key.encode()), c_string(text.encode())
                    ),
                )
            for name, dimension in dict(free_dimensions).items():
                check(
                    ort,
                    ort.AddFreeDimensionOverrideByName(
                        options, c_string(name.encode()), dimension
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
        """CLOCK_REALTIME in nanoseconds from which the session profile's stamps count."""
        cdef SessionOwner owner = self.require_open()
        cdef uint64_t start = 0
        check(
            &owner.library.ort,
            owner.library.ort.SessionGetProfilingStartTimeNs(owner.session, &start),
        )
        return start

    @property
    def input_places(self):
        """Name of the memory from which the graph reads each input."""
        return describe_places(self.require_open(), True)

    @property
    def output_places(self):
        """Name of the memory into which the graph writes each output."""
        return describe_places(self.require_open(), False)

    def assignments(self):
        """(provider, nodes) of each part of the graph; see ort.pyi."""
        return describe_assignments(self.require_open())

    def bind(self, inputs, place="host", synchronise=0):
        """Binds inputs and lets ORT allocate every output."""
        return Binding(self, inputs, place, synchronise)

    def end_profiling(self):
        """Ends the session's profile and returns the path of its JSON file."""
        cdef SessionOwner owner = self.require_open()
        cdef char* name = NULL
        cdef OrtStatus* status
        if not self.profiled:
            raise ValueError("the session was made without profile_prefix")
        with nogil:
            status = owner.library.ort.SessionEndProfiling(
                owner.session, owner.library.allocator, &name
            )
        check(&owner.library.ort, status)
        self.profiled = False
        return owner.library.take_text(name)

    def close(self):
        """Gives the session up; ORT's is released when its last binding is closed too."""
        self.owner = None


cdef const OrtMemoryInfo** memory_places(
    SessionOwner owner, bint inputs, size_t count
) except NULL:
    """Memory of each input or output, in an array to be freed; what it points to is ORT's."""
    cdef OrtFunctions* ort = &owner.library.ort
    cdef const OrtMemoryInfo** places
    cdef OrtStatus* status
    if ort.SessionGetMemoryInfoForInputs == NULL:
        raise OrtError(
            f"ONNX Runtime {owner.library.version} does not tell where inputs and outputs lie, "
            "1.23 or newer is needed", "NOT_IMPLEMENTED",
        )
    places = <const OrtMemoryInfo**> calloc(count + 1, sizeof(OrtMemoryInfo*))
    if places == NULL:
        raise MemoryError()
    if inputs:
        status = ort.SessionGetMemoryInfoForInputs(owner.session, places, count)
    else:
        status = ort.SessionGetMemoryInfoForOutputs(owner.session, places, count)
    if status != NULL:
        free(places)
        check(ort, status)
    return places


cdef tuple describe_places(SessionOwner owner, bint inputs):
    cdef OrtFunctions* ort = &owner.library.ort
    cdef const char* name = NULL
    cdef size_t count = 0
    cdef size_t i
    cdef const OrtMemoryInfo** places
    check(
        ort,
        ort.SessionGetInputCount(owner.session, &count) if inputs
        else ort.SessionGetOutputCount(owner.session, &count),
    )
    places = memory_places(owner, inputs, count)
    try:
        names = []
        for i in range(count):
            check(ort, ort.MemoryInfoGetName(places[i], &name))
            names.append(name.decode("utf-8", "replace"))
        return tuple(names)
    finally:
        free(places)


cdef tuple describe_assignments(SessionOwner owner):
    """The strings and arrays belong to the session: nothing is to be freed."""
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
            f"ONNX Runtime {owner.library.version} does not tell which provider takes a node, "
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


cdef str append_provider(
    Library library, OrtSessionOptions* options, name, provider_options
):
    """Appends an execution provider; returns its options as they took effect, if it tells them.

    Loading its library can fail, and says so.
    """
    cdef list encoded = [
        (c_string(key.encode()), c_string(text.encode()))
        for key, text in provider_options.items()
    ]
    cdef bytes encoded_name = c_string(name.encode())
    cdef size_t count = len(encoded)
    cdef const char** keys = <const char**> malloc((count + 1) * sizeof(char*))
    cdef const char** values = <const char**> malloc((count + 1) * sizeof(char*))
    cdef size_t i = 0
    try:
        if keys == NULL or values == NULL:
            raise MemoryError()
        for key, text in encoded:
            keys[i] = key
            values[i] = text
            i += 1
        if name == "CUDA":
            return append_with_options(
                library, options, cuda_calls(&library.ort), keys, values, count
            )
        if name == "TensorRT":
            return append_with_options(
                library, options, tensorrt_calls(&library.ort), keys, values, count
            )
        check_provider(
            &library.ort,
            library.ort.SessionOptionsAppendExecutionProvider(
                options, encoded_name, keys, values, count
            ),
            ProviderError,
        )
        return None
    finally:
        free(keys)
        free(values)


cdef int check_provider(const OrtFunctions* ort, OrtStatus* status, kind) except -1:
    """Like check, for errors that are of another kind."""
    try:
        check(ort, status)
    except OrtError as error:
        raise kind(str(error), error.code) from None
    return 0


cdef struct OptionCalls:
    # The calls for a provider whose options are a struct of their own.
    OrtStatus* (*create)(OrtProviderOptions**) noexcept nogil
    OrtStatus* (*update)(
        OrtProviderOptions*, const char* const*, const char* const*, size_t
    ) noexcept nogil
    OrtStatus* (*append)(OrtSessionOptions*, const OrtProviderOptions*) noexcept nogil
    OrtStatus* (*describe)(const OrtProviderOptions*, OrtAllocator*, char**) noexcept nogil
    void (*release)(OrtProviderOptions*) noexcept nogil


cdef OptionCalls cuda_calls(const OrtFunctions* ort):
    cdef OptionCalls calls
    calls.create = ort.CreateCUDAProviderOptions
    calls.update = ort.UpdateCUDAProviderOptions
    calls.append = ort.SessionOptionsAppendExecutionProvider_CUDA_V2
    calls.describe = ort.GetCUDAProviderOptionsAsString
    calls.release = ort.ReleaseCUDAProviderOptions
    return calls


cdef OptionCalls tensorrt_calls(const OrtFunctions* ort):
    cdef OptionCalls calls
    calls.create = ort.CreateTensorRTProviderOptions
    calls.update = ort.UpdateTensorRTProviderOptions
    calls.append = ort.SessionOptionsAppendExecutionProvider_TensorRT_V2
    calls.describe = ort.GetTensorRTProviderOptionsAsString
    calls.release = ort.ReleaseTensorRTProviderOptions
    return calls


cdef str append_with_options(
    Library library, OrtSessionOptions* options, OptionCalls calls, const char** keys,
    const char** values, size_t count,
):
    cdef OrtFunctions* ort = &library.ort
    cdef OrtProviderOptions* made = NULL
    cdef OrtStatus* status
    cdef char* text = NULL
    check(ort, calls.create(&made))
    try:
        # The first call that needs the provider's library loads it: without an option to
        # refuse, or a library that does not load would be taken for a refused option.
        with nogil:
            status = calls.update(made, keys, values, 0)
        check_provider(ort, status, ProviderError)
        check_provider(ort, calls.update(made, keys, values, count), ProviderOptionError)
        with nogil:
            status = calls.append(options, made)
        check_provider(ort, status, ProviderError)
        check(ort, calls.describe(made, library.allocator, &text))
        return library.take_text(text)
    finally:
        calls.release(made)


cdef list undetermined_outputs(Session session):
    """Names of the outputs that must not meet the value of the inference before.

    ORT writes into what a bound output holds: a sequence grows, so do the texts of
    StringConcat, a tensor of another shape is refused (seen with ONNX Runtime 1.31).
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
            raise ValueError("only what is resident on a device is synchronised with it")
        self.owner = owner
        self.kept = []
        self.inference.ort = ort
        self.inference.options = owner.options
        self.inference.synchronise = <Synchronise> synchronise
        if synchronise:
            check(ort, ort.CreateRunOptions(&self.own_options))
            # Else Run would wait for the device itself, and nobody knew what the wait takes.
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
        # The C API has no absent optional: an input that is not bound is absent.
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
            value = self.owner.library.create_value(content, dtype, self.kept)
            with nogil:  # it copies to the device whose node reads it
                status = ort.BindInput(self.inference.binding, c_name, value)
                ort.ReleaseValue(value)  # the binding holds a reference of its own
            check(ort, status)
        return 0

    cdef int bind_outputs(self, Session session, bint resident) except -1:
        """Binds each output to the memory in which it is made, or to the host's."""
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
            places = memory_places(self.owner, False, len(session.outputs))
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
        """Keeps the inputs in host memory, for ORT to copy them in each inference."""
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
            values.inputs[values.input_count] = self.owner.library.create_value(
                content, dtype, self.kept
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
        """Must hold wherever the binding is used: ORT guards none of it against threads."""
        if self.busy:
            raise ValueError("the binding is in use by another thread")
        return 0

    cdef int require_open(self) except -1:
        if self.inference.session == NULL:
            raise ValueError("the binding is closed")
        return self.require_idle()

    cdef int require_plain(self) except -1:
        """What is measured against the timing loop is the loop of the CPU."""
        if self.inference.values != NULL or self.inference.synchronise != NULL:
            raise ValueError("only for a binding that copies nothing and waits for no device")
        return 0

    cdef int raise_failure(self, OrtStatus* failure, int device_error, int64_t completed) except -1:
        if failure != NULL:
            raise_status(self.inference.ort, failure, completed)
        if device_error:
            raise OrtError(
                f"waiting for the device failed with its error {device_error}", "FAIL", completed
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
                    library.value_to_python(self.values.outputs[i])
                    if self.values.outputs[i] != NULL else None
                    for i in range(self.values.output_count)
                ]
            check(
                ort,
                ort.GetBoundOutputValues(
                    self.inference.binding, library.allocator, &values, &count
                ),
            )
            return [library.value_to_python(values[i]) for i in range(count)]
        finally:
            self.busy = False
            for i in range(count):
                ort.ReleaseValue(values[i])
            if values != NULL:
                check(ort, ort.AllocatorFree(library.allocator, values))

    def time(self, int64_t[::1] start_ns not None, int64_t[::1] duration_ns not None,
             int64_t deadline_ns=0, int64_t[::1] enqueue_ns=None):
        """The timing loop; returns the inferences that were taken."""
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
                raise ValueError("enqueuing is told from the rest only where it is synchronised")
        if count == 0:
            return 0
        if enqueue_ns is not None:
            enqueue = &enqueue_ns[0]
        self.busy = True
        with nogil:
            completed = timing_loop(
                &self.inference, count, deadline_ns if deadline_ns else INT64_MAX,
                &start_ns[0], &duration_ns[0], enqueue, &failure, &device_error,
            )
        self.busy = False
        self.raise_failure(failure, device_error, completed)
        return completed

    def repeat(self, int64_t count):
        """Inferences without a stamp between them; returns their nanoseconds together."""
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
        """What the timing loop adds behind each of so many inferences, in nanoseconds."""
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
        """Gives everything native back; nothing is left to be given back twice."""
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
