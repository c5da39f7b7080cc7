# The part of ONNX Runtime's C ABI that harness calls; ort/abi.h says where it comes from.
from libc.stdint cimport int64_t, uint64_t

cdef extern from "ort/abi.h" nogil:
    ctypedef struct OrtStatus:
        pass
    ctypedef struct OrtEnv:
        pass
    ctypedef struct OrtSession:
        pass
    ctypedef struct OrtSessionOptions:
        pass
    ctypedef struct OrtRunOptions:
        pass
    ctypedef struct OrtIoBinding:
        pass
    ctypedef struct OrtValue:
        pass
    ctypedef struct OrtMemoryInfo:
        pass
    ctypedef struct OrtAllocator:
        pass
    ctypedef struct OrtTypeInfo:
        pass
    ctypedef struct OrtTensorTypeAndShapeInfo:
        pass
    ctypedef struct OrtMapTypeInfo:
        pass
    ctypedef struct OrtSequenceTypeInfo:
        pass
    ctypedef struct OrtOptionalTypeInfo:
        pass
    ctypedef struct OrtCustomOpDomain:
        pass
    ctypedef struct OrtProviderOptions:
        pass
    ctypedef struct OrtEpAssignedSubgraph:
        pass
    ctypedef struct OrtEpAssignedNode:
        pass
    ctypedef struct OrtKeyValuePairs:
        pass
    ctypedef void (*OrtLoggingFunction)(
        void*, int, const char*, const char*, const char*, const char*
    ) noexcept nogil
    ctypedef struct OrtFunctions:
        int (*GetErrorCode)(const OrtStatus*) noexcept nogil
        const char* (*GetErrorMessage)(const OrtStatus*) noexcept nogil
        OrtStatus* (*CreateEnvWithCustomLogger)(
            OrtLoggingFunction, void*, int, const char*, OrtEnv**
        ) noexcept nogil
        OrtStatus* (*DisableTelemetryEvents)(const OrtEnv*) noexcept nogil
        OrtStatus* (*CreateSession)(
            const OrtEnv*, const char*, const OrtSessionOptions*, OrtSession**
        ) noexcept nogil
        OrtStatus* (*CreateSessionFromArray)(
            const OrtEnv*, const void*, size_t, const OrtSessionOptions*, OrtSession**
        ) noexcept nogil
        OrtStatus* (*Run)(
            OrtSession*, const OrtRunOptions*, const char* const*, const OrtValue* const*, size_t,
            const char* const*, size_t, OrtValue**
        ) noexcept nogil
        OrtStatus* (*CreateSessionOptions)(OrtSessionOptions**) noexcept nogil
        OrtStatus* (*SetOptimizedModelFilePath)(OrtSessionOptions*, const char*) noexcept nogil
        OrtStatus* (*SetSessionExecutionMode)(OrtSessionOptions*, int) noexcept nogil
        OrtStatus* (*EnableProfiling)(OrtSessionOptions*, const char*) noexcept nogil
        OrtStatus* (*DisableMemPattern)(OrtSessionOptions*) noexcept nogil
        OrtStatus* (*DisableCpuMemArena)(OrtSessionOptions*) noexcept nogil
        OrtStatus* (*SetSessionGraphOptimizationLevel)(OrtSessionOptions*, int) noexcept nogil
        OrtStatus* (*SetIntraOpNumThreads)(OrtSessionOptions*, int) noexcept nogil
        OrtStatus* (*SetInterOpNumThreads)(OrtSessionOptions*, int) noexcept nogil
        OrtStatus* (*AddCustomOpDomain)(OrtSessionOptions*, OrtCustomOpDomain*) noexcept nogil
        OrtStatus* (*SessionGetInputCount)(const OrtSession*, size_t*) noexcept nogil
        OrtStatus* (*SessionGetOutputCount)(const OrtSession*, size_t*) noexcept nogil
        OrtStatus* (*SessionGetInputTypeInfo)(
            const OrtSession*, size_t, OrtTypeInfo**
        ) noexcept nogil
        OrtStatus* (*SessionGetOutputTypeInfo)(
            const OrtSession*, size_t, OrtTypeInfo**
        ) noexcept nogil
        OrtStatus* (*SessionGetInputName)(
            const OrtSession*, size_t, OrtAllocator*, char**
        ) noexcept nogil
        OrtStatus* (*SessionGetOutputName)(
            const OrtSession*, size_t, OrtAllocator*, char**
        ) noexcept nogil
        OrtStatus* (*CreateRunOptions)(OrtRunOptions**) noexcept nogil
        OrtStatus* (*CreateTensorAsOrtValue)(
            OrtAllocator*, const int64_t*, size_t, int, OrtValue**
        ) noexcept nogil
        OrtStatus* (*CreateTensorWithDataAsOrtValue)(
            const OrtMemoryInfo*, void*, size_t, const int64_t*, size_t, int, OrtValue**
        ) noexcept nogil
        OrtStatus* (*GetTensorMutableData)(OrtValue*, void**) noexcept nogil
        OrtStatus* (*GetStringTensorDataLength)(const OrtValue*, size_t*) noexcept nogil
        OrtStatus* (*GetStringTensorContent)(
            const OrtValue*, void*, size_t, size_t*, size_t
        ) noexcept nogil
        OrtStatus* (*CastTypeInfoToTensorInfo)(
            const OrtTypeInfo*, const OrtTensorTypeAndShapeInfo**
        ) noexcept nogil
        OrtStatus* (*GetOnnxTypeFromTypeInfo)(const OrtTypeInfo*, int*) noexcept nogil
        OrtStatus* (*GetTensorElementType)(const OrtTensorTypeAndShapeInfo*, int*) noexcept nogil
        OrtStatus* (*GetDimensionsCount)(const OrtTensorTypeAndShapeInfo*, size_t*) noexcept nogil
        OrtStatus* (*GetDimensions)(
            const OrtTensorTypeAndShapeInfo*, int64_t*, size_t
        ) noexcept nogil
        OrtStatus* (*GetSymbolicDimensions)(
            const OrtTensorTypeAndShapeInfo*, const char**, size_t
        ) noexcept nogil
        OrtStatus* (*GetTensorShapeElementCount)(
            const OrtTensorTypeAndShapeInfo*, size_t*
        ) noexcept nogil
        OrtStatus* (*GetTensorTypeAndShape)(
            const OrtValue*, OrtTensorTypeAndShapeInfo**
        ) noexcept nogil
        OrtStatus* (*GetValueType)(const OrtValue*, int*) noexcept nogil
        OrtStatus* (*CreateCpuMemoryInfo)(int, int, OrtMemoryInfo**) noexcept nogil
        OrtStatus* (*MemoryInfoGetName)(const OrtMemoryInfo*, const char**) noexcept nogil
        OrtStatus* (*AllocatorFree)(OrtAllocator*, void*) noexcept nogil
        OrtStatus* (*GetAllocatorWithDefaultOptions)(OrtAllocator**) noexcept nogil
        OrtStatus* (*GetValue)(const OrtValue*, int, OrtAllocator*, OrtValue**) noexcept nogil
        OrtStatus* (*GetValueCount)(const OrtValue*, size_t*) noexcept nogil
        OrtStatus* (*CreateValue)(const OrtValue* const*, size_t, int, OrtValue**) noexcept nogil
        void (*ReleaseEnv)(OrtEnv*) noexcept nogil
        void (*ReleaseStatus)(OrtStatus*) noexcept nogil
        void (*ReleaseMemoryInfo)(OrtMemoryInfo*) noexcept nogil
        void (*ReleaseSession)(OrtSession*) noexcept nogil
        void (*ReleaseValue)(OrtValue*) noexcept nogil
        void (*ReleaseRunOptions)(OrtRunOptions*) noexcept nogil
        void (*ReleaseTypeInfo)(OrtTypeInfo*) noexcept nogil
        void (*ReleaseTensorTypeAndShapeInfo)(OrtTensorTypeAndShapeInfo*) noexcept nogil
        void (*ReleaseSessionOptions)(OrtSessionOptions*) noexcept nogil
        OrtStatus* (*CastTypeInfoToMapTypeInfo)(
            const OrtTypeInfo*, const OrtMapTypeInfo**
        ) noexcept nogil
        OrtStatus* (*CastTypeInfoToSequenceTypeInfo)(
            const OrtTypeInfo*, const OrtSequenceTypeInfo**
        ) noexcept nogil
        OrtStatus* (*GetMapKeyType)(const OrtMapTypeInfo*, int*) noexcept nogil
        OrtStatus* (*GetMapValueType)(const OrtMapTypeInfo*, OrtTypeInfo**) noexcept nogil
        OrtStatus* (*GetSequenceElementType)(
            const OrtSequenceTypeInfo*, OrtTypeInfo**
        ) noexcept nogil
        OrtStatus* (*SessionEndProfiling)(OrtSession*, OrtAllocator*, char**) noexcept nogil
        OrtStatus* (*GetAvailableProviders)(char***, int*) noexcept nogil
        OrtStatus* (*ReleaseAvailableProviders)(char**, int) noexcept nogil
        OrtStatus* (*AddSessionConfigEntry)(
            OrtSessionOptions*, const char*, const char*
        ) noexcept nogil
        OrtStatus* (*RunWithBinding)(
            OrtSession*, const OrtRunOptions*, const OrtIoBinding*
        ) noexcept nogil
        OrtStatus* (*CreateIoBinding)(OrtSession*, OrtIoBinding**) noexcept nogil
        void (*ReleaseIoBinding)(OrtIoBinding*) noexcept nogil
        OrtStatus* (*BindInput)(OrtIoBinding*, const char*, const OrtValue*) noexcept nogil
        OrtStatus* (*BindOutputToDevice)(
            OrtIoBinding*, const char*, const OrtMemoryInfo*
        ) noexcept nogil
        OrtStatus* (*GetBoundOutputValues)(
            const OrtIoBinding*, OrtAllocator*, OrtValue***, size_t*
        ) noexcept nogil
        OrtStatus* (*SessionGetProfilingStartTimeNs)(const OrtSession*, uint64_t*) noexcept nogil
        OrtStatus* (*AddRunConfigEntry)(OrtRunOptions*, const char*, const char*) noexcept nogil
        OrtStatus* (*SessionOptionsAppendExecutionProvider_TensorRT_V2)(
            OrtSessionOptions*, const OrtProviderOptions*
        ) noexcept nogil
        OrtStatus* (*CreateTensorRTProviderOptions)(OrtProviderOptions**) noexcept nogil
        OrtStatus* (*UpdateTensorRTProviderOptions)(
            OrtProviderOptions*, const char* const*, const char* const*, size_t
        ) noexcept nogil
        OrtStatus* (*GetTensorRTProviderOptionsAsString)(
            const OrtProviderOptions*, OrtAllocator*, char**
        ) noexcept nogil
        void (*ReleaseTensorRTProviderOptions)(OrtProviderOptions*) noexcept nogil
        OrtStatus* (*HasValue)(const OrtValue*, int*) noexcept nogil
        OrtStatus* (*GetTensorMemoryInfo)(const OrtValue*, const OrtMemoryInfo**) noexcept nogil
        OrtStatus* (*SessionOptionsAppendExecutionProvider_CUDA_V2)(
            OrtSessionOptions*, const OrtProviderOptions*
        ) noexcept nogil
        OrtStatus* (*CreateCUDAProviderOptions)(OrtProviderOptions**) noexcept nogil
        OrtStatus* (*UpdateCUDAProviderOptions)(
            OrtProviderOptions*, const char* const*, const char* const*, size_t
        ) noexcept nogil
        OrtStatus* (*GetCUDAProviderOptionsAsString)(
            const OrtProviderOptions*, OrtAllocator*, char**
        ) noexcept nogil
        void (*ReleaseCUDAProviderOptions)(OrtProviderOptions*) noexcept nogil
        OrtStatus* (*SessionOptionsAppendExecutionProvider)(
            OrtSessionOptions*, const char*, const char* const*, const char* const*, size_t
        ) noexcept nogil
        void (*MemoryInfoGetDeviceType)(const OrtMemoryInfo*, int*) noexcept nogil
        OrtStatus* (*RegisterCustomOpsLibrary_V2)(
            OrtSessionOptions*, const char*
        ) noexcept nogil
        OrtStatus* (*CastTypeInfoToOptionalTypeInfo)(
            const OrtTypeInfo*, const OrtOptionalTypeInfo**
        ) noexcept nogil
        OrtStatus* (*GetOptionalContainedTypeInfo)(
            const OrtOptionalTypeInfo*, OrtTypeInfo**
        ) noexcept nogil
        OrtStatus* (*GetResizedStringTensorElementBuffer)(
            OrtValue*, size_t, size_t, char**
        ) noexcept nogil
        const char* (*GetBuildInfoString)() noexcept nogil
        bint (*TensorTypeAndShape_HasShape)(const OrtTensorTypeAndShapeInfo*) noexcept nogil
        OrtStatus* (*CreateAllocator)(
            const OrtSession*, const OrtMemoryInfo*, OrtAllocator**
        ) noexcept nogil
        void (*ReleaseAllocator)(OrtAllocator*) noexcept nogil
        void (*GetKeyValuePairs)(
            const OrtKeyValuePairs*, const char* const**, const char* const**, size_t*
        ) noexcept nogil
        void (*ReleaseKeyValuePairs)(OrtKeyValuePairs*) noexcept nogil
        OrtStatus* (*AllocatorGetStats)(const OrtAllocator*, OrtKeyValuePairs**) noexcept nogil
        OrtStatus* (*SessionGetMemoryInfoForOutputs)(
            const OrtSession*, const OrtMemoryInfo**, size_t
        ) noexcept nogil
        OrtStatus* (*Session_GetEpGraphAssignmentInfo)(
            const OrtSession*, const OrtEpAssignedSubgraph* const**, size_t*
        ) noexcept nogil
        OrtStatus* (*EpAssignedSubgraph_GetEpName)(
            const OrtEpAssignedSubgraph*, const char**
        ) noexcept nogil
        OrtStatus* (*EpAssignedSubgraph_GetNodes)(
            const OrtEpAssignedSubgraph*, const OrtEpAssignedNode* const**, size_t*
        ) noexcept nogil
        OrtStatus* (*EpAssignedNode_GetName)(
            const OrtEpAssignedNode*, const char**
        ) noexcept nogil
        OrtStatus* (*EpAssignedNode_GetDomain)(
            const OrtEpAssignedNode*, const char**
        ) noexcept nogil
        OrtStatus* (*EpAssignedNode_GetOperatorType)(
            const OrtEpAssignedNode*, const char**
        ) noexcept nogil
        OrtStatus* (*RunOptionsEnableProfiling)(OrtRunOptions*, const char*) noexcept nogil
    int ORT_OLDEST_MINOR
