/* The clocks of harness, in int64 nanoseconds: all times are of CLOCK_MONOTONIC. */
#ifndef HARNESS_CLOCK_H
#define HARNESS_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline int64_t clock_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now); /* fails only for an unknown clock */
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline int64_t monotonic_ns(void) { return clock_ns(CLOCK_MONOTONIC); }

/* For how long the calling thread has had a CPU. */
static inline int64_t thread_cpu_ns(void) { return clock_ns(CLOCK_THREAD_CPUTIME_ID); }

/* CLOCK_REALTIME minus CLOCK_MONOTONIC: the tightest of several readings, each bracketed by
   two monotonic stamps, so that a preemption in between does not shift it. */
static inline int64_t realtime_offset_ns(void) {
    int64_t best_offset = 0, best_width = INT64_MAX;
    for (int i = 0; i < 16; i++) {
        int64_t before = monotonic_ns();
        int64_t realtime = clock_ns(CLOCK_REALTIME);
        int64_t after = monotonic_ns();
        if (after - before < best_width) {
            best_width = after - before;
            best_offset = realtime - (before + (after - before) / 2);
        }
    }
    return best_offset;
}

#endif
