/* A double of OpenVINO's C API, as far as harness/measuring/runtimes/openvino.py calls it.

   Its only model has one input x of float32 and one output, 2 * x. Reading a file whose name holds
   "refused" fails, as does compiling with a property UNKNOWN. Of a
   tensor of rank 0 it tells no shape, as the real one. Signatures are those of OpenVINO
   2026.4 (openvino/c/ among the headers of its wheel). */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int status_e;
typedef struct {
    const char *build, *description;
} version_t;
typedef struct {
    int64_t rank;
    int64_t *dims;
} shape_t;
typedef struct {
    int64_t rank, dims[8];
    float *data;
    size_t count;
} values_t;
typedef struct {
    values_t input, output;
} request_t;

enum { GENERAL_ERROR = -1, NOT_FOUND = -5, INFER_CANCELLED = -13, INVALID_C_PARAM = -14 };
enum { F32 = 4 };

static char last_error[256];
static char properties[1024]; /* KEY=VALUE; of the last compiled model */
static int alive;             /* objects handed over and not freed */
static long fails_after = -1; /* inferences that succeed before one fails; -1: all do */

/* For the tests. */
int double_alive(void) { return alive; }
void double_fail_after(long inferences) { fails_after = inferences; }

static status_e refuse(status_e status, const char *why) {
    snprintf(last_error, sizeof last_error, "Exception from src/core.cpp:84:\n%s\n", why);
    return status;
}

static void *handed_over(size_t size) {
    alive++;
    return calloc(1, size);
}

static void take_back(void *object) {
    if (object == NULL) return;
    alive--;
    free(object);
}

static char *text(const char *content) {
    char *copy = handed_over(strlen(content) + 1);
    return strcpy(copy, content);
}

char *ov_get_last_err_msg(void) { return text(last_error); }
void ov_free(const char *content) { take_back((void *)content); }

status_e ov_get_openvino_version(version_t *version) {
    version->build = text("2099.1-double");
    version->description = text("double");
    return 0;
}
void ov_version_free(version_t *version) {
    take_back((void *)version->build);
    take_back((void *)version->description);
}

status_e ov_core_create(void **core) {
    *core = handed_over(1);
    return 0;
}
void ov_core_free(void *core) { take_back(core); }

status_e ov_core_read_model(void *core, const char *path, const char *weights, void **model) {
    if (strstr(path, "refused")) return refuse(GENERAL_ERROR, "it has an unknown operator");
    *model = handed_over(1);
    return 0;
}
void ov_model_free(void *model) { take_back(model); }

status_e ov_core_compile_model(void *core, void *model, const char *device, size_t arguments,
                               void **compiled, ...) {
    if (strcmp(device, "CPU") != 0) return refuse(NOT_FOUND, "there is a CPU only");
    va_list list;
    va_start(list, compiled);
    properties[0] = 0;
    for (size_t i = 0; i < arguments; i++) {
        strcat(properties, va_arg(list, const char *));
        strcat(properties, i % 2 ? ";" : "=");
    }
    va_end(list);
    if (strstr(properties, "UNKNOWN=")) return refuse(NOT_FOUND, "Unsupported property UNKNOWN");
    *compiled = handed_over(1);
    return 0;
}
void ov_compiled_model_free(void *compiled) { take_back(compiled); }

status_e ov_compiled_model_get_property(void *compiled, const char *key, char **value) {
    char wanted[64];
    snprintf(wanted, sizeof wanted, "%s=", key);
    char *found = strstr(properties, wanted);
    if (found == NULL) return refuse(NOT_FOUND, "no such property");
    found += strlen(wanted);
    size_t length = strcspn(found, ";");
    *value = handed_over(length + 1);
    memcpy(*value, found, length);
    return 0;
}

