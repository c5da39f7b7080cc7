/* A fixed workload whose time says how fast the machine is at the moment. */
#ifndef HARNESS_WORKLOAD_H
#define HARNESS_WORKLOAD_H

#include <stddef.h>
#include <stdint.h>

struct yardstick;

/* Allocates and touches all memory that the workload needs. NULL: there is none. */
struct yardstick *yardstick_new(void);

/* NULL is allowed. */
void yardstick_free(struct yardstick *yardstick);

/* Times the workload so often, on the calling thread, in CLOCK_MONOTONIC nanoseconds: when each
   repetition started and what each of its parts took. Nothing is allocated. Returns a digest of
   everything that the last repetition calculated; it never differs. count >= 1 is the caller's
   duty. */
uint64_t yardstick_run(struct yardstick *yardstick, size_t count, int64_t *start_ns,
                       int64_t *compute_ns, int64_t *cache_ns, int64_t *memory_ns);

#endif
