# ONNX Runtime's statuses as exceptions.
from libc.stdint cimport int64_t

from ort.abi cimport OrtFunctions, OrtStatus
from ort.library cimport take_status


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


class CustomOpsError(OrtError):
    """A library of custom operators cannot be loaded or registered; see ort.pyi."""


cdef int raise_status(
    const OrtFunctions* ort, OrtStatus* status, int64_t completed=0, kind=OrtError
) except -1:
    message, code = take_status(ort, status)
    raise kind(message, code, completed)


cdef inline int check(const OrtFunctions* ort, OrtStatus* status) except -1 nogil:
    """NULL passes, anything else is raised."""
    if status != NULL:
        with gil:
            raise_status(ort, status)
    return 0
