/* A library of custom operators, as users bring them: RegisterCustomOps adds to the session

     ai.onnx.contrib.StringUpper   text -> text
     ai.onnx.contrib.StringLength  text -> int64
     test.custom.Halve             float -> float

   Built with -DREFUSES it refuses to register them. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "ort/abi.h"

typedef struct OrtKernelContext OrtKernelContext;

/* OrtCustomOp of the public header, up to API version 18. */
struct OrtCustomOp {
    uint32_t version;
    void *(*CreateKernel)(const OrtCustomOp *, const void *, const OrtKernelInfo *);
    const char *(*GetName)(const OrtCustomOp *);
    const char *(*GetExecutionProviderType)(const OrtCustomOp *);
    int (*GetInputType)(const OrtCustomOp *, size_t);
    size_t (*GetInputTypeCount)(const OrtCustomOp *);
    int (*GetOutputType)(const OrtCustomOp *, size_t);
    size_t (*GetOutputTypeCount)(const OrtCustomOp *);
    void (*KernelCompute)(void *, OrtKernelContext *);
    void (*KernelDestroy)(void *);
    int (*GetInputCharacteristic)(const OrtCustomOp *, size_t);
    int (*GetOutputCharacteristic)(const OrtCustomOp *, size_t);
    int (*GetInputMemoryType)(const OrtCustomOp *, size_t);
    int (*GetVariadicInputMinArity)(const OrtCustomOp *);
    int (*GetVariadicInputHomogeneity)(const OrtCustomOp *);
    int (*GetVariadicOutputMinArity)(const OrtCustomOp *);
    int (*GetVariadicOutputHomogeneity)(const OrtCustomOp *);
    OrtStatus *(*CreateKernelV2)(const OrtCustomOp *, const void *, const OrtKernelInfo *, void **);
    OrtStatus *(*KernelComputeV2)(void *, OrtKernelContext *);
    OrtStatus *(*InferOutputShapeFn)(const OrtCustomOp *, void *);
    int (*GetStartVersion)(const OrtCustomOp *);
    int (*GetEndVersion)(const OrtCustomOp *);
    size_t (*GetMayInplace)(int **, int **);
    void (*ReleaseMayInplace)(int *, int *);
    size_t (*GetAliasMap)(int **, int **);
    void (*ReleaseAliasMap)(int *, int *);
};

enum { FLOAT = 1, INT64 = 7, TEXT = 8 };
enum { NEWEST_MINOR = 18, MOST_AXES = 8 };

/* What an operator adds to OrtCustomOp; it begins with it, so that one points to the other. */
typedef struct Operator {
    OrtCustomOp op;
    const char *name;
    int input_type, output_type;
    OrtStatus *(*one)(const OrtValue *input, OrtValue *output, size_t count);
} Operator;

static OrtFunctions ort;
static OrtStatus *(*context_input)(const OrtKernelContext *, size_t, const OrtValue **);
static OrtStatus *(*context_output)(OrtKernelContext *, size_t, const int64_t *, size_t,
                                    OrtValue **);

#define RETURN_IF_FAILED(call)                                                                     \
    do {                                                                                           \
        OrtStatus *status = (call);                                                                \
        if (status != NULL) return status;                                                         \
    } while (0)

/* All elements behind one another, and where each begins; both to be freed. */
static OrtStatus *read_text(const OrtValue *value, size_t count, char **text, size_t **offsets) {
    size_t length;
    RETURN_IF_FAILED(ort.GetStringTensorDataLength(value, &length));
    *text = malloc(length + 1);
    *offsets = malloc((count + 1) * sizeof(size_t));
    (*offsets)[count] = length;
    return ort.GetStringTensorContent(value, *text, length, *offsets, count);
}

static OrtStatus *upper(const OrtValue *input, OrtValue *output, size_t count) {
    char *text, *written;
    size_t *offsets;
    RETURN_IF_FAILED(read_text(input, count, &text, &offsets));
    for (size_t i = 0; i < count; i++) {
        size_t length = offsets[i + 1] - offsets[i];
        RETURN_IF_FAILED(ort.GetResizedStringTensorElementBuffer(output, i, length, &written));
        for (size_t k = 0; k < length; k++)
            written[k] = (char)toupper((unsigned char)text[offsets[i] + k]);
    }
    free(text);
    free(offsets);
    return NULL;
}

static OrtStatus *length(const OrtValue *input, OrtValue *output, size_t count) {
    char *text;
    size_t *offsets;
    void *data;
    RETURN_IF_FAILED(read_text(input, count, &text, &offsets));
    RETURN_IF_FAILED(ort.GetTensorMutableData(output, &data));
    for (size_t i = 0; i < count; i++)
        ((int64_t *)data)[i] = (int64_t)(offsets[i + 1] - offsets[i]);
    free(text);
    free(offsets);
    return NULL;
}

static OrtStatus *halve(const OrtValue *input, OrtValue *output, size_t count) {
    void *from, *to;
    RETURN_IF_FAILED(ort.GetTensorMutableData((OrtValue *)input, &from));
    RETURN_IF_FAILED(ort.GetTensorMutableData(output, &to));
    for (size_t i = 0; i < count; i++)
        ((float *)to)[i] = ((const float *)from)[i] / 2;
    return NULL;
}

