#include "probe/probe_op.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

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

/* OrtMemTypeCPUInput is -2: a tensor in the host's memory, which a device's kernel reads there. */
enum { OPTIONAL = 1, VARIADIC = 2, UNDEFINED_TYPE = 0, HOST_MEMORY = -2, DEFAULT_MEMORY = 0 };

/* An operator, and the provider that executes it; ORT passes the address of the first back. */
struct placed_op {
    OrtCustomOp op;
    const char *provider; /* NULL for the CPU's */
};

enum { PLACES = 2 }; /* of a DeviceProbe: on the device's provider and on the CPU */

/* What one call of probe_domain has made. */
struct made_domain {
    struct made_domain *next;
    OrtCustomOpDomain *domain;
    char provider[PROBE_PROVIDER_BYTES];
    struct placed_op ops[PLACES];
};

static OrtFunctions ort; /* filled before the operator is registered */

static struct {
    int32_t *place;
    int64_t *stamp_ns;
    int64_t capacity, count;
    int on;
} record;

static struct made_domain *all_made;

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
static const char *device_name(const OrtCustomOp *op) { return "DeviceProbe"; }
static const char *placed_on(const OrtCustomOp *op) {
    return ((const struct placed_op *)op)->provider;
}
static int any_type(const OrtCustomOp *op, size_t i) { return UNDEFINED_TYPE; }
static size_t one(const OrtCustomOp *op) { return 1; }
static size_t zero(const OrtCustomOp *op) { return 0; }
static int variadic(const OrtCustomOp *op, size_t i) { return VARIADIC; }
static int default_memory(const OrtCustomOp *op, size_t i) { return DEFAULT_MEMORY; }
/* ORT asks for the memory of declared inputs only, and a variadic one is declared once. */
static size_t with_host_tensors(const OrtCustomOp *op) { return PROBE_HOST_TENSORS + 1; }
static int optional_on_host(const OrtCustomOp *op, size_t i) {
    return i < PROBE_HOST_TENSORS ? OPTIONAL : VARIADIC;
}
static int memory_of_both(const OrtCustomOp *op, size_t i) {
    return i < PROBE_HOST_TENSORS ? HOST_MEMORY : DEFAULT_MEMORY;
}
static int none(const OrtCustomOp *op) { return 0; }
static int yes(const OrtCustomOp *op) { return 1; }
static int first_version(const OrtCustomOp *op) { return 1; }
static int last_version(const OrtCustomOp *op) { return INT32_MAX; }
static size_t no_map(int **inputs, int **outputs) {
    *inputs = *outputs = NULL;
    return 0;
}
static void release_no_map(int *inputs, int *outputs) {}

static const struct placed_op probe = {.op = {
    .version = PROBE_OLDEST_MINOR,
    .GetName = name,
    .GetExecutionProviderType = placed_on,
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
}};

static void place_ops(struct made_domain *made) {
    for (int i = 0; i < PLACES; i++) {
        struct placed_op *placed = &made->ops[i];
        *placed = probe;
        placed->provider = i == 0 ? made->provider : NULL;
        placed->op.GetName = device_name;
        placed->op.GetInputTypeCount = with_host_tensors;
        placed->op.GetInputCharacteristic = optional_on_host;
        placed->op.GetInputMemoryType = memory_of_both;
        placed->op.GetVariadicInputMinArity = none;
    }
}

static OrtStatus *add_ops(const struct made_domain *made) {
    OrtStatus *status = ort.CustomOpDomain_Add(made->domain, &probe.op);
    for (int i = 0; i < PLACES && made->provider[0] && status == NULL; i++)
        status = ort.CustomOpDomain_Add(made->domain, &made->ops[i].op);
    return status;
}

OrtStatus *probe_domain(const OrtFunctions *functions, const char *provider,
                        OrtCustomOpDomain **made) {
    *made = NULL;
    struct made_domain *found = all_made;
    while (found != NULL && strcmp(found->provider, provider) != 0) found = found->next;
    if (found == NULL) {
        ort = *functions;
        found = calloc(1, sizeof *found);
        if (found == NULL) return NULL;
        strncpy(found->provider, provider, sizeof found->provider - 1);
        place_ops(found);
        OrtStatus *status = ort.CreateCustomOpDomain("harness.probe", &found->domain);
        if (status != NULL) {
            free(found);
            return status;
        }
        status = add_ops(found);
        if (status != NULL) {
            ort.ReleaseCustomOpDomain(found->domain);
            free(found);
            return status;
        }
        found->next = all_made;
        all_made = found;
    }
    *made = found->domain;
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
