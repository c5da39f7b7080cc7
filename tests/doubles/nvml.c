/* A stand-in for libnvidia-ml.so.1: one GPU whose values follow from the clock, and faults.

   Values change every 20 ms, as a driver's do, with the stamp of that moment. The marker
   harness_test_double is the control as well. With prices, each call takes the CPU time that it
   took on an H200 and the energy counter changes every 100 ms, as it did there. */
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sampler/nvml_abi.h"

#define EXPORT __attribute__((visibility("default")))
#define UPDATE_NS 20000000LL

/* What a call takes: the energy counter took 3.2 ms, all that is read at a tick together 20 µs.
   What nvmlDeviceGetSamples takes was not measured: 50 µs are an assumption. */
#define ENERGY_NS 3200000
#define OTHER_NS 5000
#define SAMPLES_NS 50000
#define PRICED_UPDATE_NS 100000000LL

/* The driver's own samples of power: one every 20 ms, of the last 120. */
#define SAMPLE_US 20000
#define SAMPLES_KEPT 120

static atomic_int priced;
static atomic_llong energy_calls, other_calls, samples_calls;

/* Calls of nvmlDeviceGetSamples, readings of the energy counter, and all other readings so far:
   a field counts as one. */
struct calls {
    long long energy, samples, other;
    long long spent_ns; /* what these cost at the prices */
};
static _Atomic(const char *) fault = "";
static atomic_long countdown; /* readings until a fault of the middle comes */
static atomic_int initialised;

/* "" for none. Names must stay where they are: they are literals below. */
static const char *const faults[] = {
    "driver_not_loaded", "version_mismatch", "no_permission", "unsupported_fields", "timeout",
    "hang", "hang_init", "hang_shutdown", "gpu_lost", "counter_reset", "stale", "slow",
    "foreign_clock", "slow_samples",
};

EXPORT int harness_test_double(const char *name, long after_readings) {
    const char *known = strcmp(name, "") == 0 ? "" : NULL;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        if (strcmp(name, faults[i]) == 0) known = faults[i];
    if (known == NULL) return -1;
    atomic_store(&countdown, after_readings);
    atomic_store(&fault, known);
    return 0;
}

EXPORT void harness_test_double_price(int on) { atomic_store(&priced, on); }

EXPORT struct calls harness_test_double_calls(void) {
    struct calls calls = {atomic_load(&energy_calls), atomic_load(&samples_calls),
                          atomic_load(&other_calls), 0};
    calls.spent_ns =
        calls.energy * ENERGY_NS + calls.samples * SAMPLES_NS + calls.other * OTHER_NS;
    return calls;
}

static long long cpu_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* Counts a call, and takes CPU time for it: as much as it costs, the system calls that read the clock
   included. The part of the first one before its stamp and of the last one after it take as much
   as one from stamp to stamp. */
static void pay(atomic_llong *calls, long long cost_ns) {
    atomic_fetch_add(calls, 1);
    if (!atomic_load(&priced)) return;
    long long first_ns = cpu_ns(), last_ns = first_ns, step_ns = 0;
    do {
        long long now_ns = cpu_ns();
        step_ns = now_ns - last_ns;
        last_ns = now_ns;
    } while (last_ns - first_ns + step_ns < cost_ns);
}

static int is(const char *name) { return strcmp(atomic_load(&fault), name) == 0; }

static int due(const char *name) { return is(name) && atomic_load(&countdown) <= 0; }

static void pause_ms(long ms) {
    struct timespec time = {0, ms * 1000000};
    nanosleep(&time, NULL);
}

/* Until the fault is taken back, so that no test leaves a thread behind. */
static void hang(const char *name) {
    while (due(name)) pause_ms(2);
}