static OrtStatus *compute(void *kernel, OrtKernelContext *context) {
    const OrtValue *input;
    OrtValue *output;
    OrtTensorTypeAndShapeInfo *info;
    size_t rank, count;
    int64_t sizes[MOST_AXES];
    RETURN_IF_FAILED(context_input(context, 0, &input));
    RETURN_IF_FAILED(ort.GetTensorTypeAndShape(input, &info));
    RETURN_IF_FAILED(ort.GetDimensionsCount(info, &rank));
    RETURN_IF_FAILED(ort.GetDimensions(info, sizes, rank < MOST_AXES ? rank : MOST_AXES));
    RETURN_IF_FAILED(ort.GetTensorShapeElementCount(info, &count));
    ort.ReleaseTensorTypeAndShapeInfo(info);
    RETURN_IF_FAILED(context_output(context, 0, sizes, rank, &output));
    return ((const Operator *)kernel)->one(input, output, count);
}

static OrtStatus *create_kernel(const OrtCustomOp *op, const void *api, const OrtKernelInfo *info,
                                void **kernel) {
    *kernel = (void *)op;
    return NULL;
}

static void destroy_kernel(void *kernel) {}
static const char *name(const OrtCustomOp *op) { return ((const Operator *)op)->name; }
static const char *on_cpu(const OrtCustomOp *op) { return NULL; }
static int input_type(const OrtCustomOp *op, size_t i) { return ((const Operator *)op)->input_type; }
static int output_type(const OrtCustomOp *op, size_t i) {
    return ((const Operator *)op)->output_type;
}
static size_t one(const OrtCustomOp *op) { return 1; }
static int required(const OrtCustomOp *op, size_t i) { return 0; }
static int default_memory(const OrtCustomOp *op, size_t i) { return 0; }
static int yes(const OrtCustomOp *op) { return 1; }
static int last_version(const OrtCustomOp *op) { return INT32_MAX; }
static size_t no_map(int **inputs, int **outputs) {
    *inputs = *outputs = NULL;
    return 0;
}
static void release_no_map(int *inputs, int *outputs) {}

#define OPERATOR(text, from, to, function)                                                         \
    {.op = {.version = NEWEST_MINOR,                                                               \
            .GetName = name,                                                                       \
            .GetExecutionProviderType = on_cpu,                                                    \
            .GetInputType = input_type,                                                            \
            .GetInputTypeCount = one,                                                              \
            .GetOutputType = output_type,                                                          \
            .GetOutputTypeCount = one,                                                             \
            .KernelDestroy = destroy_kernel,                                                       \
            .GetInputCharacteristic = required,                                                    \
            .GetOutputCharacteristic = required,                                                   \
            .GetInputMemoryType = default_memory,                                                  \
            .GetVariadicInputMinArity = yes,                                                       \
            .GetVariadicInputHomogeneity = yes,                                                    \
            .GetVariadicOutputMinArity = yes,                                                      \
            .GetVariadicOutputHomogeneity = yes,                                                   \
            .CreateKernelV2 = create_kernel,                                                       \
            .KernelComputeV2 = compute,                                                            \
            .GetStartVersion = yes,                                                                \
            .GetEndVersion = last_version,                                                         \
            .GetMayInplace = no_map,                                                               \
            .ReleaseMayInplace = release_no_map,                                                   \
            .GetAliasMap = no_map,                                                                 \
            .ReleaseAliasMap = release_no_map},                                                    \
     .name = text,                                                                                 \
     .input_type = from,                                                                           \
     .output_type = to,                                                                            \
     .one = function}

static const Operator text_operators[] = {OPERATOR("StringUpper", TEXT, TEXT, upper),
                                          OPERATOR("StringLength", TEXT, INT64, length)};
static const Operator float_operator = OPERATOR("Halve", FLOAT, FLOAT, halve);

static OrtCustomOpDomain *text_domain, *float_domain; /* for as long as the process lives */

OrtStatus *RegisterCustomOps(OrtSessionOptions *options, const OrtApiBase *base) {
    const void *api = base->GetApi(NEWEST_MINOR);
    const void *const *table = (const void *const *)api;
    ort_functions_fill(&ort, api, NEWEST_MINOR);
    memcpy(&context_input, &table[90], sizeof context_input);
    memcpy(&context_output, &table[91], sizeof context_output);
#ifdef REFUSES
    return ort.CreateStatus(1, "made for another version");
#endif
    if (text_domain == NULL) {
        RETURN_IF_FAILED(ort.CreateCustomOpDomain("ai.onnx.contrib", &text_domain));
        RETURN_IF_FAILED(ort.CustomOpDomain_Add(text_domain, &text_operators[0].op));
        RETURN_IF_FAILED(ort.CustomOpDomain_Add(text_domain, &text_operators[1].op));
        RETURN_IF_FAILED(ort.CreateCustomOpDomain("test.custom", &float_domain));
        RETURN_IF_FAILED(ort.CustomOpDomain_Add(float_domain, &float_operator.op));
    }
    RETURN_IF_FAILED(ort.AddCustomOpDomain(options, text_domain));
    return ort.AddCustomOpDomain(options, float_domain);
}
