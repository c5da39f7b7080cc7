/* The part of ONNX Runtime's C ABI that harness calls.

   OrtApi is an append-only table of function pointers: a function keeps its slot for ever
   (microsoft/onnxruntime, include/onnxruntime/core/session/onnxruntime_c_api.h). So is OrtEpApi
   (onnxruntime_ep_c_api.h), for authors of execution providers. The wheel does not ship the
   headers, so the functions are listed here by slot, the 1.x version that introduced them, and
   signature. Functions newer than the library are left NULL. */
#ifndef HARNESS_ORT_ABI_H
#define HARNESS_ORT_ABI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct OrtStatus OrtStatus;
typedef struct OrtEnv OrtEnv;
typedef struct OrtSession OrtSession;
typedef struct OrtSessionOptions OrtSessionOptions;
typedef struct OrtRunOptions OrtRunOptions;
typedef struct OrtIoBinding OrtIoBinding;
typedef struct OrtValue OrtValue;
typedef struct OrtMemoryInfo OrtMemoryInfo;
typedef struct OrtAllocator OrtAllocator;
typedef struct OrtTypeInfo OrtTypeInfo;
typedef struct OrtTensorTypeAndShapeInfo OrtTensorTypeAndShapeInfo;
typedef struct OrtMapTypeInfo OrtMapTypeInfo;
typedef struct OrtSequenceTypeInfo OrtSequenceTypeInfo;
typedef struct OrtOptionalTypeInfo OrtOptionalTypeInfo;
typedef struct OrtCustomOp OrtCustomOp;
typedef struct OrtCustomOpDomain OrtCustomOpDomain;
typedef struct OrtKernelInfo OrtKernelInfo;
typedef struct OrtProviderOptions OrtProviderOptions; /* CUDA's and TensorRT's V2 options */
typedef struct OrtEpAssignedSubgraph OrtEpAssignedSubgraph;
typedef struct OrtEpAssignedNode OrtEpAssignedNode;
typedef struct OrtHardwareDevice OrtHardwareDevice;
typedef struct OrtKeyValuePairs OrtKeyValuePairs;
typedef struct OrtEpFactory OrtEpFactory;
typedef struct OrtEpDevice OrtEpDevice;
typedef struct OrtProfilingEvent OrtProfilingEvent;

typedef void (*OrtLoggingFunction)(void *param, int severity, const char *category,
                                   const char *logid, const char *code_location,
                                   const char *message);

typedef struct OrtApiBase {
    const void *(*GetApi)(uint32_t version);
    const char *(*GetVersionString)(void);
} OrtApiBase;