/* What any reading has to go through. */
static nvmlReturn_t reading(void) {
    if (!atomic_load(&initialised)) return NVML_ERROR_UNINITIALIZED;
    atomic_fetch_sub(&countdown, 1);
    hang("hang");
    if (is("slow")) pause_ms(25);
    if (is("no_permission")) return NVML_ERROR_NO_PERMISSION;
    if (due("gpu_lost")) return NVML_ERROR_GPU_IS_LOST;
    if (due("timeout")) return NVML_ERROR_TIMEOUT;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlInitWithFlags(unsigned int flags) {
    (void)flags;
    hang("hang_init");
    if (is("driver_not_loaded")) return NVML_ERROR_DRIVER_NOT_LOADED;
    if (is("version_mismatch")) return NVML_ERROR_LIB_RM_VERSION_MISMATCH;
    atomic_fetch_add(&initialised, 1);
    return NVML_SUCCESS;
}

#ifndef WITHOUT_INIT
EXPORT nvmlReturn_t nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
#endif

EXPORT nvmlReturn_t nvmlShutdown(void) {
    hang("hang_shutdown");
    if (!atomic_load(&initialised)) return NVML_ERROR_UNINITIALIZED;
    atomic_fetch_sub(&initialised, 1);
    return NVML_SUCCESS;
}

/* How often it was opened less how often it was closed. */
EXPORT int harness_test_double_open(void) { return atomic_load(&initialised); }

EXPORT const char *nvmlErrorString(nvmlReturn_t status) {
    return status == NVML_SUCCESS ? "Success" : "a fault of the double";
}

static nvmlReturn_t text(char *buffer, unsigned int size, const char *told) {
    int needed = snprintf(buffer, size, "%s", told);
    return needed < (int)size ? NVML_SUCCESS : NVML_ERROR_INSUFFICIENT_SIZE;
}

EXPORT nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned int size) {
    return text(version, size, "580.0.double");
}

/* One, unless the environment says otherwise. What they report differs in name, UUID and place. */
static unsigned int gpus(void) {
    const char *told = getenv("HARNESS_DOUBLE_GPUS");
    return told ? (unsigned int)atoi(told) : 1;
}

static char handles[8];

static int index_of(nvmlDevice_t device) { return (int)((char *)device - handles); }

EXPORT nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *count) {
    *count = gpus();
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *device) {
    if (index >= gpus() || index >= sizeof handles) return NVML_ERROR_INVALID_ARGUMENT;
    *device = (nvmlDevice_t)&handles[index];
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned int size) {
    (void)device;
    return text(name, size, "Test Double L4");
}

EXPORT nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned int size) {
    if (gpus() == 1) return text(uuid, size, "GPU-double");
    int needed = snprintf(uuid, size, "GPU-00000000-0000-0000-0000-%012d", index_of(device));
    return needed < (int)size ? NVML_SUCCESS : NVML_ERROR_INSUFFICIENT_SIZE;
}

typedef struct {
    char busIdLegacy[16];
    unsigned int domain, bus, device, pciDeviceId, pciSubSystemId;
    char busId[32];
} nvmlPciInfo_t;

EXPORT nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t device, nvmlPciInfo_t *pci) {
    memset(pci, 0, sizeof *pci);
    snprintf(pci->busId, sizeof pci->busId, "00000000:%02x:00.0", index_of(device) + 1);
    return NVML_SUCCESS;
}

#ifndef WITHOUT_FIELD_VALUES
/* Number of the driver's last update, in steps of 20 ms. */
static long long update(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    long long every = atomic_load(&priced) ? PRICED_UPDATE_NS : UPDATE_NS;
    long long now_ns = now.tv_sec * 1000000000LL + now.tv_nsec;
    return is("stale") ? 1000 : now_ns / every * (every / UPDATE_NS);
}

EXPORT nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t device, int count,
                                             nvmlFieldValue_t *values) {
    (void)device;
    nvmlReturn_t status = reading();
    if (status != NVML_SUCCESS) return status;
    long long updates = update();
    for (int i = 0; i < count; i++) {
        nvmlFieldValue_t *field = &values[i];
        field->timestamp = updates * UPDATE_NS / 1000;
        field->latencyUsec = 0;
        if (field->fieldId == NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION) pay(&energy_calls, ENERGY_NS);
        else pay(&other_calls, OTHER_NS);
        field->nvmlReturn = NVML_SUCCESS;
        field->valueType = NVML_VALUE_TYPE_UNSIGNED_INT;
        switch (field->fieldId) {
        case NVML_FI_DEV_POWER_INSTANT:
            field->value.uiVal = 50000 + (unsigned)(updates % 100);
            break;
        case NVML_FI_DEV_POWER_AVERAGE:
            if (is("unsupported_fields")) field->nvmlReturn = NVML_ERROR_NOT_SUPPORTED;
            else field->value.uiVal = 50050;
            break;
        case NVML_FI_DEV_MEMORY_TEMP:
            if (is("unsupported_fields")) field->nvmlReturn = NVML_ERROR_NOT_SUPPORTED;
            else field->value.uiVal = 60;
            break;
        case NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION:
            field->valueType = NVML_VALUE_TYPE_UNSIGNED_LONG_LONG;
            /* A joule an update; what is left of it after a reset is little. */
            field->value.ullVal = (unsigned long long)updates * 1000;
            if (due("counter_reset")) field->value.ullVal %= 7;
            break;
        default:
            field->nvmlReturn = NVML_ERROR_INVALID_ARGUMENT;
        }
    }
    return NVML_SUCCESS;
}
#endif

