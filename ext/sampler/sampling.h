/* A native thread that reads numbers of the machine at a steady rate into preallocated rings. */
#ifndef HARNESS_SAMPLING_H
#define HARNESS_SAMPLING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sampler/channel.h"

struct sampler;

struct sampler_plan {
    const struct channel *channels; /* fast ones first; copied, texts included */
    size_t channel_count;
    int64_t period_ns;
    int64_t slow_every; /* ticks from one reading of the slow channels to the next */
    size_t capacity;    /* ticks that the ring has room for */
    int64_t patience_ns;
    const char *nvml_library;
    unsigned gpu;
};

/* Counters of a sampler; they may be read at any time. */
struct sampler_report {
    int64_t ticks;
    int64_t missed;  /* deadlines that were over before the tick before them was done */
    int64_t dropped; /* ticks whose readings found no room in the ring */
    int64_t cpu_ns;  /* CPU time of the thread in its ticks */
    /* Channel that did not answer within the patience, -1 for none, channel_count for the end. */
    int hung;
    bool test_double;
    const char *detail; /* why NVML could not be opened, "" where it could */
};

/* Allocates all memory that the thread will use and touches it. NULL without memory. */
struct sampler *sampler_new(const struct sampler_plan *plan);

/* Starts the thread and waits for its first readings, but no longer than the patience: a driver
   may take seconds to open, or for ever. Once only. Returns 0 or an errno. */
int sampler_start(struct sampler *sampler);

/* Has the thread take last readings at its next deadline and waits for its end, at most a period
   and the patience. Past that the thread is given up: it ends by itself if its call ever
   returns, and keeps the memory until then. */
void sampler_stop(struct sampler *sampler);

struct sampler_report sampler_report(const struct sampler *sampler);

/* Readings in the rings, row after row. A row of the fast ring begins with the tick itself: when
   the thread woke and how many nanoseconds after the deadline. The oldest `rows` rows are
   copied, and forgotten. One thread at a time. */
size_t sampler_rows(const struct sampler *sampler, bool slow);
size_t sampler_columns(const struct sampler *sampler, bool slow);
void sampler_take(struct sampler *sampler, bool slow, struct reading *readings, size_t rows);

/* Never waits: a thread that still runs stops at its next deadline and then frees the memory. */
void sampler_free(struct sampler *sampler);

#endif
