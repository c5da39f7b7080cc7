# Opening ONNX Runtime and reading its statuses, for every module that calls it.
from ort.abi cimport OrtFunctions, OrtStatus

cdef extern from "ort/library.h" nogil:
    enum: ORT_REASON_BYTES
    ctypedef struct OrtLibrary:
        OrtFunctions ort
        const char* version
        int minor
    bint ort_library_open(OrtLibrary*, const char*, int, const char*, char*) noexcept
    const char* ort_error_name(int) noexcept


cdef inline int open_library(
    OrtLibrary* library, bytes path, int oldest_minor, const char* lacks
) except -1:
    """Opens the library, or raises OSError with the reason."""
    cdef char reason[ORT_REASON_BYTES]
    cdef const char* c_path = path
    cdef bint opened
    if b"\0" in path:  # C would see only the part before it
        raise ValueError(f"embedded NUL in {path!r}")
    with nogil:
        opened = ort_library_open(library, c_path, oldest_minor, lacks, reason)
    if not opened:
        raise OSError((<const char*> reason).decode("utf-8", "replace"))
    return 0


cdef inline tuple take_status(const OrtFunctions* ort, OrtStatus* status):
    """(message, name of the error code) of a status, which is released.

    The only place that reads a status.
    """
    cdef int code
    cdef const char* name
    try:
        code = ort.GetErrorCode(status)
        message = ort.GetErrorMessage(status).decode("utf-8", "replace")
    finally:
        ort.ReleaseStatus(status)
    name = ort_error_name(code)
    return message, name.decode() if name != NULL else f"CODE_{code}"


cdef inline int require_ok(const OrtFunctions* ort, OrtStatus* status) except -1:
    """NULL passes, anything else is raised as OSError."""
    if status != NULL:
        message, _ = take_status(ort, status)
        raise OSError(message)
    return 0
