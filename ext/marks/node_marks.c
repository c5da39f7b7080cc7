#define _GNU_SOURCE
#include "marks/node_marks.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"

#define EXPORTED __attribute__((visibility("default")))
#define PROVIDER "HarnessNodeMarks"

/* Types of the public headers (onnxruntime_c_api.h, onnxruntime_ep_c_api.h). */
typedef struct OrtLogger OrtLogger;
typedef struct OrtGraph OrtGraph;
typedef struct OrtNode OrtNode;
typedef struct OrtEpGraphSupportInfo OrtEpGraphSupportInfo;
typedef struct OrtProfilingEventsContainer OrtProfilingEventsContainer;
typedef struct Ep Ep;
typedef struct OrtEpFactory Factory;
typedef struct Profiler Profiler;

/* We fill the three structs below, and ORT calls them. ORT reads no further than the version that
   they state: they end where API version 25 ends. */

/* OrtEpProfilerImpl. */
struct Profiler {
    uint32_t version;
    void (*Release)(Profiler *);
    OrtStatus *(*StartProfiling)(Profiler *, int64_t offset_ns);
    OrtStatus *(*StartEvent)(Profiler *, uint64_t correlation);
    OrtStatus *(*StopEvent)(Profiler *, uint64_t correlation, const OrtProfilingEvent *);
    OrtStatus *(*EndProfiling)(Profiler *, OrtProfilingEventsContainer *);
    int32_t number; /* ours */
};

/* OrtEp. */
struct Ep {
    uint32_t version;
    const char *(*GetName)(const Ep *);
    OrtStatus *(*GetCapability)(Ep *, const OrtGraph *, OrtEpGraphSupportInfo *);
    OrtStatus *(*Compile)(Ep *, const OrtGraph **, const OrtNode **, size_t, void **, OrtNode **);
    void (*ReleaseNodeComputeInfos)(Ep *, void **, size_t);
    void *GetPreferredDataLayout, *ShouldConvertDataLayoutForOp, *SetDynamicOptions, *OnRunStart,
        *OnRunEnd, *CreateAllocator, *CreateSyncStreamForDevice,
        *GetCompiledModelCompatibilityInfo, *GetKernelRegistry, *IsConcurrentRunSupported, *Sync;
    OrtStatus *(*CreateProfiler)(Ep *, Profiler **);
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
    OrtStatus *(*CreateDataTransfer)(Factory *, void **);
    bool (*IsStreamAware)(const Factory *);
    void *CreateSyncStreamForDevice, *GetHardwareDeviceIncompatibilityDetails,
        *CreateExternalResourceImporterForDevice, *GetNumCustomOpDomains, *GetCustomOpDomains,
        *InitGraphicsInterop, *DeinitGraphicsInterop;
};

enum { FAIL = 1, WARNING = 2, CPU_DEVICE = 0 };

/* Filled before the provider is registered. */
static OrtFunctions ort;
static OrtEpFunctions ort_ep;

/* ---- The recording ---- */

enum { DEPTH = 256 };

static struct {
    struct node_mark *marks;
    int64_t capacity;
    int64_t first_id;
    _Atomic(void (*)(uint64_t)) push;
    _Atomic(void (*)(void)) pop;
    atomic_llong begun, refused, strayed;
    atomic_int inside; /* threads that may be about to write to the marks */
    atomic_bool on;
} record;

static atomic_int profilers; /* number started in this process */

/* Stack of this thread's open events. ORT ends an event on the thread that began it. */
static _Thread_local struct {
    struct {
        uint64_t correlation; /* ORT's: in microseconds, so neighbouring events may share one */
        int64_t id;
        void (*pop)(void); /* called when it ends, even if the recording is over by then */
    } entry[DEPTH];
    int depth;
    int32_t thread;
} begun;

/* Whether a recording is on; if so, leave() must follow. */
static bool enter(void) {
    atomic_fetch_add(&record.inside, 1);
    if (atomic_load(&record.on)) return true;
    atomic_fetch_sub(&record.inside, 1);
    return false;
}

static void leave(void) { atomic_fetch_sub(&record.inside, 1); }

/* The mark of an external id; NULL if it did not fit or belongs to an earlier recording. */
static struct node_mark *mark_of(int64_t id) {
    int64_t index = id - record.first_id;
    return index >= 0 && index < record.capacity ? &record.marks[index] : NULL;
}