/* X(slot, since 1.x, result, name, arguments) */
#define ORT_FUNCTIONS(X)                                                                           \
    X(0, 0, OrtStatus *, CreateStatus, (int, const char *))                                        \
    X(1, 0, int, GetErrorCode, (const OrtStatus *))                                                \
    X(2, 0, const char *, GetErrorMessage, (const OrtStatus *))                                    \
    X(3, 0, OrtStatus *, CreateEnv, (int, const char *, OrtEnv **))                                \
    X(4, 0, OrtStatus *, CreateEnvWithCustomLogger,                                                \
      (OrtLoggingFunction, void *, int, const char *, OrtEnv **))                                  \
    X(6, 0, OrtStatus *, DisableTelemetryEvents, (const OrtEnv *))                                 \
    X(7, 0, OrtStatus *, CreateSession,                                                            \
      (const OrtEnv *, const char *, const OrtSessionOptions *, OrtSession **))                    \
    X(8, 0, OrtStatus *, CreateSessionFromArray,                                                   \
      (const OrtEnv *, const void *, size_t, const OrtSessionOptions *, OrtSession **))            \
    X(9, 0, OrtStatus *, Run,                                                                      \
      (OrtSession *, const OrtRunOptions *, const char *const *, const OrtValue *const *, size_t,  \
       const char *const *, size_t, OrtValue **))                                                  \
    X(10, 0, OrtStatus *, CreateSessionOptions, (OrtSessionOptions **))                            \
    X(11, 0, OrtStatus *, SetOptimizedModelFilePath, (OrtSessionOptions *, const char *))          \
    X(13, 0, OrtStatus *, SetSessionExecutionMode, (OrtSessionOptions *, int))                     \
    X(14, 0, OrtStatus *, EnableProfiling, (OrtSessionOptions *, const char *))                    \
    X(17, 0, OrtStatus *, DisableMemPattern, (OrtSessionOptions *))                                \
    X(19, 0, OrtStatus *, DisableCpuMemArena, (OrtSessionOptions *))                               \
    X(23, 0, OrtStatus *, SetSessionGraphOptimizationLevel, (OrtSessionOptions *, int))            \
    X(24, 0, OrtStatus *, SetIntraOpNumThreads, (OrtSessionOptions *, int))                        \
    X(25, 0, OrtStatus *, SetInterOpNumThreads, (OrtSessionOptions *, int))                        \
    X(26, 0, OrtStatus *, CreateCustomOpDomain, (const char *, OrtCustomOpDomain **))              \
    X(27, 0, OrtStatus *, CustomOpDomain_Add, (OrtCustomOpDomain *, const OrtCustomOp *))          \
    X(28, 0, OrtStatus *, AddCustomOpDomain, (OrtSessionOptions *, OrtCustomOpDomain *))           \
    X(30, 0, OrtStatus *, SessionGetInputCount, (const OrtSession *, size_t *))                    \
    X(31, 0, OrtStatus *, SessionGetOutputCount, (const OrtSession *, size_t *))                   \
    X(33, 0, OrtStatus *, SessionGetInputTypeInfo, (const OrtSession *, size_t, OrtTypeInfo **))   \
    X(34, 0, OrtStatus *, SessionGetOutputTypeInfo, (const OrtSession *, size_t, OrtTypeInfo **))  \
    X(36, 0, OrtStatus *, SessionGetInputName,                                                     \
      (const OrtSession *, size_t, OrtAllocator *, char **))                                       \
    X(37, 0, OrtStatus *, SessionGetOutputName,                                                    \
      (const OrtSession *, size_t, OrtAllocator *, char **))                                       \
    X(39, 0, OrtStatus *, CreateRunOptions, (OrtRunOptions **))                                    \
    X(48, 0, OrtStatus *, CreateTensorAsOrtValue,                                                  \
      (OrtAllocator *, const int64_t *, size_t, int, OrtValue **))                                 \
    X(49, 0, OrtStatus *, CreateTensorWithDataAsOrtValue,                                          \
      (const OrtMemoryInfo *, void *, size_t, const int64_t *, size_t, int, OrtValue **))          \
    X(51, 0, OrtStatus *, GetTensorMutableData, (OrtValue *, void **))                             \
    X(53, 0, OrtStatus *, GetStringTensorDataLength, (const OrtValue *, size_t *))                 \
    X(54, 0, OrtStatus *, GetStringTensorContent,                                                  \
      (const OrtValue *, void *, size_t, size_t *, size_t))                                        \
    X(55, 0, OrtStatus *, CastTypeInfoToTensorInfo,                                                \
      (const OrtTypeInfo *, const OrtTensorTypeAndShapeInfo **))                                   \
    X(56, 0, OrtStatus *, GetOnnxTypeFromTypeInfo, (const OrtTypeInfo *, int *))                   \
    X(60, 0, OrtStatus *, GetTensorElementType, (const OrtTensorTypeAndShapeInfo *, int *))        \
    X(61, 0, OrtStatus *, GetDimensionsCount, (const OrtTensorTypeAndShapeInfo *, size_t *))       \
    X(62, 0, OrtStatus *, GetDimensions, (const OrtTensorTypeAndShapeInfo *, int64_t *, size_t))   \
    X(63, 0, OrtStatus *, GetSymbolicDimensions,                                                   \
      (const OrtTensorTypeAndShapeInfo *, const char **, size_t))                                  \
    X(64, 0, OrtStatus *, GetTensorShapeElementCount,                                              \
      (const OrtTensorTypeAndShapeInfo *, size_t *))                                               \
    X(65, 0, OrtStatus *, GetTensorTypeAndShape, (const OrtValue *, OrtTensorTypeAndShapeInfo **)) \
    X(67, 0, OrtStatus *, GetValueType, (const OrtValue *, int *))                                 \
    X(69, 0, OrtStatus *, CreateCpuMemoryInfo, (int, int, OrtMemoryInfo **))                       \
    X(71, 0, OrtStatus *, MemoryInfoGetName, (const OrtMemoryInfo *, const char **))               \
    X(76, 0, OrtStatus *, AllocatorFree, (OrtAllocator *, void *))                                 \
    X(78, 0, OrtStatus *, GetAllocatorWithDefaultOptions, (OrtAllocator **))                       \
    X(80, 0, OrtStatus *, GetValue, (const OrtValue *, int, OrtAllocator *, OrtValue **))          \
    X(81, 0, OrtStatus *, GetValueCount, (const OrtValue *, size_t *))                             \
    X(82, 0, OrtStatus *, CreateValue, (const OrtValue *const *, size_t, int, OrtValue **))        \
    X(86, 0, OrtStatus *, KernelInfoGetAttribute_int64,                                            \
      (const OrtKernelInfo *, const char *, int64_t *))                                            \
    X(92, 0, void, ReleaseEnv, (OrtEnv *))                                                         \
    X(93, 0, void, ReleaseStatus, (OrtStatus *))                                                   \
    X(94, 0, void, ReleaseMemoryInfo, (OrtMemoryInfo *))                                           \
    X(95, 0, void, ReleaseSession, (OrtSession *))                                                 \
    X(96, 0, void, ReleaseValue, (OrtValue *))                                                     \
    X(97, 0, void, ReleaseRunOptions, (OrtRunOptions *))                                           \
    X(98, 0, void, ReleaseTypeInfo, (OrtTypeInfo *))                                               \
    X(99, 0, void, ReleaseTensorTypeAndShapeInfo, (OrtTensorTypeAndShapeInfo *))                   \
    X(100, 0, void, ReleaseSessionOptions, (OrtSessionOptions *))                                  \
    X(101, 0, void, ReleaseCustomOpDomain, (OrtCustomOpDomain *))                                  \
    X(103, 0, OrtStatus *, CastTypeInfoToMapTypeInfo,                                              \
      (const OrtTypeInfo *, const OrtMapTypeInfo **))                                              \
    X(104, 0, OrtStatus *, CastTypeInfoToSequenceTypeInfo,                                         \
      (const OrtTypeInfo *, const OrtSequenceTypeInfo **))                                         \
    X(105, 0, OrtStatus *, GetMapKeyType, (const OrtMapTypeInfo *, int *))                         \
    X(106, 0, OrtStatus *, GetMapValueType, (const OrtMapTypeInfo *, OrtTypeInfo **))              \
    X(107, 0, OrtStatus *, GetSequenceElementType, (const OrtSequenceTypeInfo *, OrtTypeInfo **))  \
    X(110, 0, OrtStatus *, SessionEndProfiling, (OrtSession *, OrtAllocator *, char **))           \
    X(125, 0, OrtStatus *, GetAvailableProviders, (char ***, int *))                               \
    X(126, 0, OrtStatus *, ReleaseAvailableProviders, (char **, int))                              \
    X(130, 0, OrtStatus *, AddSessionConfigEntry,                                                  \
      (OrtSessionOptions *, const char *, const char *))                                           \
    X(131, 0, OrtStatus *, CreateAllocator,                                                        \
      (const OrtSession *, const OrtMemoryInfo *, OrtAllocator **))                                \
    X(132, 0, void, ReleaseAllocator, (OrtAllocator *))                                            \
    X(133, 0, OrtStatus *, RunWithBinding,                                                         \
      (OrtSession *, const OrtRunOptions *, const OrtIoBinding *))                                 \
    X(134, 0, OrtStatus *, CreateIoBinding, (OrtSession *, OrtIoBinding **))                       \
    X(135, 0, void, ReleaseIoBinding, (OrtIoBinding *))                                            \
    X(136, 0, OrtStatus *, BindInput, (OrtIoBinding *, const char *, const OrtValue *))            \
    X(138, 0, OrtStatus *, BindOutputToDevice,                                                     \
      (OrtIoBinding *, const char *, const OrtMemoryInfo *))                                       \
    X(140, 0, OrtStatus *, GetBoundOutputValues,                                                   \
      (const OrtIoBinding *, OrtAllocator *, OrtValue ***, size_t *))                              \
    X(146, 0, OrtStatus *, SessionGetProfilingStartTimeNs, (const OrtSession *, uint64_t *))       \
    X(165, 0, OrtStatus *, AddRunConfigEntry, (OrtRunOptions *, const char *, const char *))       \
    X(170, 0, OrtStatus *, SessionOptionsAppendExecutionProvider_TensorRT_V2,                      \
      (OrtSessionOptions *, const OrtProviderOptions *))                                           \
    X(171, 0, OrtStatus *, CreateTensorRTProviderOptions, (OrtProviderOptions **))                 \
    X(172, 0, OrtStatus *, UpdateTensorRTProviderOptions,                                          \
      (OrtProviderOptions *, const char *const *, const char *const *, size_t))                    \
    X(173, 0, OrtStatus *, GetTensorRTProviderOptionsAsString,                                     \
      (const OrtProviderOptions *, OrtAllocator *, char **))                                       \
    X(174, 0, void, ReleaseTensorRTProviderOptions, (OrtProviderOptions *))                        \
    X(192, 0, OrtStatus *, HasValue, (const OrtValue *, int *))                                    \
    X(194, 0, OrtStatus *, GetTensorMemoryInfo, (const OrtValue *, const OrtMemoryInfo **))        \
    X(204, 0, OrtStatus *, SessionOptionsAppendExecutionProvider_CUDA_V2,                          \
      (OrtSessionOptions *, const OrtProviderOptions *))                                           \
    X(205, 0, OrtStatus *, CreateCUDAProviderOptions, (OrtProviderOptions **))                     \
    X(206, 0, OrtStatus *, UpdateCUDAProviderOptions,                                              \
      (OrtProviderOptions *, const char *const *, const char *const *, size_t))                    \
    X(207, 0, OrtStatus *, GetCUDAProviderOptionsAsString,                                         \
      (const OrtProviderOptions *, OrtAllocator *, char **))                                       \
    X(208, 0, void, ReleaseCUDAProviderOptions, (OrtProviderOptions *))                            \
    X(216, 0, OrtStatus *, SessionOptionsAppendExecutionProvider,                                  \
      (OrtSessionOptions *, const char *, const char *const *, const char *const *, size_t))       \
    X(225, 0, void, MemoryInfoGetDeviceType, (const OrtMemoryInfo *, int *))                       \
    X(228, 0, OrtStatus *, RegisterCustomOpsLibrary_V2, (OrtSessionOptions *, const char *))       \
    X(250, 0, OrtStatus *, CastTypeInfoToOptionalTypeInfo,                                         \
      (const OrtTypeInfo *, const OrtOptionalTypeInfo **))                                         \
    X(251, 0, OrtStatus *, GetOptionalContainedTypeInfo,                                           \
      (const OrtOptionalTypeInfo *, OrtTypeInfo **))                                               \
    X(252, 0, OrtStatus *, GetResizedStringTensorElementBuffer,                                    \
      (OrtValue *, size_t, size_t, char **))                                                       \
    X(254, 0, const char *, GetBuildInfoString, (void))                                            \
    X(298, 22, void, GetKeyValuePairs,                                                             \
      (const OrtKeyValuePairs *, const char *const **, const char *const **, size_t *))            \
    X(300, 22, void, ReleaseKeyValuePairs, (OrtKeyValuePairs *))                                   \
    X(301, 22, OrtStatus *, RegisterExecutionProviderLibrary,                                      \
      (OrtEnv *, const char *, const char *))                                                      \
    X(302, 22, OrtStatus *, UnregisterExecutionProviderLibrary, (OrtEnv *, const char *))          \
    X(303, 22, OrtStatus *, GetEpDevices,                                                          \
      (const OrtEnv *, const OrtEpDevice *const **, size_t *))                                     \
    X(304, 22, OrtStatus *, SessionOptionsAppendExecutionProvider_V2,                              \
      (OrtSessionOptions *, OrtEnv *, const OrtEpDevice *const *, size_t, const char *const *,     \
       const char *const *, size_t))                                                               \
    X(307, 22, int, HardwareDevice_Type, (const OrtHardwareDevice *))                              \
    X(312, 22, const char *, EpDevice_EpName, (const OrtEpDevice *))                               \
    X(317, 22, const void *, GetEpApi, (void))                                                     \
    X(319, 23, OrtStatus *, AllocatorGetStats, (const OrtAllocator *, OrtKeyValuePairs **))        \
    X(381, 23, OrtStatus *, SessionGetMemoryInfoForOutputs,                                        \
      (const OrtSession *, const OrtMemoryInfo **, size_t))                                        \
    X(390, 24, bool, TensorTypeAndShape_HasShape, (const OrtTensorTypeAndShapeInfo *))             \
    X(407, 24, OrtStatus *, Session_GetEpGraphAssignmentInfo,                                      \
      (const OrtSession *, const OrtEpAssignedSubgraph *const **, size_t *))                       \
    X(408, 24, OrtStatus *, EpAssignedSubgraph_GetEpName,                                          \
      (const OrtEpAssignedSubgraph *, const char **))                                              \
    X(409, 24, OrtStatus *, EpAssignedSubgraph_GetNodes,                                           \
      (const OrtEpAssignedSubgraph *, const OrtEpAssignedNode *const **, size_t *))                \
    X(410, 24, OrtStatus *, EpAssignedNode_GetName, (const OrtEpAssignedNode *, const char **))    \
    X(411, 24, OrtStatus *, EpAssignedNode_GetDomain, (const OrtEpAssignedNode *, const char **))  \
    X(412, 24, OrtStatus *, EpAssignedNode_GetOperatorType,                                        \
      (const OrtEpAssignedNode *, const char **))                                                  \
    X(415, 25, OrtStatus *, RunOptionsEnableProfiling, (OrtRunOptions *, const char *))

