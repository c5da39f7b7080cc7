#include "ort/library.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

/* Fills in the table; false, with a reason, if the library is too old or incomplete. */
static bool read_table(OrtLibrary *library, const OrtApiBase *base, const char *path,
                       int oldest_minor, const char *lacks, char *reason) {
    int major;
    library->version = base->GetVersionString();
    if (sscanf(library->version, "%d.%d", &major, &library->minor) != 2 || major != 1 ||
        library->minor < oldest_minor) {
        snprintf(reason, ORT_REASON_BYTES, "%s: ONNX Runtime %s %s, 1.%d or newer is needed", path,
                 library->version, lacks, oldest_minor);
        return false;
    }
    /* GetApi prints to stderr when asked for more than the library has. */
    int wanted = library->minor < ORT_NEWEST_MINOR_USED ? library->minor : ORT_NEWEST_MINOR_USED;
    const void *api = base->GetApi((uint32_t)wanted);
    if (api == NULL) {
        snprintf(reason, ORT_REASON_BYTES, "%s: has no API version %d", path, wanted);
        return false;
    }
    ort_functions_fill(&library->ort, api, library->minor);
    return true;
}

bool ort_library_open(OrtLibrary *library, const char *path, int oldest_minor, const char *lacks,
                      char reason[ORT_REASON_BYTES]) {
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        snprintf(reason, ORT_REASON_BYTES, "%s", dlerror());
        return false;
    }
    void *symbol = dlsym(handle, "OrtGetApiBase");
    if (symbol == NULL) {
        const char *error = dlerror();
        snprintf(reason, ORT_REASON_BYTES, "%s: not ONNX Runtime (%s)", path,
                 error != NULL ? error : "OrtGetApiBase is NULL");
        dlclose(handle);
        return false;
    }
    const OrtApiBase *(*get_base)(void);
    memcpy(&get_base, &symbol, sizeof symbol);
    if (!read_table(library, get_base(), path, oldest_minor, lacks, reason)) {
        dlclose(handle);
        return false;
    }
    return true;
}

const char *ort_error_name(int code) {
    static const char *const names[] = {
        "OK",
        "FAIL",
        "INVALID_ARGUMENT",
        "NO_SUCHFILE",
        "NO_MODEL",
        "ENGINE_ERROR",
        "RUNTIME_EXCEPTION",
        "INVALID_PROTOBUF",
        "MODEL_LOADED",
        "NOT_IMPLEMENTED",
        "INVALID_GRAPH",
        "EP_FAIL",
        "MODEL_LOAD_CANCELED",
        "MODEL_REQUIRES_COMPILATION",
        "NOT_FOUND",
        "DEVICE_RESET",
    };
    return code >= 0 && code < (int)(sizeof names / sizeof names[0]) ? names[code] : NULL;
}