EXPORT nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t device, int clock, unsigned int *mhz) {
    (void)device;
    *mhz = clock == 1 ? 1905 : 6251;
    pay(&other_calls, OTHER_NS);
    return reading();
}

EXPORT nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t device, int sensor,
                                             unsigned int *celsius) {
    (void)device;
    *celsius = 47;
    pay(&other_calls, OTHER_NS);
    return sensor == 0 ? reading() : NVML_ERROR_INVALID_ARGUMENT;
}

EXPORT nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *rates) {
    (void)device;
    *rates = (nvmlUtilization_t){.gpu = 93, .memory = 21};
    pay(&other_calls, OTHER_NS);
    return reading();
}

EXPORT nvmlReturn_t nvmlDeviceGetCurrentClocksThrottleReasons(nvmlDevice_t device,
                                                              unsigned long long *mask) {
    (void)device;
    *mask = 0x4;
    pay(&other_calls, OTHER_NS);
    return reading();
}

#ifndef WITHOUT_EVENT_REASONS
EXPORT nvmlReturn_t nvmlDeviceGetCurrentClocksEventReasons(nvmlDevice_t device,
                                                           unsigned long long *mask) {
    return nvmlDeviceGetCurrentClocksThrottleReasons(device, mask);
}
#endif

EXPORT nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory) {
    (void)device;
    *memory = (nvmlMemory_t){.total = 24ULL << 30, .free = 23ULL << 30, .used = 1ULL << 30};
    pay(&other_calls, OTHER_NS);
    return reading();
}

#ifndef WITHOUT_SAMPLES
/* Power of 50 W at multiples of 20 ms; oldest first, as the real one returns them. */
EXPORT nvmlReturn_t nvmlDeviceGetSamples(nvmlDevice_t device, int type, unsigned long long seen_us,
                                         int *value_type, unsigned int *count,
                                         nvmlSample_t *samples) {
    (void)device;
    pay(&samples_calls, SAMPLES_NS);
    if (is("slow_samples")) pause_ms(200);
    nvmlReturn_t status = reading();
    if (status != NVML_SUCCESS) return status;
    if (type != NVML_TOTAL_POWER_SAMPLES) return NVML_ERROR_INVALID_ARGUMENT;
    if (is("unsupported_fields")) return NVML_ERROR_NOT_SUPPORTED;
    struct timespec now;
    clock_gettime(is("foreign_clock") ? CLOCK_MONOTONIC : CLOCK_REALTIME, &now);
    unsigned long long newest =
        (unsigned long long)(now.tv_sec * 1000000LL + now.tv_nsec / 1000) / SAMPLE_US;
    unsigned long long oldest = newest < SAMPLES_KEPT ? 1 : newest - SAMPLES_KEPT + 1;
    if (seen_us / SAMPLE_US >= oldest) oldest = seen_us / SAMPLE_US + 1;
    if (oldest > newest) return NVML_ERROR_NOT_FOUND;
    unsigned int there = (unsigned int)(newest - oldest + 1);
    *value_type = NVML_VALUE_TYPE_UNSIGNED_INT;
    if (samples == NULL || *count > there) *count = there;
    for (unsigned int i = 0; samples != NULL && i < *count; i++)
        samples[i] = (nvmlSample_t){.timeStamp = (oldest + i) * SAMPLE_US,
                                    .sampleValue.uiVal = 50000 + (unsigned)(oldest + i) % 100};
    return NVML_SUCCESS;
}
#endif
