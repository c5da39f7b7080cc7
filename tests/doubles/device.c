/* A device with memory and a stream of its own, as ONNX Runtime sees it: a plugin execution provider
   (OrtEp, API version 25) whose memory is called a GPU's, though it is the host's, and which executes

     Sin, Cos, Tan, Exp   float -> float
     Shape, Size          -> int64, left in the host's memory
     MemcpyFromHost, MemcpyToHost

   and custom operators that are registered for it. Everything else is left to the CPU.

   device_append() registers it, and appends it to a session's options. */
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "ort/abi.h"

#define EXPORTED __attribute__((visibility("default")))
#define PROVIDER "TestDevice"

typedef struct OrtLogger OrtLogger;
typedef struct OrtGraph OrtGraph;
typedef struct OrtNode OrtNode;
typedef struct OrtEpGraphSupportInfo OrtEpGraphSupportInfo;
typedef struct OrtKernelContext OrtKernelContext;
typedef struct OrtKernelRegistry OrtKernelRegistry;
typedef struct OrtKernelDef OrtKernelDef;
typedef struct OrtKernelDefBuilder OrtKernelDefBuilder;
typedef struct OrtMemoryDevice OrtMemoryDevice;
typedef struct OrtSyncStream OrtSyncStream;
typedef struct Ep Ep;
typedef struct OrtEpFactory Factory;
typedef struct Transfer Transfer;
typedef struct Kernel Kernel;

/* The structs that ORT calls, up to API version 25 (onnxruntime_ep_c_api.h). */
struct OrtAllocator {
    uint32_t version;
    void *(*Alloc)(OrtAllocator *, size_t);
    void (*Free)(OrtAllocator *, void *);
    const OrtMemoryInfo *(*Info)(const OrtAllocator *);
    void *Reserve, *GetStats, *AllocOnStream, *Shrink;
};

struct Transfer { /* OrtDataTransferImpl */
    uint32_t version;
    void (*Release)(Transfer *);
    bool (*CanCopy)(const Transfer *, const OrtMemoryDevice *, const OrtMemoryDevice *);
    OrtStatus *(*CopyTensors)(Transfer *, const OrtValue **, OrtValue **, OrtSyncStream **, size_t);
};

struct Kernel { /* OrtKernelImpl */
    uint32_t version;
    uint32_t flags;
    OrtStatus *(*Compute)(Kernel *, OrtKernelContext *);
    void (*Release)(Kernel *);
    void *PrePackWeight, *SetSharedPrePackedWeight;
};

struct Ep {
    uint32_t version;
    const char *(*GetName)(const Ep *);
    OrtStatus *(*GetCapability)(Ep *, const OrtGraph *, OrtEpGraphSupportInfo *);
    OrtStatus *(*Compile)(Ep *, const OrtGraph **, const OrtNode **, size_t, void **, OrtNode **);
    void (*ReleaseNodeComputeInfos)(Ep *, void **, size_t);
    void *GetPreferredDataLayout, *ShouldConvertDataLayoutForOp, *SetDynamicOptions, *OnRunStart,
        *OnRunEnd, *CreateAllocator, *CreateSyncStreamForDevice,
        *GetCompiledModelCompatibilityInfo;
    OrtStatus *(*GetKernelRegistry)(Ep *, const OrtKernelRegistry **);
    void *IsConcurrentRunSupported, *Sync, *CreateProfiler;
};

struct OrtEpFactory {
    uint32_t version;
    const char *(*GetName)(const Factory *);
    const char *(*GetVendor)(const Factory *);
    OrtStatus *(*GetSupportedDevices)(Factory *, const OrtHardwareDevice *const *, size_t,
                                      OrtEpDevice **, size_t, size_t *);
    OrtStatus *(*CreateEp)(Factory *, const OrtHardwareDevice *const *,
                           const OrtKeyValuePairs *const *, size_t, const OrtSessionOptions *,
                           const OrtLogger *, Ep **);
    void (*ReleaseEp)(Factory *, Ep *);
    uint32_t (*GetVendorId)(const Factory *);
    const char *(*GetVersion)(const Factory *);
    void *ValidateCompiledModelCompatibilityInfo;
    OrtStatus *(*CreateAllocator)(Factory *, const OrtMemoryInfo *, const OrtKeyValuePairs *,
                                  OrtAllocator **);
    void (*ReleaseAllocator)(Factory *, OrtAllocator *);
    OrtStatus *(*CreateDataTransfer)(Factory *, Transfer **);
    bool (*IsStreamAware)(const Factory *);
    void *CreateSyncStreamForDevice, *GetHardwareDeviceIncompatibilityDetails,
        *CreateExternalResourceImporterForDevice, *GetNumCustomOpDomains, *GetCustomOpDomains,
        *InitGraphicsInterop, *DeinitGraphicsInterop;
};

