/* A native thread that samples machine counters at a steady rate into preallocated rings. */
#ifndef HARNESS_SAMPLING_H
#define HARNESS_SAMPLING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sampler/channel.h"

struct sampler;

struct sampler_plan {
    const struct channel *channels; /* fast ones first; copied, including the strings */
    size_t channel_count;
    int64_t period_ns;
    int64_t slow_every; /* ticks between two readings of the slow channels */
    size_t capacity;    /* ticks that fit in the ring */
    int64_t patience_ns;
    const char *nvml_library;
    unsigned gpu;
};

/* Counters of a sampler; they may be read at any time. */
struct sampler_report {
    int64_t ticks;
    int64_t missed;  /* deadlines that passed before the preceding tick was done */
    int64_t dropped; /* ticks whose readings did not fit in the ring */
    int64_t cpu_ns;  /* CPU time that the thread spent on its ticks */
    int64_t setup_ns; /* CPU time before the first tick: opening, and finding out what calls cost */
    /* Channel that did not answer within the patience; -1: none; channel_count: closing hung. */
    int hung;
    bool test_double;
    const char *detail; /* why NVML could not be opened; "" if it could */
};

/* Allocates and touches all memory that the thread will use. NULL if out of memory. */
struct sampler *sampler_new(const struct sampler_plan *plan);

/* Starts the thread and waits for its first readings, but no longer than the patience: opening a
   driver may take seconds, or hang. Call it once only. Returns 0 or an errno. */
int sampler_start(struct sampler *sampler);

/* Has the thread read its seldom channels at the next deadline, and waits until it has, for at
   most a period plus 0.1 s, as a timed pass may follow. Returns whether they were read in time; at
   once, true if it has none, and false while it still opens NVML or has not answered the last
   edge yet. What is read late is in the ring all the same, with its own time. */
bool sampler_edge(struct sampler *sampler);

/* Makes the thread take its last readings at the next deadline and waits for it to end, for at
   most a period plus the patience. After that the thread is abandoned: it ends by itself if its
   call ever returns, and keeps the memory until then. */
void sampler_stop(struct sampler *sampler);

struct sampler_report sampler_report(const struct sampler *sampler);

/* What the thread found out about a channel before its first tick: what a call costs and whether it
   is therefore seldom, the spacing of a meter's updates, the longest time between two readings of
   a seldom channel, and the status of the trial that failed, so that its cost is unknown. All 0
   until then. */
struct sampler_cost {
    int64_t cost_ns;
    int64_t period_ns;
    int64_t every_ns;
    int32_t untried;
    bool seldom;
};
struct sampler_cost sampler_cost(const struct sampler *sampler, size_t channel);

/* The tiers of readings. Seldom readings are rows of one column, each with its channel. */
enum tier { TIER_FAST, TIER_SLOW, TIER_SELDOM };

/* Readings in the rings, row by row. A row of the fast ring begins with the tick itself: when the
   thread woke, and how many nanoseconds after the deadline. sampler_take copies the oldest `rows`
   rows and drops them from the ring. One thread at a time. */
size_t sampler_rows(const struct sampler *sampler, enum tier tier);
size_t sampler_columns(const struct sampler *sampler, enum tier tier);
void sampler_take(struct sampler *sampler, enum tier tier, struct reading *readings, size_t rows);

/* Never waits: a thread that is still running stops at its next deadline and frees the memory. */
void sampler_free(struct sampler *sampler);

#endif
