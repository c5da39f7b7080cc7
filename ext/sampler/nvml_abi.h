/* The part of NVML's ABI that harness calls, declared from NVIDIA's documentation. Functions and
   layouts are stable: a new layout comes as a new function (_v2). */
#ifndef HARNESS_NVML_ABI_H
#define HARNESS_NVML_ABI_H

#include <stdint.h>

typedef struct nvmlDevice *nvmlDevice_t;
typedef int nvmlReturn_t;

enum {
    NVML_SUCCESS = 0,
    NVML_ERROR_UNINITIALIZED = 1,
    NVML_ERROR_INVALID_ARGUMENT = 2,
    NVML_ERROR_NOT_SUPPORTED = 3,
    NVML_ERROR_NO_PERMISSION = 4,
    NVML_ERROR_NOT_FOUND = 6,
    NVML_ERROR_INSUFFICIENT_SIZE = 7,
    NVML_ERROR_DRIVER_NOT_LOADED = 9,
    NVML_ERROR_TIMEOUT = 10,
    NVML_ERROR_LIBRARY_NOT_FOUND = 12,
    NVML_ERROR_FUNCTION_NOT_FOUND = 13,
    NVML_ERROR_GPU_IS_LOST = 15,
    NVML_ERROR_LIB_RM_VERSION_MISMATCH = 18,
    NVML_ERROR_NO_DATA = 21,
    NVML_ERROR_UNKNOWN = 999,
};

enum {
    NVML_VALUE_TYPE_DOUBLE,
    NVML_VALUE_TYPE_UNSIGNED_INT,
    NVML_VALUE_TYPE_UNSIGNED_LONG,
    NVML_VALUE_TYPE_UNSIGNED_LONG_LONG,
    NVML_VALUE_TYPE_SIGNED_LONG_LONG,
    NVML_VALUE_TYPE_SIGNED_INT,
    NVML_VALUE_TYPE_UNSIGNED_SHORT,
};

enum {
    NVML_FI_DEV_MEMORY_TEMP = 82,              /* °C */
    NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION = 83, /* mJ since the driver was loaded */
    NVML_FI_DEV_POWER_AVERAGE = 185,           /* mW over a second */
    NVML_FI_DEV_POWER_INSTANT = 186,           /* mW */
};

enum {
    NVML_TOTAL_POWER_SAMPLES = 0, /* nvmlSamplingType_t; mW */
};

typedef union {
    double dVal;
    unsigned int uiVal;
    unsigned long ulVal;
    unsigned long long ullVal;
    signed long long sllVal;
    int siVal;
    unsigned short usVal;
} nvmlValue_t;

typedef struct {
    unsigned int fieldId;
    unsigned int scopeId;
    long long timestamp; /* CLOCK_REALTIME in µs */
    long long latencyUsec;
    int valueType;
    nvmlReturn_t nvmlReturn;
    nvmlValue_t value;
} nvmlFieldValue_t;

typedef struct {
    unsigned long long timeStamp; /* CLOCK_REALTIME in µs */
    nvmlValue_t sampleValue;
} nvmlSample_t;

typedef struct {
    unsigned int gpu, memory; /* percent */
} nvmlUtilization_t;

typedef struct {
    unsigned long long total, free, used; /* bytes */
} nvmlMemory_t;

/* X(name, parameters), under the names that the library exports; all return nvmlReturn_t. */
#define NVML_NEEDED(X)                                                                  \
    X(nvmlInit_v2, (void))                                                              \
    X(nvmlShutdown, (void))                                                             \
    X(nvmlDeviceGetHandleByIndex_v2, (unsigned int, nvmlDevice_t *))

#define NVML_OPTIONAL(X)                                                                \
    X(nvmlDeviceGetFieldValues, (nvmlDevice_t, int, nvmlFieldValue_t *))                \
    X(nvmlDeviceGetClockInfo, (nvmlDevice_t, int, unsigned int *))                      \
    X(nvmlDeviceGetTemperature, (nvmlDevice_t, int, unsigned int *))                    \
    X(nvmlDeviceGetUtilizationRates, (nvmlDevice_t, nvmlUtilization_t *))               \
    X(nvmlDeviceGetCurrentClocksEventReasons, (nvmlDevice_t, unsigned long long *))     \
    X(nvmlDeviceGetCurrentClocksThrottleReasons, (nvmlDevice_t, unsigned long long *))  \
    X(nvmlDeviceGetMemoryInfo, (nvmlDevice_t, nvmlMemory_t *))                          \
    /* type, samples newer than this stamp, type of the values, count of samples */     \
    X(nvmlDeviceGetSamples, (nvmlDevice_t, int, unsigned long long, int *,              \
                             unsigned int *, nvmlSample_t *))

#endif