enum { MINOR = 25, FAIL = 1, WARNING = 2, MOST_AXES = 8, LAST_VERSION = 1000 };
enum { CPU_DEVICE = 0, GPU = 1, DEFAULT = 0, PLAIN_ALLOCATOR = 0, INT64 = 7 };
enum { HOST_INPUT = -2, HOST_OUTPUT = -1 };

/* What the tests of the product need none of: slots of OrtApi and of OrtEpApi. */
#define FROM_API(X)                                                                                \
    X(90, OrtStatus *, KernelContext_GetInput,                                                     \
      (const OrtKernelContext *, size_t, const OrtValue **))                                       \
    X(91, OrtStatus *, KernelContext_GetOutput,                                                    \
      (OrtKernelContext *, size_t, const int64_t *, size_t, OrtValue **))                          \
    X(318, OrtStatus *, GetTensorSizeInBytes, (const OrtValue *, size_t *))                        \
    X(320, OrtStatus *, CreateMemoryInfo_V2,                                                       \
      (const char *, int, uint32_t, int32_t, int, size_t, int, OrtMemoryInfo **))                  \
    X(344, OrtStatus *, Graph_GetNumNodes, (const OrtGraph *, size_t *))                           \
    X(345, OrtStatus *, Graph_GetNodes, (const OrtGraph *, const OrtNode **, size_t))
#define FROM_EP_API(X)                                                                             \
    X(3, OrtStatus *, AddSingleNode, (OrtEpGraphSupportInfo *, const OrtNode *))                   \
    X(5, OrtStatus *, AddAllocatorInfo, (OrtEpDevice *, const OrtMemoryInfo *))                    \
    X(9, int, GetDeviceType, (const OrtMemoryDevice *))                                            \
    X(18, OrtStatus *, CreateKernelRegistry, (OrtKernelRegistry **))                               \
    X(20, OrtStatus *, AddKernel,                                                                  \
      (OrtKernelRegistry *, const OrtKernelDef *,                                                  \
       OrtStatus *(*)(void *, const OrtKernelInfo *, Kernel **), void *))                          \
    X(21, OrtStatus *, CreateBuilder, (OrtKernelDefBuilder **))                                    \
    X(22, void, ReleaseBuilder, (OrtKernelDefBuilder *))                                           \
    X(23, OrtStatus *, SetOperatorType, (OrtKernelDefBuilder *, const char *))                     \
    X(24, OrtStatus *, SetDomain, (OrtKernelDefBuilder *, const char *))                           \
    X(25, OrtStatus *, SetSinceVersion, (OrtKernelDefBuilder *, int, int))                         \
    X(26, OrtStatus *, SetProvider, (OrtKernelDefBuilder *, const char *))                         \
    X(27, OrtStatus *, SetInputMemory, (OrtKernelDefBuilder *, size_t, int))                       \
    X(28, OrtStatus *, SetOutputMemory, (OrtKernelDefBuilder *, size_t, int))                      \
    X(32, OrtStatus *, Build, (OrtKernelDefBuilder *, OrtKernelDef **))                            \
    X(33, void, ReleaseKernelDef, (OrtKernelDef *))                                                \
    X(41, OrtStatus *, LookUpKernel,                                                               \
      (OrtEpGraphSupportInfo *, const OrtNode *, const OrtKernelDef **))
#define DECLARE(slot, result, name, arguments) static result(*name) arguments;
#define FILL(slot, result, name, arguments) name = (result(*) arguments)table[slot];
FROM_API(DECLARE)
FROM_EP_API(DECLARE)

static OrtFunctions ort;
static OrtEpFunctions ort_ep;
static OrtMemoryInfo *memory;
static OrtKernelRegistry *kernels;

