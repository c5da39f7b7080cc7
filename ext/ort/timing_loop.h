/* The timing loop: inferences back to back, with nothing else in between. */
#ifndef HARNESS_TIMING_LOOP_H
#define HARNESS_TIMING_LOOP_H

#include <stdint.h>

#include "ort/abi.h"

/* Inputs in host memory that are passed to each inference, and the outputs that it returns there:
   copies to a device and back are part of the inference. */
typedef struct HostValues {
    const char **input_names;
    const OrtValue **inputs;
    size_t input_count;
    const char **output_names;
    OrtValue **outputs; /* released before the next inference creates new ones */
    size_t output_count;
} HostValues;

/* Waits until a device has finished all its work; returns 0 or the device's error code. */
typedef int (*Synchronise)(void);

/* An inference of a bound session. */
typedef struct Inference {
    const OrtFunctions *ort;
    OrtSession *session;
    const OrtRunOptions *options;
    OrtIoBinding *binding;
    /* Outputs that are bound again before each inference, since ORT would write into the value
       left by the last one; and the memory that each is bound to. */
    const char **fresh;
    const OrtMemoryInfo **fresh_places;
    size_t fresh_count;
    const HostValues *values; /* used instead of the binding; NULL: use the binding */
    Synchronise synchronise;  /* ends each inference; NULL: it ends when ORT returns */
} Inference;

/* Returns at begin_ns on CLOCK_MONOTONIC, at once if that has passed: asleep, then on the CPU for
   the last SPIN_NS, so that several processes begin together to within microseconds. */
void wait_until(int64_t begin_ns);

/* Runs up to count inferences and writes the start and duration of each, in CLOCK_MONOTONIC
   nanoseconds. Unless enqueue_ns is NULL, it receives the part of the duration until ORT returned,
   before the wait for the device. An inference starts where the last one ended, unless outputs
   are bound again or a device is waited for in between. Ends when count is reached, at the first
   inference that finishes at or after deadline_ns (INT64_MAX: none), or at the first failure:
   *failure then owns ORT's status, or *device_error is the code from synchronise. Returns the
   number of inferences that succeeded. */
int64_t timing_loop(const Inference *inference, int64_t count, int64_t deadline_ns,
                    int64_t *start_ns, int64_t *duration_ns, int64_t *enqueue_ns,
                    OrtStatus **failure, int *device_error);

/* The same inferences without stamps in between: the reference for the cost of the loop above.
   It and stamp_loop are for inferences with a binding and without synchronise.
   Returns the total time in nanoseconds; 0 with *failure set if one failed. */
int64_t untimed_loop(const Inference *inference, int64_t count, OrtStatus **failure);

/* Measures directly what the loop adds to an inference: after each of count inferences, writes
   into added_ns the time that one more stamp and two stores take. Returns the number of inferences
   that succeeded. */
int64_t stamp_loop(const Inference *inference, int64_t count, int64_t *added_ns,
                   OrtStatus **failure);

#endif
