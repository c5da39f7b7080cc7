#include "probe_op.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"

typedef struct OrtStatus OrtStatus;
typedef struct OrtValue OrtValue;
typedef struct OrtShape OrtShape; /* OrtTensorTypeAndShapeInfo */
typedef struct OrtKernelInfo OrtKernelInfo;
typedef struct OrtKernelContext OrtKernelContext;
typedef struct CustomOp CustomOp;

/* OrtCustomOp of the public header, up to API version 18. */
struct CustomOp {
    uint32_t version;
    void *(*CreateKernel)(const CustomOp *, const void *, const OrtKernelInfo *);
    const char *(*GetName)(const CustomOp *);
    const char *(*GetExecutionProviderType)(const CustomOp *);
    int (*GetInputType)(const CustomOp *, size_t);
    size_t (*GetInputTypeCount)(const CustomOp *);
    int (*GetOutputType)(const CustomOp *, size_t);
    size_t (*GetOutputTypeCount)(const CustomOp *);
    void (*KernelCompute)(void *, OrtKernelContext *);
    void (*KernelDestroy)(void *);
    int (*GetInputCharacteristic)(const CustomOp *, size_t);
    int (*GetOutputCharacteristic)(const CustomOp *, size_t);
    int (*GetInputMemoryType)(const CustomOp *, size_t);
    int (*GetVariadicInputMinArity)(const CustomOp *);
    int (*GetVariadicInputHomogeneity)(const CustomOp *);
    int (*GetVariadicOutputMinArity)(const CustomOp *);
    int (*GetVariadicOutputHomogeneity)(const CustomOp *);
    OrtStatus *(*CreateKernelV2)(const CustomOp *, const void *, const OrtKernelInfo *, void **);
    OrtStatus *(*KernelComputeV2)(void *, OrtKernelContext *);
    OrtStatus *(*InferOutputShapeFn)(const CustomOp *, void *);
    int (*GetStartVersion)(const CustomOp *);
    int (*GetEndVersion)(const CustomOp *);
    size_t (*GetMayInplace)(int **, int **);
    void (*ReleaseMayInplace)(int *, int *);
    size_t (*GetAliasMap)(int **, int **);
    void (*ReleaseAliasMap)(int *, int *);
};

enum { REQUIRED = 0, VARIADIC = 2, UNDEFINED_TYPE = 0, DEFAULT_MEMORY = 0 };

/* Functions of OrtApi by their slots; ort_abi.h says why they may be used so. */
static struct {
    OrtStatus *(*CreateStatus)(int, const char *);
    OrtStatus *(*CreateCustomOpDomain)(const char *, void **);
    OrtStatus *(*CustomOpDomain_Add)(void *, const CustomOp *);
    OrtStatus *(*KernelInfoGetAttribute_int64)(const OrtKernelInfo *, const char *, int64_t *);
    OrtStatus *(*KernelContext_GetInput)(const OrtKernelContext *, size_t, const OrtValue **);
    OrtStatus *(*KernelContext_GetOutput)(OrtKernelContext *, size_t, const int64_t *, size_t,
                                          OrtValue **);
    OrtStatus *(*GetTensorTypeAndShape)(const OrtValue *, OrtShape **);
    OrtStatus *(*GetDimensionsCount)(const OrtShape *, size_t *);
    OrtStatus *(*GetDimensions)(const OrtShape *, int64_t *, size_t);
    OrtStatus *(*GetSymbolicDimensions)(const OrtShape *, const char **, size_t);
    void (*ReleaseShape)(OrtShape *);
    OrtStatus *(*ShapeInferContext_GetInputTypeShape)(const void *, size_t, OrtShape **);
    OrtStatus *(*ShapeInferContext_SetOutputTypeShape)(const void *, size_t, const OrtShape *);
    /* Since 1.24; NULL before. Gives the shape without an allocation. */
    OrtStatus *(*GetTensorElementTypeAndShapeDataReference)(const OrtValue *, int *,
                                                            const int64_t **, size_t *);
} ort;

static struct {
    int32_t *place;
    int64_t *stamp_ns;
    int64_t capacity, count;
    int on;
} record;

typedef struct Probe {
    CustomOp op;
    int element_type;
    char name[12];
} Probe;