#define RETURN_IF_FAILED(call)                                                                     \
    do {                                                                                           \
        OrtStatus *failed = (call);                                                                \
        if (failed != NULL) return failed;                                                         \
    } while (0)

/* ---- Its kernels ---- */

typedef struct Operator {
    const char *name;
    float (*each)(float); /* NULL: not elementwise */
    int input_memory, output_memory;
} Operator;

static const Operator operators[] = {
    {"Sin", sinf, DEFAULT, DEFAULT},
    {"Cos", cosf, DEFAULT, DEFAULT},
    {"Tan", tanf, DEFAULT, DEFAULT},
    {"Exp", expf, DEFAULT, DEFAULT},
    {"Shape", NULL, DEFAULT, HOST_OUTPUT},
    {"Size", NULL, DEFAULT, HOST_OUTPUT},
    {"MemcpyFromHost", NULL, HOST_INPUT, DEFAULT},
    {"MemcpyToHost", NULL, DEFAULT, HOST_OUTPUT},
};
enum { OPERATORS = sizeof operators / sizeof *operators };

typedef struct Made {
    Kernel kernel; /* first: ORT passes its address back */
    const Operator *op;
} Made;

static OrtStatus *compute(Kernel *kernel, OrtKernelContext *context) {
    const Operator *op = ((const Made *)kernel)->op;
    const OrtValue *input;
    OrtValue *output;
    OrtTensorTypeAndShapeInfo *info;
    int64_t sizes[MOST_AXES];
    size_t rank, count, bytes;
    void *from, *to;
    RETURN_IF_FAILED(KernelContext_GetInput(context, 0, &input));
    RETURN_IF_FAILED(ort.GetTensorTypeAndShape(input, &info));
    RETURN_IF_FAILED(ort.GetDimensionsCount(info, &rank));
    if (rank > MOST_AXES) return ort.CreateStatus(FAIL, PROVIDER ": too many axes");
    RETURN_IF_FAILED(ort.GetDimensions(info, sizes, rank));
    RETURN_IF_FAILED(ort.GetTensorShapeElementCount(info, &count));
    ort.ReleaseTensorTypeAndShapeInfo(info);
    bool shape = strcmp(op->name, "Shape") == 0, size = strcmp(op->name, "Size") == 0;
    int64_t axes = (int64_t)rank;
    RETURN_IF_FAILED(KernelContext_GetOutput(context, 0, shape ? &axes : sizes,
                                             shape  ? 1
                                             : size ? 0
                                                    : rank,
                                             &output));
    RETURN_IF_FAILED(ort.GetTensorMutableData((OrtValue *)input, &from));
    RETURN_IF_FAILED(ort.GetTensorMutableData(output, &to));
    if (shape) {
        memcpy(to, sizes, rank * sizeof *sizes);
    } else if (size) {
        *(int64_t *)to = (int64_t)count;
    } else if (op->each != NULL) {
        for (size_t i = 0; i < count; i++) ((float *)to)[i] = op->each(((const float *)from)[i]);
    } else {
        RETURN_IF_FAILED(GetTensorSizeInBytes(input, &bytes));
        memcpy(to, from, bytes);
    }
    return NULL;
}

static void release_kernel(Kernel *kernel) { free(kernel); }

static OrtStatus *create_kernel(void *op, const OrtKernelInfo *info, Kernel **kernel) {
    Made *made = calloc(1, sizeof *made);
    if (made == NULL) return ort.CreateStatus(FAIL, PROVIDER ": no memory for a kernel");
    made->op = op;
    made->kernel.version = MINOR;
    made->kernel.Compute = compute;
    made->kernel.Release = release_kernel;
    *kernel = &made->kernel;
    return NULL;
}

static OrtStatus *add_kernel(const Operator *op) {
    OrtKernelDefBuilder *builder;
    OrtKernelDef *definition;
    RETURN_IF_FAILED(CreateBuilder(&builder));
    RETURN_IF_FAILED(SetOperatorType(builder, op->name));
    RETURN_IF_FAILED(SetDomain(builder, ""));
    RETURN_IF_FAILED(SetSinceVersion(builder, 1, LAST_VERSION));
    RETURN_IF_FAILED(SetProvider(builder, PROVIDER));
    RETURN_IF_FAILED(SetInputMemory(builder, 0, op->input_memory));
    RETURN_IF_FAILED(SetOutputMemory(builder, 0, op->output_memory));
    RETURN_IF_FAILED(Build(builder, &definition));
    ReleaseBuilder(builder);
    RETURN_IF_FAILED(AddKernel(kernels, definition, create_kernel, (void *)op));
    ReleaseKernelDef(definition);
    return NULL;
}

