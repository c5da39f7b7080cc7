#include "probe/probe_op.h"

#include <stddef.h>

#include "clock.h"

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

enum { VARIADIC = 2, UNDEFINED_TYPE = 0, DEFAULT_MEMORY = 0 };

static OrtFunctions ort; /* filled before the operator is registered */

static struct {
    int32_t *place;
    int64_t *stamp_ns;
    int64_t capacity, count;
    int on;
} record;

static OrtCustomOpDomain *domain;

/* Calls no function of ORT: whatever else a probe costs is ORT's own overhead. */
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
static OrtStatus *create_kernel(const OrtCustomOp *op, const void *api, const OrtKernelInfo *info,
                                void **kernel) {
    int64_t place = 0;
    OrtStatus *status = ort.KernelInfoGetAttribute_int64(info, "place", &place);
    *kernel = (void *)(intptr_t)place;
    return status;
}

static void destroy_kernel(void *kernel) {}
static const char *name(const OrtCustomOp *op) { return "Probe"; }
static const char *on_cpu(const OrtCustomOp *op) { return NULL; }
static int any_type(const OrtCustomOp *op, size_t i) { return UNDEFINED_TYPE; }
static size_t one(const OrtCustomOp *op) { return 1; }
static size_t zero(const OrtCustomOp *op) { return 0; }
static int variadic(const OrtCustomOp *op, size_t i) { return VARIADIC; }
static int default_memory(const OrtCustomOp *op, size_t i) { return DEFAULT_MEMORY; }
static int none(const OrtCustomOp *op) { return 0; }
static int yes(const OrtCustomOp *op) { return 1; }
static int first_version(const OrtCustomOp *op) { return 1; }
static int last_version(const OrtCustomOp *op) { return INT32_MAX; }
static size_t no_map(int **inputs, int **outputs) {
    *inputs = *outputs = NULL;
    return 0;
}
static void release_no_map(int *inputs, int *outputs) {}

static const OrtCustomOp probe = {
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

OrtStatus *probe_domain(const OrtFunctions *functions, OrtCustomOpDomain **made) {
    if (domain == NULL) {
        ort = *functions;
        OrtCustomOpDomain *empty;
        OrtStatus *status = ort.CreateCustomOpDomain("harness.probe", &empty);
        if (status != NULL) return status;
        status = ort.CustomOpDomain_Add(empty, &probe);
        if (status != NULL) {
            ort.ReleaseCustomOpDomain(empty);
            return status;
        }
        domain = empty;
    }
    *made = domain;
    return NULL;
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
