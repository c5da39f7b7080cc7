/* Opening libonnxruntime: the only place where that is done, for all native modules.

   Each module opens it for itself, and the dynamic linker gives all of them the same one. */
#ifndef HARNESS_ORT_LIBRARY_H
#define HARNESS_ORT_LIBRARY_H

#include <limits.h>
#include <stdbool.h>

#include "ort/abi.h"

/* Room for any path and a sentence. */
enum { ORT_REASON_BYTES = PATH_MAX + 512 };

typedef struct OrtLibrary {
    OrtFunctions ort;    /* functions newer than the library are NULL */
    const char *version; /* "1.minor.patch", the library's own text */
    int minor;
} OrtLibrary;

/* Opens the library for good: ORT leaves threads and thread-local destructors behind. Fails, with
   a text in reason and nothing left behind, if it is not ONNX Runtime 1.oldest_minor or newer;
   `lacks` completes the sentence about an older one, as in "cannot be used". */
bool ort_library_open(OrtLibrary *library, const char *path, int oldest_minor, const char *lacks,
                      char reason[ORT_REASON_BYTES]);

/* Name of an OrtErrorCode without the prefix ORT_; NULL for an unknown one. */
const char *ort_error_name(int code);

#endif