const int PROBE_ELEMENT_TYPES[PROBE_ELEMENT_TYPE_COUNT] = {1,  2,  3,  4,  5,  6,  7,  8,  9,  10,
                                                           11, 12, 13, 16, 17, 18, 19, 20, 21, 22};

static Probe probes[PROBE_ELEMENT_TYPE_COUNT];
static void *domain;

enum { MAX_RANK = 32, ORT_FAIL = 1 };

static OrtStatus *pass_shape_on(OrtKernelContext *context, const OrtValue *x, OrtValue **y) {
    if (ort.GetTensorElementTypeAndShapeDataReference != NULL) {
        int type;
        const int64_t *shape;
        size_t rank;
        OrtStatus *status = ort.GetTensorElementTypeAndShapeDataReference(x, &type, &shape, &rank);
        if (status != NULL) return status;
        return ort.KernelContext_GetOutput(context, 0, shape, rank, y);
    }
    OrtShape *info;
    size_t rank;
    int64_t shape[MAX_RANK];
    OrtStatus *status = ort.GetTensorTypeAndShape(x, &info);
    if (status != NULL) return status;
    status = ort.GetDimensionsCount(info, &rank);
    if (status == NULL && rank > MAX_RANK) status = ort.CreateStatus(ORT_FAIL, "rank above 32");
    if (status == NULL) status = ort.GetDimensions(info, shape, rank);
    ort.ReleaseShape(info);
    if (status != NULL) return status;
    return ort.KernelContext_GetOutput(context, 0, shape, rank, y);
}

static OrtStatus *compute(void *kernel, OrtKernelContext *context) {
    const OrtValue *x;
    OrtValue *y;
    OrtStatus *status = ort.KernelContext_GetInput(context, 0, &x);
    if (status != NULL) return status;
    status = pass_shape_on(context, x, &y); /* y is x: the alias map says so */
    if (status != NULL) return status;
    if (record.on) {
        int64_t count = record.count++;
        if (count < record.capacity) {
            record.place[count] = (int32_t)(intptr_t)kernel;
            record.stamp_ns[count] = monotonic_ns();
        }
    }
    return NULL;
}

/* The kernel's whole state is its place, kept in the pointer itself. */
static OrtStatus *create_kernel(const CustomOp *op, const void *api, const OrtKernelInfo *info,
                                void **kernel) {
    int64_t place = 0;
    OrtStatus *status = ort.KernelInfoGetAttribute_int64(info, "place", &place);
    *kernel = (void *)(intptr_t)place;
    return status;
}

static void destroy_kernel(void *kernel) {}
static const char *name(const CustomOp *op) { return ((const Probe *)op)->name; }
static const char *on_cpu(const CustomOp *op) { return NULL; }
static int input_type(const CustomOp *op, size_t i) {
    return i == 0 ? ((const Probe *)op)->element_type : UNDEFINED_TYPE;
}
static int output_type(const CustomOp *op, size_t i) { return ((const Probe *)op)->element_type; }
static size_t two(const CustomOp *op) { return 2; }
static size_t one(const CustomOp *op) { return 1; }
static int input_characteristic(const CustomOp *op, size_t i) { return i == 0 ? REQUIRED : VARIADIC; }
static int required(const CustomOp *op, size_t i) { return REQUIRED; }
static int default_memory(const CustomOp *op, size_t i) { return DEFAULT_MEMORY; }
static int none(const CustomOp *op) { return 0; }
static int yes(const CustomOp *op) { return 1; }
static int first_version(const CustomOp *op) { return 1; }
static int last_version(const CustomOp *op) { return INT32_MAX; }

/* A shape stays known behind a probe. Without this ORT plans the memory of all that follows
   differently: nodes of a chain were 35 ns quicker than without probes. What ORT knows of
   an unknown shape looks like one of rank 0, and it would take a dimension without a size
   and a name for one of size -1: such shapes are left unknown. */
static OrtStatus *infer_shape(const CustomOp *op, void *context) {
    OrtShape *shape; /* belongs to the context */
    size_t rank;
    int64_t size[MAX_RANK];
    const char *symbol[MAX_RANK];
    OrtStatus *status = ort.ShapeInferContext_GetInputTypeShape(context, 0, &shape);
    if (status == NULL) status = ort.GetDimensionsCount(shape, &rank);
    if (status != NULL || rank == 0 || rank > MAX_RANK) return status;
    status = ort.GetDimensions(shape, size, rank);
    if (status == NULL) status = ort.GetSymbolicDimensions(shape, symbol, rank);
    if (status != NULL) return status;
    for (size_t i = 0; i < rank; i++)
        if (size[i] < 0 && symbol[i][0] == '\0') return NULL;
    return ort.ShapeInferContext_SetOutputTypeShape(context, 0, shape);
}

