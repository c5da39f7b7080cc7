#include "sampler/nvml_reader.h"

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"

nvmlReturn_t nvml_open(struct nvml *nvml, const char *library, unsigned gpu) {
    memset(nvml, 0, sizeof *nvml);
    /* Never unmapped: an abandoned thread may still be inside. */
    nvml->library = dlopen(library, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (nvml->library == NULL) {
        snprintf(nvml->detail, sizeof nvml->detail, "%s", dlerror());
        return NVML_ERROR_LIBRARY_NOT_FOUND;
    }
    nvml->test_double = dlsym(nvml->library, "harness_test_double") != NULL;
#define FIND(name, parameters) \
    *(void **)&nvml->name = dlsym(nvml->library, #name);
    NVML_NEEDED(FIND)
    NVML_OPTIONAL(FIND)
#undef FIND
#define NEED(name, parameters)                                                  \
    if (nvml->name == NULL) {                                                   \
        snprintf(nvml->detail, sizeof nvml->detail, "%s: no %s", library, #name); \
        return NVML_ERROR_FUNCTION_NOT_FOUND;                                   \
    }
    NVML_NEEDED(NEED)
#undef NEED
    nvmlReturn_t status = nvml->nvmlInit_v2();
    if (status != NVML_SUCCESS) {
        snprintf(nvml->detail, sizeof nvml->detail, "nvmlInit_v2");
        return status;
    }
    nvml->initialised = true;
    status = nvml->nvmlDeviceGetHandleByIndex_v2(gpu, &nvml->device);
    if (status != NVML_SUCCESS)
        snprintf(nvml->detail, sizeof nvml->detail, "nvmlDeviceGetHandleByIndex_v2(%u)", gpu);
    return status;
}

void nvml_close(struct nvml *nvml) {
    if (nvml->initialised) nvml->nvmlShutdown();
    if (nvml->library != NULL) dlclose(nvml->library);
    nvml->initialised = false;
    nvml->library = NULL;
}

bool nvml_shared(enum channel_kind kind) {
    return kind == CHANNEL_NVML_FIELD || kind == CHANNEL_NVML_UTILIZATION;
}

bool nvml_final(nvmlReturn_t status) {
    return status == NVML_ERROR_NOT_SUPPORTED || status == NVML_ERROR_NO_PERMISSION ||
           status == NVML_ERROR_FUNCTION_NOT_FOUND || status == NVML_ERROR_INVALID_ARGUMENT;
}

/* Returns an nvmlReturn_t. */
static int number_of(int type, nvmlValue_t told, int64_t *value) {
    switch (type) {
    case NVML_VALUE_TYPE_DOUBLE: *value = llround(told.dVal); return NVML_SUCCESS;
    case NVML_VALUE_TYPE_UNSIGNED_INT: *value = told.uiVal; return NVML_SUCCESS;
    case NVML_VALUE_TYPE_UNSIGNED_LONG: *value = (int64_t)told.ulVal; return NVML_SUCCESS;
    case NVML_VALUE_TYPE_UNSIGNED_LONG_LONG: *value = (int64_t)told.ullVal; return NVML_SUCCESS;
    case NVML_VALUE_TYPE_SIGNED_LONG_LONG: *value = told.sllVal; return NVML_SUCCESS;
    case NVML_VALUE_TYPE_SIGNED_INT: *value = told.siVal; return NVML_SUCCESS;
    case NVML_VALUE_TYPE_UNSIGNED_SHORT: *value = told.usVal; return NVML_SUCCESS;
    default: return NVML_ERROR_UNKNOWN;
    }
}

/* Fields that are not absent go into one call; their results come back in the same order. */
static void read_fields(struct nvml *nvml, const struct channel *channels, size_t count,
                        struct reading *readings) {
    size_t asked = 0;
    for (size_t i = 0; i < count; i++) {
        if (channels[i].absent != 0) continue;
        nvml->batch[asked++] = (nvmlFieldValue_t){.fieldId = (unsigned)channels[i].argument};
    }
    nvmlReturn_t whole = NVML_ERROR_FUNCTION_NOT_FOUND;
    if (nvml->nvmlDeviceGetFieldValues != NULL)
        whole = nvml->nvmlDeviceGetFieldValues(nvml->device, (int)asked, nvml->batch);
    const nvmlFieldValue_t *field = nvml->batch;
    for (size_t i = 0; i < count; i++) {
        int64_t value = 0;
        int status = channels[i].absent;
        if (status == 0) {
            status = whole != NVML_SUCCESS ? whole : field->nvmlReturn;
            if (status == NVML_SUCCESS) {
                status = number_of(field->valueType, field->value, &value);
                readings[i].updated_us = field->timestamp;
            }
            field++;
        }
        channel_store(&channels[i], &readings[i], value, status, NVML_ERROR_UNKNOWN);
    }
}

static void read_rates(struct nvml *nvml, const struct channel *channels, size_t count,
                       struct reading *readings) {
    nvmlUtilization_t rates = {0};
    nvmlReturn_t status = NVML_ERROR_FUNCTION_NOT_FOUND;
    if (nvml->nvmlDeviceGetUtilizationRates != NULL)
        status = nvml->nvmlDeviceGetUtilizationRates(nvml->device, &rates);
    for (size_t i = 0; i < count; i++)
        channel_store(&channels[i], &readings[i],
                      channels[i].argument == 0 ? rates.gpu : rates.memory, status,
                      NVML_ERROR_UNKNOWN);
}

static nvmlReturn_t read_one(struct nvml *nvml, const struct channel *channel, int64_t *value) {
    nvmlReturn_t status = NVML_ERROR_FUNCTION_NOT_FOUND;
    unsigned int number = 0;
    unsigned long long mask = 0;
    nvmlMemory_t memory = {0};
    switch (channel->kind) {
    case CHANNEL_NVML_CLOCK:
        if (nvml->nvmlDeviceGetClockInfo != NULL)
            status = nvml->nvmlDeviceGetClockInfo(nvml->device, (int)channel->argument, &number);
        *value = number;
        break;
    case CHANNEL_NVML_TEMPERATURE:
        if (nvml->nvmlDeviceGetTemperature != NULL)
            status = nvml->nvmlDeviceGetTemperature(nvml->device, (int)channel->argument, &number);
        *value = number;
        break;
    case CHANNEL_NVML_REASONS:
        /* The same function; drivers before 535 have it under its old name. */
        if (nvml->nvmlDeviceGetCurrentClocksEventReasons != NULL)
            status = nvml->nvmlDeviceGetCurrentClocksEventReasons(nvml->device, &mask);
        else if (nvml->nvmlDeviceGetCurrentClocksThrottleReasons != NULL)
            status = nvml->nvmlDeviceGetCurrentClocksThrottleReasons(nvml->device, &mask);
        *value = (int64_t)mask;
        break;
    case CHANNEL_NVML_MEMORY:
        if (nvml->nvmlDeviceGetMemoryInfo != NULL)
            status = nvml->nvmlDeviceGetMemoryInfo(nvml->device, &memory);
        *value = (int64_t)memory.used;
        break;
    default:
        break;
    }
    return status;
}

nvmlReturn_t nvml_samples(struct nvml *nvml, const struct channel *channel, int64_t since_ns,
                          struct reading *readings, size_t *count) {
    *count = 0;
    if (nvml->nvmlDeviceGetSamples == NULL) return NVML_ERROR_FUNCTION_NOT_FOUND;
    int type = NVML_VALUE_TYPE_UNSIGNED_INT;
    unsigned int taken = NVML_SAMPLES;
    int64_t offset_ns = realtime_offset_ns();
    nvmlReturn_t status = nvml->nvmlDeviceGetSamples(
        nvml->device, (int)channel->argument, nvml->seen_us, &type, &taken, nvml->samples);
    /* How the driver says that there is none newer. */
    if (status == NVML_ERROR_NOT_FOUND || status == NVML_ERROR_NO_DATA) return NVML_SUCCESS;
    if (status != NVML_SUCCESS) return status;
    if (taken > NVML_SAMPLES) return NVML_ERROR_UNKNOWN;
    unsigned long long before_us = nvml->seen_us;
    for (unsigned int i = 0; i < taken; i++) {
        const nvmlSample_t *sample = &nvml->samples[i];
        int64_t value = 0;
        /* A ring that is not full yet has entries without a stamp; others may come once more. */
        if (sample->timeStamp <= before_us) continue;
        if (sample->timeStamp > nvml->seen_us) nvml->seen_us = sample->timeStamp;
        struct reading *reading = &readings[*count];
        *reading = (struct reading){
            .time_ns = (int64_t)sample->timeStamp * 1000 - offset_ns,
            .updated_us = (int64_t)sample->timeStamp,
        };
        if (reading->time_ns < since_ns) continue;
        int converted = number_of(type, sample->sampleValue, &value);
        channel_store(channel, reading, value, converted, NVML_ERROR_UNKNOWN);
        ++*count;
    }
    return NVML_SUCCESS;
}

void nvml_read(struct nvml *nvml, const struct channel *channels, size_t count,
               struct reading *readings) {
    if (channels[0].kind == CHANNEL_NVML_FIELD) {
        read_fields(nvml, channels, count, readings);
    } else if (channels[0].kind == CHANNEL_NVML_UTILIZATION) {
        read_rates(nvml, channels, count, readings);
    } else {
        int64_t value = 0;
        nvmlReturn_t status = read_one(nvml, &channels[0], &value);
        channel_store(&channels[0], &readings[0], value, status, NVML_ERROR_UNKNOWN);
    }
}