/* The same for OrtEpApi. */
#define ORT_EP_FUNCTIONS(X)                                                                        \
    X(0, 22, OrtStatus *, CreateEpDevice,                                                          \
      (OrtEpFactory *, const OrtHardwareDevice *, const OrtKeyValuePairs *,                        \
       const OrtKeyValuePairs *, OrtEpDevice **))                                                  \
    X(67, 25, OrtStatus *, ProfilingEvent_GetCategory, (const OrtProfilingEvent *, int *))         \
    X(68, 25, OrtStatus *, ProfilingEvent_GetName, (const OrtProfilingEvent *, const char **))

/* The newest function of OrtApi that is listed without a version (254) came with 1.15. */
enum { ORT_OLDEST_MINOR = 15, ORT_NEWEST_MINOR_USED = 25 };

#define ORT_FIELD(slot, since, result, name, arguments) result(*name) arguments;
typedef struct OrtFunctions {
    ORT_FUNCTIONS(ORT_FIELD)
} OrtFunctions;

typedef struct OrtEpFunctions {
    ORT_EP_FUNCTIONS(ORT_FIELD)
} OrtEpFunctions;
#undef ORT_FIELD

#define ORT_FILL(slot, since, result, name, arguments)                                             \
    functions->name = (since) <= minor ? (result(*) arguments)table[slot] : NULL;
static inline void ort_functions_fill(OrtFunctions *functions, const void *api, int minor) {
    const void *const *table = (const void *const *)api;
    ORT_FUNCTIONS(ORT_FILL)
}

static inline void ort_ep_functions_fill(OrtEpFunctions *functions, const void *api, int minor) {
    const void *const *table = (const void *const *)api;
    ORT_EP_FUNCTIONS(ORT_FILL)
}
#undef ORT_FILL

#endif