static size_t alias_map(int **inputs, int **outputs) {
    static int zero[1];
    *inputs = *outputs = zero;
    return 1;
}
static void release_alias_map(int *inputs, int *outputs) {}
static size_t no_map(int **inputs, int **outputs) {
    *inputs = *outputs = NULL;
    return 0;
}

void *probe_domain(const void *api, int minor, const char **error) {
    if (domain != NULL) return domain;
    if (minor < PROBE_OLDEST_MINOR) {
        *error = "probes need ONNX Runtime 1.18 or newer";
        return NULL;
    }
    const void *const *slot = api;
    /* Assignments through a common pointer type: C has no cast that says it shorter. */
    *(const void **)&ort.CreateStatus = slot[0];
    *(const void **)&ort.CreateCustomOpDomain = slot[26];
    *(const void **)&ort.CustomOpDomain_Add = slot[27];
    *(const void **)&ort.GetDimensionsCount = slot[61];
    *(const void **)&ort.GetDimensions = slot[62];
    *(const void **)&ort.GetSymbolicDimensions = slot[63];
    *(const void **)&ort.GetTensorTypeAndShape = slot[65];
    *(const void **)&ort.KernelInfoGetAttribute_int64 = slot[86];
    *(const void **)&ort.KernelContext_GetInput = slot[90];
    *(const void **)&ort.KernelContext_GetOutput = slot[91];
    *(const void **)&ort.ReleaseShape = slot[99];
    *(const void **)&ort.ShapeInferContext_GetInputTypeShape = slot[268];
    *(const void **)&ort.ShapeInferContext_SetOutputTypeShape = slot[270];
    if (minor >= 24)
        *(const void **)&ort.GetTensorElementTypeAndShapeDataReference = slot[414];
    void *made;
    if (ort.CreateCustomOpDomain("harness.probe", &made) != NULL) {
        *error = "CreateCustomOpDomain failed";
        return NULL;
    }
    for (int i = 0; i < PROBE_ELEMENT_TYPE_COUNT; i++) {
        Probe *probe = &probes[i];
        probe->element_type = PROBE_ELEMENT_TYPES[i];
        snprintf(probe->name, sizeof probe->name, "Probe_%d", PROBE_ELEMENT_TYPES[i]);
        probe->op = (CustomOp){
            .version = PROBE_OLDEST_MINOR,
            .GetName = name,
            .GetExecutionProviderType = on_cpu,
            .GetInputType = input_type,
            .GetInputTypeCount = two,
            .GetOutputType = output_type,
            .GetOutputTypeCount = one,
            .KernelDestroy = destroy_kernel,
            .GetInputCharacteristic = input_characteristic,
            .GetOutputCharacteristic = required,
            .GetInputMemoryType = default_memory,
            .GetVariadicInputMinArity = none,
            .GetVariadicInputHomogeneity = none,
            .GetVariadicOutputMinArity = yes,
            .GetVariadicOutputHomogeneity = yes,
            .InferOutputShapeFn = infer_shape,
            .CreateKernelV2 = create_kernel,
            .KernelComputeV2 = compute,
            .GetStartVersion = first_version,
            .GetEndVersion = last_version,
            .GetMayInplace = no_map,
            .ReleaseMayInplace = release_alias_map,
            .GetAliasMap = alias_map,
            .ReleaseAliasMap = release_alias_map,
        };
        if (ort.CustomOpDomain_Add(made, &probe->op) != NULL) {
            *error = "CustomOpDomain_Add failed";
            return NULL;
        }
    }
    return domain = made;
}

void probe_start(int32_t *place, int64_t *stamp_ns, int64_t capacity) {
    record.place = place;
    record.stamp_ns = stamp_ns;
    record.capacity = capacity;
    record.count = 0;
    record.on = 1;
}

int64_t probe_stop(void) {
    record.on = 0;
    return record.count;
}
