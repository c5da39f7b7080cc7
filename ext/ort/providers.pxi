# Appending execution providers to the options of a session.
from libc.stdlib cimport free, malloc

from ort.abi cimport *


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
        return take_text(library, text)
    finally:
        calls.release(made)