static OrtStatus *start_event(Profiler *profiler, uint64_t correlation) {
    if (!enter()) return NULL;
    if (begun.depth == DEPTH) {
        atomic_fetch_add(&record.refused, 1);
        leave();
        return NULL;
    }
    if (begun.thread == 0) begun.thread = (int32_t)gettid();
    int64_t id = record.first_id + atomic_fetch_add(&record.begun, 1);
    struct node_mark *mark = mark_of(id);
    if (mark != NULL) {
        int64_t around = begun.depth > 0 ? begun.entry[begun.depth - 1].id : -1;
        mark->parent = mark_of(around) != NULL ? around - record.first_id : -1;
        mark->stop_ns = -1;
        mark->thread = begun.thread;
        mark->profiler = profiler->number;
        mark->category = -1;
        mark->name_bytes = 0;
        memset(mark->name, 0, sizeof mark->name);
    }
    void (*push)(uint64_t) = atomic_load(&record.push);
    begun.entry[begun.depth].correlation = correlation;
    begun.entry[begun.depth].id = id;
    begun.entry[begun.depth].pop = push != NULL ? atomic_load(&record.pop) : NULL;
    begun.depth++;
    if (push != NULL) push((uint64_t)id);
    if (mark != NULL) mark->start_ns = monotonic_ns();
    leave();
    return NULL;
}

static OrtStatus *describe(struct node_mark *mark, const OrtProfilingEvent *event) {
    int category;
    const char *name;
    OrtStatus *status = ort_ep.ProfilingEvent_GetCategory(event, &category);
    if (status != NULL) return status;
    mark->category = category;
    status = ort_ep.ProfilingEvent_GetName(event, &name);
    if (status != NULL) return status;
    size_t bytes = strlen(name);
    memcpy(mark->name, name, bytes < sizeof mark->name ? bytes : sizeof mark->name);
    mark->name_bytes = bytes < INT32_MAX ? (int32_t)bytes : INT32_MAX;
    return NULL;
}

/* ORT logs a status returned from here, and carries on. */
static OrtStatus *stop_event(Profiler *profiler, uint64_t correlation,
                             const OrtProfilingEvent *event) {
    int64_t stop_ns = monotonic_ns();
    int place = begun.depth - 1;
    while (place >= 0 && begun.entry[place].correlation != correlation) place--;
    int64_t id = place >= 0 ? begun.entry[place].id : -1;
    /* Events above it on the stack were never ended, and will not be. */
    while (place >= 0 && begun.depth > place) {
        begun.depth--;
        if (begun.entry[begun.depth].pop != NULL) begun.entry[begun.depth].pop();
    }
    if (!enter()) return NULL;
    OrtStatus *status = NULL;
    struct node_mark *mark = mark_of(id);
    if (mark != NULL) {
        mark->stop_ns = stop_ns;
        status = describe(mark, event);
    } else if (id < 0) {
        atomic_fetch_add(&record.strayed, 1);
    }
    leave();
    return status;
}

void node_marks_hooks(void (*push)(uint64_t id), void (*pop)(void)) {
    /* A thread that sees push must find its pop, even while both are being removed. */
    if (push != NULL) atomic_store(&record.pop, pop);
    atomic_store(&record.push, push);
}

int64_t node_marks_start(struct node_mark *marks, int64_t capacity) {
    static int64_t recordings;
    record.marks = marks;
    record.capacity = capacity;
    /* No recording has 2^32 events, so their ids never overlap. 0 means none. */
    record.first_id = ++recordings << 32;
    atomic_store(&record.begun, 0);
    atomic_store(&record.refused, 0);
    atomic_store(&record.strayed, 0);
    atomic_store(&record.on, true);
    return record.first_id;
}

struct node_marks_counts node_marks_stop(void) {
    atomic_store(&record.on, false);
    while (atomic_load(&record.inside) > 0) sched_yield();
    return (struct node_marks_counts){
        .begun = atomic_load(&record.begun),
        .refused = atomic_load(&record.refused),
        .strayed = atomic_load(&record.strayed),
    };
}

/* ---- The profiler ---- */

static void release_profiler(Profiler *profiler) { free(profiler); }

static OrtStatus *start_profiling(Profiler *profiler, int64_t offset_ns) {
    profiler->number = atomic_fetch_add(&profilers, 1);
    return NULL;
}

/* We add no events to ORT's file: the marks are read from memory. */
static OrtStatus *end_profiling(Profiler *profiler, OrtProfilingEventsContainer *events) {
    return NULL;
}

static OrtStatus *create_profiler(Ep *ep, Profiler **profiler) {
    *profiler = malloc(sizeof **profiler);
    if (*profiler == NULL) return ort.CreateStatus(FAIL, PROVIDER ": no memory for a profiler");
    **profiler = (Profiler){
        .version = NODE_MARKS_OLDEST_MINOR,
        .Release = release_profiler,
        .StartProfiling = start_profiling,
        .StartEvent = start_event,
        .StopEvent = stop_event,
        .EndProfiling = end_profiling,
        .number = -1,
    };
    return NULL;
}

/* ---- The execution provider: a single stateless one for every session ---- */

static const char *ep_name(const Ep *ep) { return PROVIDER; }

static OrtStatus *claim_nothing(Ep *ep, const OrtGraph *graph, OrtEpGraphSupportInfo *info) {
    return NULL;
}