status_e ov_compiled_model_inputs_size(void *compiled, size_t *count) {
    *count = 1;
    return 0;
}
status_e ov_compiled_model_input_by_index(void *compiled, size_t index, void **port) {
    *port = handed_over(1);
    return 0;
}
void ov_output_const_port_free(void *port) { take_back(port); }
status_e ov_port_get_any_name(void *port, char **name) {
    *name = text("x");
    return 0;
}

status_e ov_compiled_model_create_infer_request(void *compiled, request_t **request) {
    *request = handed_over(sizeof **request);
    return 0;
}
void ov_infer_request_free(request_t *request) {
    free(request->input.data);
    free(request->output.data);
    take_back(request);
}

static void reshape(values_t *values, int64_t rank, const int64_t *dims) {
    values->rank = rank;
    values->count = 1;
    for (int64_t i = 0; i < rank; i++) {
        values->dims[i] = dims[i];
        values->count *= dims[i];
    }
    values->data = realloc(values->data, (values->count + 1) * sizeof(float));
}

/* A tensor is a handle: it is freed apart from the values that it shows. */
static status_e handle(values_t *values, values_t ***tensor) {
    *tensor = handed_over(sizeof **tensor);
    **tensor = values;
    return 0;
}
status_e ov_infer_request_get_input_tensor_by_index(request_t *request, size_t index,
                                                    values_t ***tensor) {
    return handle(&request->input, tensor);
}
status_e ov_infer_request_get_output_tensor_by_index(request_t *request, size_t index,
                                                     values_t ***tensor) {
    if (index > 0) return refuse(NOT_FOUND, "no such output");
    return handle(&request->output, tensor);
}
void ov_tensor_free(values_t **tensor) { take_back(tensor); }

/* The values of such a tensor live as long as its handle; a request copies them, which to a
   caller is as good as sharing them. */
typedef struct {
    values_t *values, own;
    float element;
} scalar_t;
status_e ov_tensor_get_element_type(values_t **tensor, int *type) {
    *type = F32;
    return 0;
}
status_e ov_tensor_create(int type, shape_t shape, scalar_t **tensor) {
    if (type != F32 || shape.rank != 0) return refuse(GENERAL_ERROR, "scalars of float32 only");
    scalar_t *made = handed_over(sizeof *made);
    made->own.count = 1;
    made->own.data = &made->element;
    made->values = &made->own;
    *tensor = made;
    return 0;
}
status_e ov_infer_request_set_input_tensor_by_index(request_t *request, size_t index,
                                                    values_t **tensor) {
    reshape(&request->input, (*tensor)->rank, (*tensor)->dims);
    memcpy(request->input.data, (*tensor)->data, (*tensor)->count * sizeof(float));
    return 0;
}

status_e ov_tensor_set_shape(values_t **tensor, shape_t shape) {
    reshape(*tensor, shape.rank, shape.dims);
    return 0;
}
status_e ov_tensor_get_shape(values_t **tensor, shape_t *shape) {
    if ((*tensor)->rank == 0) return INVALID_C_PARAM;
    shape->rank = (*tensor)->rank;
    shape->dims = handed_over(sizeof(int64_t) * 8);
    memcpy(shape->dims, (*tensor)->dims, sizeof(int64_t) * shape->rank);
    return 0;
}
status_e ov_shape_free(shape_t *shape) {
    take_back(shape->dims);
    return 0;
}
status_e ov_tensor_get_byte_size(values_t **tensor, size_t *bytes) {
    *bytes = (*tensor)->count * sizeof(float);
    return 0;
}
status_e ov_tensor_data(values_t **tensor, void **data) {
    *data = (*tensor)->data;
    return 0;
}

status_e ov_infer_request_infer(request_t *request) {
    if (fails_after == 0) return refuse(INFER_CANCELLED, "cancelled");
    if (fails_after > 0) fails_after--;
    if (request->input.count == 0) return refuse(GENERAL_ERROR, "no input was set");
    reshape(&request->output, request->input.rank, request->input.dims);
    for (size_t i = 0; i < request->input.count; i++)
        request->output.data[i] = 2 * request->input.data[i];
    return 0;
}
