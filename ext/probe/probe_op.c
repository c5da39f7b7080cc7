#include "probe/probe_op.h"

#include <stddef.h>

#include "clock.h"

typedef struct OrtStatus OrtStatus;
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

enum { VARIADIC = 2, UNDEFINED_TYPE = 0, DEFAULT_MEMORY = 0 };

/* Functions of OrtApi by their slots; ort/abi.h says why they may be used so. */
static struct {
    OrtStatus *(*CreateCustomOpDomain)(const char *, void **);
    OrtStatus *(*CustomOpDomain_Add)(void *, const CustomOp *);
    OrtStatus *(*KernelInfoGetAttribute_int64)(const OrtKernelInfo *, const char *, int64_t *);
} ort;

static struct {
    int32_t *place;
    int64_t *stamp_ns;
    int64_t capacity, count;
    int on;
} record;

static void *domain;

/* All that an operator costs besides is ORT's: no function of ORT is called here. */
static OrtStatus *compute(void *kernel, OrtKernelContext *context) {
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
static const char *name(const CustomOp *op) { return "Probe"; }
static const char *on_cpu(const CustomOp *op) { return NULL; }
static int any_type(const CustomOp *op, size_t i) { return UNDEFINED_TYPE; }
static size_t one(const CustomOp *op) { return 1; }
static size_t zero(const CustomOp *op) { return 0; }
static int variadic(const CustomOp *op, size_t i) { return VARIADIC; }
static int default_memory(const CustomOp *op, size_t i) { return DEFAULT_MEMORY; }
static int none(const CustomOp *op) { return 0; }
static int yes(const CustomOp *op) { return 1; }
static int first_version(const CustomOp *op) { return 1; }
static int last_version(const CustomOp *op) { return INT32_MAX; }
static size_t no_map(int **inputs, int **outputs) {
    *inputs = *outputs = NULL;
    return 0;
}
static void release_no_map(int *inputs, int *outputs) {}

static const CustomOp probe = {
    .version = PROBE_OLDEST_MINOR,
    .GetName = name,
    .GetExecutionProviderType = on_cpu,
    .GetInputType = any_type,
    .GetInputTypeCount = one,
    .GetOutputType = any_type,
    .GetOutputTypeCount = zero,
    .KernelDestroy = destroy_kernel,
    .GetInputCharacteristic = variadic,
    .GetOutputCharacteristic = variadic,
    .GetInputMemoryType = default_memory,
    .GetVariadicInputMinArity = yes,
    .GetVariadicInputHomogeneity = none,
    .GetVariadicOutputMinArity = none,
    .GetVariadicOutputHomogeneity = none,
    .CreateKernelV2 = create_kernel,
    .KernelComputeV2 = compute,
    .GetStartVersion = first_version,
    .GetEndVersion = last_version,
    .GetMayInplace = no_map,
    .ReleaseMayInplace = release_no_map,
    .GetAliasMap = no_map,
    .ReleaseAliasMap = release_no_map,
};

void *probe_domain(const void *api, int minor, const char **error) {
    if (domain != NULL) return domain;
    if (minor < PROBE_OLDEST_MINOR) {
        *error = "probes need ONNX Runtime 1.18 or newer";
        return NULL;
    }
    const void *const *slot = api;
    /* Assignments through a common pointer type: C has no cast that says it shorter. */
    *(const void **)&ort.CreateCustomOpDomain = slot[26];
    *(const void **)&ort.CustomOpDomain_Add = slot[27];
    *(const void **)&ort.KernelInfoGetAttribute_int64 = slot[86];
    void *made;
    if (ort.CreateCustomOpDomain("harness.probe", &made) != NULL) {
        *error = "CreateCustomOpDomain failed";
        return NULL;
    }
    if (ort.CustomOpDomain_Add(made, &probe) != NULL) {
        *error = "CustomOpDomain_Add failed";
        return NULL;
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