static OrtStatus *compile_nothing(Ep *ep, const OrtGraph **graphs, const OrtNode **nodes,
                                  size_t count, void **infos, OrtNode **contexts) {
    return ort.CreateStatus(FAIL, PROVIDER " executes no node");
}

static void release_nothing(Ep *ep, void **infos, size_t count) {}

static Ep provider = {
    .version = NODE_MARKS_OLDEST_MINOR,
    .GetName = ep_name,
    .GetCapability = claim_nothing,
    .Compile = compile_nothing,
    .ReleaseNodeComputeInfos = release_nothing,
    .CreateProfiler = create_profiler,
};

/* ---- Its factory ---- */

static const char *factory_name(const Factory *factory) { return PROVIDER; }
static const char *vendor(const Factory *factory) { return "harness"; }
static uint32_t vendor_id(const Factory *factory) { return 0; }
static const char *version(const Factory *factory) { return "1.0.0"; }
static bool not_aware(const Factory *factory) { return false; }

/* A provider is appended by its device. Every machine has a CPU. */
static OrtStatus *supported_devices(Factory *factory, const OrtHardwareDevice *const *devices,
                                    size_t count, OrtEpDevice **supported, size_t room,
                                    size_t *supported_count) {
    *supported_count = 0;
    for (size_t i = 0; i < count && room > 0; i++) {
        if (ort.HardwareDevice_Type(devices[i]) != CPU_DEVICE) continue;
        OrtStatus *status = ort_ep.CreateEpDevice(factory, devices[i], NULL, NULL, &supported[0]);
        if (status == NULL) *supported_count = 1;
        return status;
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

/* ORT calls the next three without checking that they exist. */
static OrtStatus *no_allocator(Factory *factory, const OrtMemoryInfo *info,
                               const OrtKeyValuePairs *options, OrtAllocator **allocator) {
    *allocator = NULL;
    return NULL;
}

static void release_allocator(Factory *factory, OrtAllocator *allocator) {}

static OrtStatus *no_data_transfer(Factory *factory, void **transfer) {
    *transfer = NULL;
    return NULL;
}

static Factory factory = {
    .version = NODE_MARKS_OLDEST_MINOR,
    .GetName = factory_name,
    .GetVendor = vendor,
    .GetSupportedDevices = supported_devices,
    .CreateEp = create_ep,
    .ReleaseEp = release_ep,
    .GetVendorId = vendor_id,
    .GetVersion = version,
    .CreateAllocator = no_allocator,
    .ReleaseAllocator = release_allocator,
    .CreateDataTransfer = no_data_transfer,
    .IsStreamAware = not_aware,
};

/* ORT looks these two up by name in the library that it was told to register. */
EXPORTED OrtStatus *CreateEpFactories(const char *name, const OrtApiBase *base,
                                      const OrtLogger *logger, Factory **factories, size_t room,
                                      size_t *count);
EXPORTED OrtStatus *ReleaseEpFactory(Factory *released);

OrtStatus *CreateEpFactories(const char *name, const OrtApiBase *base, const OrtLogger *logger,
                             Factory **factories, size_t room, size_t *count) {
    *count = 0;
    if (room == 0) return NULL; /* ORT then reports that there is no factory */
    factories[0] = &factory;
    *count = 1;
    return NULL;
}

OrtStatus *ReleaseEpFactory(Factory *released) { return NULL; }

/* ---- The application's side ---- */

OrtStatus *node_marks_register(const OrtFunctions *functions, const char *path, OrtEnv **env) {
    const void *ep_api = functions->GetEpApi();
    if (ep_api == NULL)
        return functions->CreateStatus(FAIL, "this ONNX Runtime accepts no plugin providers");
    ort = *functions;
    ort_ep_functions_fill(&ort_ep, ep_api, NODE_MARKS_OLDEST_MINOR);
    OrtStatus *status = ort.CreateEnv(WARNING, "harness", env);
    if (status != NULL) return status;
    status = ort.RegisterExecutionProviderLibrary(*env, PROVIDER, path);
    if (status != NULL) {
        ort.ReleaseEnv(*env);
        *env = NULL;
    }
    return status;
}

OrtStatus *node_marks_unregister(OrtEnv *env) {
    OrtStatus *status = ort.UnregisterExecutionProviderLibrary(env, PROVIDER);
    ort.ReleaseEnv(env);
    return status;
}

OrtStatus *node_marks_append(OrtEnv *env, OrtSessionOptions *options) {
    const OrtEpDevice *const *devices;
    size_t count;
    OrtStatus *status = ort.GetEpDevices(env, &devices, &count);
    if (status != NULL) return status;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(ort.EpDevice_EpName(devices[i]), PROVIDER) == 0) {
            return ort.SessionOptionsAppendExecutionProvider_V2(options, env, &devices[i], 1,
                                                                NULL, NULL, 0);
        }
    }
    return ort.CreateStatus(FAIL, "ONNX Runtime knows no CPU to register " PROVIDER " for");
}
