/* ONNX Runtime's table of functions, of which one refuses. */
#include <stdlib.h>
#include <string.h>

#include "ort/abi.h"

/* A text in an OrtStatus' place. */
struct OrtStatus {
    char message[64];
};

int statuses, domains, environments; /* that were made and not yet released */
static char refusing[64];            /* the function that does not do what it is asked for */

void refuse(const char *name) { strncpy(refusing, name, sizeof refusing - 1); }

static OrtStatus *create_status(int code, const char *message) {
    OrtStatus *made = calloc(1, sizeof *made);
    strncpy(made->message, message, sizeof made->message - 1);
    statuses++;
    return made;
}

static OrtStatus *answer(const char *name, int *count) {
    if (strcmp(refusing, name) == 0) return create_status(11, "not today");
    if (count != NULL) ++*count;
    return NULL;
}

static int error_code(const OrtStatus *status) { return 11; }
static const char *error_message(const OrtStatus *status) { return status->message; }

static void release_status(OrtStatus *status) {
    statuses--;
    free(status);
}

static OrtStatus *create_domain(const char *name, OrtCustomOpDomain **made) {
    *made = (OrtCustomOpDomain *)&domains;
    return answer("CreateCustomOpDomain", &domains);
}

static OrtStatus *add_to_domain(OrtCustomOpDomain *domain, const OrtCustomOp *op) {
    return answer("CustomOpDomain_Add", NULL);
}

static void release_domain(OrtCustomOpDomain *domain) { domains--; }

static OrtStatus *create_env(int severity, const char *name, OrtEnv **made) {
    *made = (OrtEnv *)&environments;
    return answer("CreateEnv", &environments);
}

static void release_env(OrtEnv *env) { environments--; }

static OrtStatus *register_provider(OrtEnv *env, const char *name, const char *path) {
    return answer("RegisterExecutionProviderLibrary", NULL);
}

static OrtStatus *unregister_provider(OrtEnv *env, const char *name) {
    return answer("UnregisterExecutionProviderLibrary", NULL);
}

static OrtStatus *ep_devices(const OrtEnv *env, const OrtEpDevice *const **devices,
                             size_t *count) {
    *count = 0;
    return answer("GetEpDevices", NULL);
}

static const void *ep_api(void) {
    static const void *const table[128];
    return strcmp(refusing, "GetEpApi") == 0 ? NULL : table;
}

static const void *get_api(uint32_t version) {
    static const void *table[512];
    static OrtFunctions typed; /* has the compiler check the signatures */
    typed.CreateStatus = create_status;
    typed.GetErrorCode = error_code;
    typed.GetErrorMessage = error_message;
    typed.ReleaseStatus = release_status;
    typed.CreateCustomOpDomain = create_domain;
    typed.CustomOpDomain_Add = add_to_domain;
    typed.ReleaseCustomOpDomain = release_domain;
    typed.CreateEnv = create_env;
    typed.ReleaseEnv = release_env;
    typed.RegisterExecutionProviderLibrary = register_provider;
    typed.UnregisterExecutionProviderLibrary = unregister_provider;
    typed.GetEpDevices = ep_devices;
    typed.GetEpApi = ep_api;
#define SLOT(slot, since, result, name, arguments) table[slot] = (const void *)typed.name;
    ORT_FUNCTIONS(SLOT)
    return table;
}

static const char *version(void) { return "1.25.0"; }

const OrtApiBase *OrtGetApiBase(void) {
    static const OrtApiBase base = {get_api, version};
    return &base;
}
