# Appending execution providers to a session's options.
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from ort.abi cimport *


cdef struct OptionCalls:
    # The calls for a provider that has its own options struct.
    OrtStatus* (*create)(OrtProviderOptions**) noexcept nogil
    OrtStatus* (*update)(
        OrtProviderOptions*, const char* const*, const char* const*, size_t
    ) noexcept nogil
    OrtStatus* (*append)(OrtSessionOptions*, const OrtProviderOptions*) noexcept nogil
    OrtStatus* (*describe)(const OrtProviderOptions*, OrtAllocator*, char**) noexcept nogil
    void (*release)(OrtProviderOptions*) noexcept nogil


cdef str append_provider(
    Library library, OrtSessionOptions* options, name, provider_options
):
    """Appends an execution provider; returns its effective options, or None if not reported.

    Raises ProviderError if its library cannot be loaded.
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
    cdef OptionCalls calls
    try:
        if keys == NULL or values == NULL:
            raise MemoryError()
        for key, text in encoded:
            keys[i] = key
            values[i] = text
            i += 1
        calls = option_calls(&library.ort, name)
        if calls.create != NULL:
            return append_with_options(library, options, calls, keys, values, count)
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
    """Like check, but raises the given kind of error."""
    if status != NULL:
        raise_status(ort, status, 0, kind)
    return 0


cdef OptionCalls option_calls(const OrtFunctions* ort, str name):
    """The calls of a provider; all NULL for one that takes its options as they are."""
    cdef OptionCalls calls
    memset(&calls, 0, sizeof(calls))
    if name == "CUDA":
        calls.create = ort.CreateCUDAProviderOptions
        calls.update = ort.UpdateCUDAProviderOptions
        calls.append = ort.SessionOptionsAppendExecutionProvider_CUDA_V2
        calls.describe = ort.GetCUDAProviderOptionsAsString
        calls.release = ort.ReleaseCUDAProviderOptions
    elif name == "TensorRT":
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
        # The first call that needs the provider's library loads it. It is made without options,
        # or a library that does not load would look like a refused option.
        with nogil:
            status = calls.update(made, keys, values, 0)
        check_provider(ort, status, ProviderError)
        check_provider(ort, calls.update(made, keys, values, count), ProviderOptionError)
        with nogil:
            status = calls.append(options, made)
        check_provider(ort, status, ProviderError)
        check(ort, calls.describe(made, library.allocator, &text))
        return take_text(library, text)
    finally:
        calls.release(made)
