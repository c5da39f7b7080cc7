/* A channel: a number that can be sampled repeatedly; and one reading of it. */
#ifndef HARNESS_CHANNEL_H
#define HARNESS_CHANNEL_H

#include <stdbool.h>
#include <stdint.h>

enum channel_kind {
    CHANNEL_FILE,             /* argument: number of the field in the line, from 1 */
    CHANNEL_NVML_FIELD,       /* argument: NVML_FI_... */
    CHANNEL_NVML_CLOCK,       /* argument: nvmlClockType_t; MHz */
    CHANNEL_NVML_TEMPERATURE, /* argument: nvmlTemperatureSensors_t; °C */
    CHANNEL_NVML_UTILIZATION, /* argument: 0 for the GPU, 1 for its memory; percent */
    CHANNEL_NVML_REASONS,     /* clock event (throttle) reasons; a bitmask */
    CHANNEL_NVML_MEMORY,      /* used memory; bytes */
    CHANNEL_NVML_SAMPLES,     /* argument: nvmlSamplingType_t; what the driver itself recorded */
    CHANNEL_KINDS
};

struct reading {
    int64_t time_ns; /* CLOCK_MONOTONIC, the middle of the call */
    int64_t value;
    int64_t updated_us; /* CLOCK_REALTIME at which the driver says it updated the value; or 0 */
    int32_t status;     /* 0; else an errno for files, an nvmlReturn_t for NVML */
    int32_t channel;    /* of a seldom reading: which one; else 0 */
};

/* In a row of a tick, the status of a channel that has become a seldom one. */
#define CHANNEL_ELSEWHERE (-1)

struct channel {
    enum channel_kind kind;
    bool slow;
    int64_t argument;
    int64_t scale;    /* the number read times this is the value */
    const char *path; /* of a file */
    const char *key;  /* first word of the line; "" for the first line */
    int file;         /* descriptor, shared by the channels of one file */
    int absent;       /* status that every reading would have: if not 0, it is no longer read */
    bool meter;       /* a counter: the spacing of its updates is found at start if it is seldom */
    /* Found by the thread at its start, of NVML's channels. */
    bool seldom;      /* too costly for every tick: read at the edges of passes and now and then */
    int64_t cost_ns;  /* of one call; 0 if it is not known */
    int32_t untried;  /* status of the trial that failed, so that the cost is not known */
    int64_t every_ns; /* between two readings of a seldom channel, at most */
    int64_t due_ns;   /* of the next one */
    int64_t period_ns; /* between two updates of a meter; 0 if it was not found */
    struct reading last; /* of its trials; its time is 0 once it was taken */
};

static inline void channel_store(const struct channel *channel, struct reading *reading,
                                 int64_t value, int status, int overflow) {
    reading->status = status;
    if (status == 0 && __builtin_mul_overflow(value, channel->scale, &reading->value))
        reading->status = overflow;
    if (reading->status != 0) reading->value = 0;
}

#endif