/* ---- Its provider ---- */

static const char *ep_name(const Ep *ep) { return PROVIDER; }

static OrtStatus *claim_known(Ep *ep, const OrtGraph *graph, OrtEpGraphSupportInfo *info) {
    size_t count;
    RETURN_IF_FAILED(Graph_GetNumNodes(graph, &count));
    const OrtNode **nodes = calloc(count + 1, sizeof *nodes);
    if (nodes == NULL) return ort.CreateStatus(FAIL, PROVIDER ": no memory for nodes");
    OrtStatus *status = Graph_GetNodes(graph, nodes, count);
    for (size_t i = 0; i < count && status == NULL; i++) {
        const OrtKernelDef *known = NULL;
        status = LookUpKernel(info, nodes[i], &known);
        if (status == NULL && known != NULL) status = AddSingleNode(info, nodes[i]);
    }
    free(nodes);
    return status;
}

static OrtStatus *compile_nothing(Ep *ep, const OrtGraph **graphs, const OrtNode **nodes,
                                  size_t count, void **infos, OrtNode **contexts) {
    return ort.CreateStatus(FAIL, PROVIDER " compiles no node");
}

static void release_nothing(Ep *ep, void **infos, size_t count) {}

static OrtStatus *kernel_registry(Ep *ep, const OrtKernelRegistry **registry) {
    *registry = kernels;
    return NULL;
}

static Ep provider = {
    .version = MINOR,
    .GetName = ep_name,
    .GetCapability = claim_known,
    .Compile = compile_nothing,
    .ReleaseNodeComputeInfos = release_nothing,
    .GetKernelRegistry = kernel_registry,
};

/* ---- Its memory ---- */

static void *allocate(OrtAllocator *allocator, size_t bytes) {
    return bytes ? aligned_alloc(64, (bytes + 63) / 64 * 64) : NULL;
}

static void deallocate(OrtAllocator *allocator, void *block) { free(block); }
static const OrtMemoryInfo *allocates(const OrtAllocator *allocator) { return memory; }

static OrtAllocator allocator_of_it = {
    .version = MINOR, .Alloc = allocate, .Free = deallocate, .Info = allocates};

static void keep_transfer(Transfer *transfer) {}

static bool can_copy(const Transfer *transfer, const OrtMemoryDevice *from,
                     const OrtMemoryDevice *to) {
    return GetDeviceType(from) == GPU || GetDeviceType(to) == GPU;
}

static OrtStatus *copy_tensors(Transfer *transfer, const OrtValue **from, OrtValue **to,
                               OrtSyncStream **streams, size_t count) {
    for (size_t i = 0; i < count; i++) {
        size_t bytes;
        void *read, *written;
        RETURN_IF_FAILED(GetTensorSizeInBytes(from[i], &bytes));
        RETURN_IF_FAILED(ort.GetTensorMutableData((OrtValue *)from[i], &read));
        RETURN_IF_FAILED(ort.GetTensorMutableData(to[i], &written));
        memcpy(written, read, bytes);
    }
    return NULL;
}

static Transfer transfer_of_it = {.version = MINOR,
                                  .Release = keep_transfer,
                                  .CanCopy = can_copy,
                                  .CopyTensors = copy_tensors};

/* ---- Its factory ---- */

static const char *factory_name(const Factory *factory) { return PROVIDER; }
static const char *vendor(const Factory *factory) { return "harness"; }
static uint32_t vendor_id(const Factory *factory) { return 0; }
static const char *version(const Factory *factory) { return "1.0.0"; }
static bool not_aware(const Factory *factory) { return false; }

