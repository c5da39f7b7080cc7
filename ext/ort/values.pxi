# Values, from Python to ONNX Runtime and back.
from libc.stdint cimport int64_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from ort.abi cimport *

import numpy as np

cdef dict ELEMENT_NUMBERS = {name: number for number, name in enumerate(ELEMENT_TYPES)}
# Sub-byte types: ORT packs several elements into a byte, ml_dtypes gives each its own.
cdef dict ELEMENTS_PER_BYTE = {"uint4": 2, "int4": 2, "float4_e2m1fn": 2, "uint2": 4, "int2": 4}
cdef int DEVICE_IS_CPU = 0

ctypedef unsigned char uint8_view


cdef OrtValue* create_value(Library library, content, str dtype, list kept) except NULL:
    """An OrtValue of an array, a list (sequence) or a dict (map).

    dtype is the one in ValueType; a dict's keys and values are converted to it.
    """
    cdef OrtValue* value = NULL
    cdef OrtValue** parts = NULL
    cdef size_t count
    cdef size_t made = 0
    cdef int kind
    if isinstance(content, np.ndarray):
        return create_tensor(library, content, kept)
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
            parts[made] = create_value(library, part, dtype, kept)
            made += 1
        check(
            &library.ort,
            library.ort.CreateValue(<const OrtValue* const*> parts, count, kind, &value),
        )
        return value
    finally:
        # CreateValue took references of its own.
        while made:
            made -= 1
            library.ort.ReleaseValue(parts[made])
        free(parts)


cdef list map_columns(dict content, str dtype):
    """Keys and values of a map as two arrays, of the types named in ``KEY->VALUE``."""
    names = dtype.removeprefix("map(").removesuffix(")").split("->")
    if len(names) != 2:
        raise TypeError(f"a dict was given for an input of type {dtype}")
    return [
        np.array(column, dtype=object) if name == "string"
        else np.array(column).astype(name, casting="same_kind")
        for column, name in zip(zip(*content.items(), strict=True), names)
    ]


cdef OrtValue* create_tensor(Library library, array, list kept) except NULL:
    """An OrtValue over the array's memory; appends to kept what must outlive it."""
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
                &library.ort,
                library.ort.CreateTensorWithDataAsOrtValue(
                    library.host, <void*> address, size, shape, rank, element, &value
                ),
            )
            return value
        encoded = [encode_text(text) for text in array.reshape(-1).tolist()]
        check(
            &library.ort,
            library.ort.CreateTensorAsOrtValue(library.allocator, shape, rank, element, &value),
        )
        try:
            fill_text(library, value, encoded)
        except BaseException:
            library.ort.ReleaseValue(value)
            raise
        return value
    finally:
        free(shape)


cdef int fill_text(Library library, OrtValue* value, list encoded) except -1:
    """Copies bytes objects into a string tensor with the same number of elements."""
    cdef bytes text
    cdef const char* source
    cdef char* buffer = NULL
    cdef size_t length
    cdef size_t i = 0
    for text in encoded:
        source = text
        length = len(text)
        check(
            &library.ort,
            library.ort.GetResizedStringTensorElementBuffer(value, i, length, &buffer),
        )
        memcpy(buffer, source, length)
        i += 1
    return 0


cdef bytes encode_text(text):
    """An element of a string tensor; bytes go in as they are."""
    if isinstance(text, bytes):
        return text
    if isinstance(text, str):
        return text.encode()
    raise TypeError(f"an element of a string tensor must be text, not {type(text).__name__}")


cdef object value_to_python(Library library, OrtValue* value):
    cdef int kind = 0
    cdef int present = 0
    cdef size_t count = 0
    cdef size_t i
    cdef OrtValue* part = NULL
    check(&library.ort, library.ort.HasValue(value, &present))
    if not present:
        return None
    check(&library.ort, library.ort.GetValueType(value, &kind))
    if kind == TENSOR:
        return tensor_to_python(library, value)
    if kind != SEQUENCE and kind != MAP:
        raise TypeError(f"an output of kind {KINDS[kind]} cannot be read")
    check(&library.ort, library.ort.GetValueCount(value, &count))
    parts = []
    for i in range(count):
        check(&library.ort, library.ort.GetValue(value, <int> i, library.allocator, &part))
        try:
            parts.append(value_to_python(library, part))
        finally:
            library.ort.ReleaseValue(part)
    if kind == MAP:
        return dict(zip(parts[0].tolist(), parts[1].tolist(), strict=True))
    return parts


cdef object tensor_to_python(Library library, OrtValue* value):
    cdef OrtTensorTypeAndShapeInfo* info = NULL
    cdef size_t count = 0
    cdef size_t total = 0
    cdef size_t i
    cdef void* data = NULL
    cdef char* text = NULL
    cdef size_t* offsets = NULL
    check(&library.ort, library.ort.GetTensorTypeAndShape(value, &info))
    try:
        name, shape = describe_tensor(library, info)
        check(&library.ort, library.ort.GetTensorShapeElementCount(info, &count))
    finally:
        library.ort.ReleaseTensorTypeAndShapeInfo(info)
    if name != "string":
        require_host_memory(library, value)
        result = np.empty(packed_length(count, name), dtype=storage_dtype(name))
        if result.nbytes:
            check(&library.ort, library.ort.GetTensorMutableData(value, &data))
            result.view(np.uint8)[:] = <uint8_view[:result.nbytes]> data
        return unpack(result, name, count).reshape(shape)
    check(&library.ort, library.ort.GetStringTensorDataLength(value, &total))
    text = <char*> malloc(total + 1)
    offsets = <size_t*> malloc((count + 1) * sizeof(size_t))
    try:
        if text == NULL or offsets == NULL:
            raise MemoryError()
        check(
            &library.ort, library.ort.GetStringTensorContent(value, text, total, offsets, count)
        )
        offsets[count] = total
        strings = np.empty(count, dtype=object)
        for i in range(count):
            strings[i] = text[offsets[i]:offsets[i + 1]].decode("utf-8", "replace")
        return strings.reshape(shape)
    finally:
        free(text)
        free(offsets)


cdef int require_host_memory(Library library, OrtValue* value) except -1:
    """Refuses a tensor in device memory: reading it would crash."""
    cdef const OrtMemoryInfo* place = NULL
    cdef const char* name = NULL
    cdef int device = DEVICE_IS_CPU
    check(&library.ort, library.ort.GetTensorMemoryInfo(value, &place))
    library.ort.MemoryInfoGetDeviceType(place, &device)
    if device != DEVICE_IS_CPU:
        check(&library.ort, library.ort.MemoryInfoGetName(place, &name))
        raise ValueError(f"an output is in {name.decode()} memory: bind it to the host")
    return 0


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
    """The array in ORT's layout: several sub-byte elements per byte, the first in the low bits."""
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
