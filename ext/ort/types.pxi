# Types of a model's inputs and outputs.
from collections import namedtuple

from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc

from ort.abi cimport *

# Names of ONNXTensorElementDataType in numpy or ml_dtypes, by number.
cdef tuple ELEMENT_TYPES = (
    "undefined", "float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "string",
    "bool", "float16", "float64", "uint32", "uint64", "complex64", "complex128", "bfloat16",
    "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "uint4", "int4",
    "float4_e2m1fn", "uint2", "int2", "float8_e8m0fnu",
)
cdef int STRING = 8

cdef tuple KINDS = ("unknown", "tensor", "sequence", "map", "opaque", "sparse", "optional")
cdef int TENSOR = 1, SEQUENCE = 2, MAP = 3, OPTIONAL = 6

ValueType = namedtuple("ValueType", ("name", "kind", "dtype", "shape"), module=__name__)
ValueType.__doc__ = "Type of a model's input or output; see ort.pyi."


cdef str element_name(int number):
    if 0 <= number < len(ELEMENT_TYPES):
        return ELEMENT_TYPES[number]
    return f"element_type_{number}"


cdef tuple describe_tensor(Library library, const OrtTensorTypeAndShapeInfo* info):
    """(element type name, shape with names of free dimensions or None).

    The shape is None if the model leaves even the rank open; ONNX Runtime before 1.24 does not
    distinguish that from a scalar.
    """
    cdef int element = 0
    cdef size_t rank = 0
    cdef size_t i
    cdef int64_t* sizes = NULL
    cdef const char** names = NULL
    check(&library.ort, library.ort.GetTensorElementType(info, &element))
    check(&library.ort, library.ort.GetDimensionsCount(info, &rank))
    if (
        rank == 0
        and library.ort.TensorTypeAndShape_HasShape != NULL
        and not library.ort.TensorTypeAndShape_HasShape(info)
    ):
        return element_name(element), None
    sizes = <int64_t*> malloc((rank + 1) * sizeof(int64_t))
    names = <const char**> malloc((rank + 1) * sizeof(char*))
    try:
        if sizes == NULL or names == NULL:
            raise MemoryError()
        check(&library.ort, library.ort.GetDimensions(info, sizes, rank))
        check(&library.ort, library.ort.GetSymbolicDimensions(info, names, rank))
        shape = tuple(
            sizes[i] if sizes[i] >= 0 else (names[i].decode("utf-8", "replace") or None)
            for i in range(rank)
        )
    finally:
        free(sizes)
        free(names)
    return element_name(element), shape


cdef tuple describe_type(Library library, OrtTypeInfo* info):
    """(kind, dtype, shape) of a type, as in ValueType."""
    cdef int kind = 0
    cdef int key = 0
    cdef const OrtTensorTypeAndShapeInfo* tensor = NULL
    cdef const OrtSequenceTypeInfo* sequence = NULL
    cdef const OrtMapTypeInfo* mapping = NULL
    cdef const OrtOptionalTypeInfo* optional = NULL
    cdef OrtTypeInfo* inner = NULL
    check(&library.ort, library.ort.GetOnnxTypeFromTypeInfo(info, &kind))
    if KINDS[kind] in ("tensor", "sparse"):
        check(&library.ort, library.ort.CastTypeInfoToTensorInfo(info, &tensor))
        if tensor != NULL:
            dtype, shape = describe_tensor(library, tensor)
            return KINDS[kind], dtype, shape
        return KINDS[kind], "undefined", None
    if kind == SEQUENCE:
        check(&library.ort, library.ort.CastTypeInfoToSequenceTypeInfo(info, &sequence))
        check(&library.ort, library.ort.GetSequenceElementType(sequence, &inner))
    elif kind == MAP:
        check(&library.ort, library.ort.CastTypeInfoToMapTypeInfo(info, &mapping))
        check(&library.ort, library.ort.GetMapKeyType(mapping, &key))
        check(&library.ort, library.ort.GetMapValueType(mapping, &inner))
    elif kind == OPTIONAL:
        check(&library.ort, library.ort.CastTypeInfoToOptionalTypeInfo(info, &optional))
        check(&library.ort, library.ort.GetOptionalContainedTypeInfo(optional, &inner))
    else:
        return KINDS[kind], "undefined", None
    try:
        inner_kind, dtype, _ = describe_type(library, inner)
    finally:
        library.ort.ReleaseTypeInfo(inner)
    if kind == MAP:
        dtype = f"{element_name(key)}->{dtype}"
    elif inner_kind != "tensor":
        dtype = f"{inner_kind}({dtype})"
    return KINDS[kind], dtype, None