/* Every machine has a CPU. */
static OrtStatus *supported_devices(Factory *factory, const OrtHardwareDevice *const *devices,
                                    size_t count, OrtEpDevice **supported, size_t room,
                                    size_t *supported_count) {
    *supported_count = 0;
    for (size_t i = 0; i < count && room > 0; i++) {
        if (ort.HardwareDevice_Type(devices[i]) != CPU_DEVICE) continue;
        RETURN_IF_FAILED(ort_ep.CreateEpDevice(factory, devices[i], NULL, NULL, &supported[0]));
        RETURN_IF_FAILED(AddAllocatorInfo(supported[0], memory));
        *supported_count = 1;
        return NULL;
    }
    return NULL;
}

static OrtStatus *create_ep(Factory *factory, const OrtHardwareDevice *const *devices,
                            const OrtKeyValuePairs *const *metadata, size_t count,
                            const OrtSessionOptions *options, const OrtLogger *logger, Ep **ep) {
    *ep = &provider;
    return NULL;
}

static void release_ep(Factory *factory, Ep *ep) {}

static OrtStatus *create_allocator(Factory *factory, const OrtMemoryInfo *info,
                                   const OrtKeyValuePairs *options, OrtAllocator **allocator) {
    *allocator = &allocator_of_it;
    return NULL;
}

static void release_allocator(Factory *factory, OrtAllocator *allocator) {}

static OrtStatus *create_transfer(Factory *factory, Transfer **transfer) {
    *transfer = &transfer_of_it;
    return NULL;
}

static Factory factory = {
    .version = MINOR,
    .GetName = factory_name,
    .GetVendor = vendor,
    .GetSupportedDevices = supported_devices,
    .CreateEp = create_ep,
    .ReleaseEp = release_ep,
    .GetVendorId = vendor_id,
    .GetVersion = version,
    .CreateAllocator = create_allocator,
    .ReleaseAllocator = release_allocator,
    .CreateDataTransfer = create_transfer,
    .IsStreamAware = not_aware,
};

EXPORTED OrtStatus *CreateEpFactories(const char *name, const OrtApiBase *base,
                                      const OrtLogger *logger, Factory **factories, size_t room,
                                      size_t *count) {
    *count = 0;
    if (room == 0) return NULL;
    RETURN_IF_FAILED(CreateMemoryInfo_V2(PROVIDER, GPU, 0, 0, DEFAULT, 0, PLAIN_ALLOCATOR, &memory));
    RETURN_IF_FAILED(CreateKernelRegistry(&kernels));
    for (int i = 0; i < OPERATORS; i++) RETURN_IF_FAILED(add_kernel(&operators[i]));
    factories[0] = &factory;
    *count = 1;
    return NULL;
}

EXPORTED OrtStatus *ReleaseEpFactory(Factory *released) { return NULL; }

/* ---- The test's side ---- */

static OrtStatus *append(const char *path, OrtSessionOptions *options) {
    static OrtEnv *env; /* kept, and the registration with it */
    const OrtEpDevice *const *devices;
    size_t count;
    if (env == NULL) {
        RETURN_IF_FAILED(ort.CreateEnv(WARNING, "device", &env));
        RETURN_IF_FAILED(ort.RegisterExecutionProviderLibrary(env, PROVIDER, path));
    }
    RETURN_IF_FAILED(ort.GetEpDevices(env, &devices, &count));
    for (size_t i = 0; i < count; i++)
        if (strcmp(ort.EpDevice_EpName(devices[i]), PROVIDER) == 0)
            return ort.SessionOptionsAppendExecutionProvider_V2(options, env, &devices[i], 1, NULL,
                                                                NULL, 0);
    return ort.CreateStatus(FAIL, PROVIDER " is not among the devices");
}

/* Appends it to a session's options. NULL, or why it cannot.

   path: of this library. */
EXPORTED const char *device_append(const OrtApiBase *base, const char *path,
                                   OrtSessionOptions *options) {
    const void *const *table = base->GetApi(MINOR);
    if (table == NULL) return "ONNX Runtime is older than 1.25";
    ort_functions_fill(&ort, table, MINOR);
    FROM_API(FILL)
    table = ort.GetEpApi();
    ort_ep_functions_fill(&ort_ep, table, MINOR);
    FROM_EP_API(FILL)
    OrtStatus *status = append(path, options);
    return status == NULL ? NULL : ort.GetErrorMessage(status); /* the status is not released */
}
