/* A fixed workload whose time shows how fast the machine currently is. */
#ifndef HARNESS_WORKLOAD_H
#define HARNESS_WORKLOAD_H

#include <stddef.h>
#include <stdint.h>

struct yardstick;

/* Allocates and touches all memory that the workload needs. NULL if out of memory. */
struct yardstick *yardstick_new(void);

/* NULL is allowed. */
void yardstick_free(struct yardstick *yardstick);

/* Times the workload count times (at least 1) on the calling thread, in CLOCK_MONOTONIC
   nanoseconds: when each repetition started and how long each of its parts took. Allocates
   nothing. Returns a digest of everything that the last repetition computed; it is always the
   same. */
uint64_t yardstick_run(struct yardstick *yardstick, size_t count, int64_t *start_ns,
                       int64_t *compute_ns, int64_t *cache_ns, int64_t *memory_ns);

#endif
