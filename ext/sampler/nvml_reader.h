/* Reads values of one GPU through NVML, which is opened at run time. */
#ifndef HARNESS_NVML_READER_H
#define HARNESS_NVML_READER_H

#include <stdbool.h>
#include <stddef.h>

#include "sampler/channel.h"
#include "sampler/nvml_abi.h"

/* Most fields requested in one call. */
#define NVML_BATCH 16

/* Most samples taken from the driver's buffer in one call: one that keeps power every 20 ms held
   120 of them. */
#define NVML_SAMPLES 512

struct nvml {
    void *library;
    bool initialised;
    bool test_double; /* the library says that it is a test double */
    nvmlDevice_t device;
    char detail[256]; /* what could not be opened */
    nvmlFieldValue_t batch[NVML_BATCH];
    nvmlSample_t samples[NVML_SAMPLES];
    unsigned long long seen_us; /* stamp of the newest sample taken */
#define MEMBER(name, parameters) nvmlReturn_t(*name) parameters;
    NVML_NEEDED(MEMBER)
    NVML_OPTIONAL(MEMBER)
#undef MEMBER
};

/* Opens the library and finds the GPU. On failure the struct can still be closed. */
nvmlReturn_t nvml_open(struct nvml *nvml, const char *library, unsigned gpu);

/* Reads adjacent channels that one NVML call can answer; see nvml_shared. */
void nvml_read(struct nvml *nvml, const struct channel *channels, size_t count,
               struct reading *readings);

/* Samples that the driver recorded by itself since the last call: room for NVML_SAMPLES readings,
   in its order, without those from before since_ns. Their times are the driver's, converted to
   CLOCK_MONOTONIC. `*count` is 0 if there is nothing new. Returns an nvmlReturn_t. */
nvmlReturn_t nvml_samples(struct nvml *nvml, const struct channel *channel, int64_t since_ns,
                          struct reading *readings, size_t *count);

/* Whether one call can answer several channels of this kind. */
bool nvml_shared(enum channel_kind kind);

/* Whether this status in the first reading means that no reading will ever succeed. */
bool nvml_final(nvmlReturn_t status);

void nvml_close(struct nvml *nvml);

#endif
