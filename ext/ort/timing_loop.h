/* The timing loop: inferences one after the other, nothing else in between. */
#ifndef HARNESS_TIMING_LOOP_H
#define HARNESS_TIMING_LOOP_H

#include <stdint.h>

#include "ort/abi.h"

/* Inputs in host memory that are handed to each inference, and the outputs that it made there:
   what has to be copied to a device and back is a part of the inference. */
typedef struct HostValues {
    const char **input_names;
    const OrtValue **inputs;
    size_t input_count;
    const char **output_names;
    OrtValue **outputs; /* released before the next inference makes new ones */
    size_t output_count;
} HostValues;

/* Waits until a device has done all that it was given; 0, or an error code of its own. */
typedef int (*Synchronise)(void);

/* An inference of a bound session. */
typedef struct Inference {
    const OrtFunctions *ort;
    OrtSession *session;
    const OrtRunOptions *options;
    OrtIoBinding *binding;
    /* Outputs that are bound anew before each inference, since ORT would write into the value
       that the last one left there; and the memory that each is bound to. */
    const char **fresh;
    const OrtMemoryInfo **fresh_places;
    size_t fresh_count;
    const HostValues *values; /* used instead of the binding; NULL: the binding is used */
    Synchronise synchronise;  /* ends each inference; NULL: it ends when ORT returns */
} Inference;

/* Runs up to count inferences and writes the start and the duration of each, in
   CLOCK_MONOTONIC nanoseconds, and into enqueue_ns, unless it is NULL, the part of the duration
   until ORT returned, before the device was waited for. One inference starts where the last one
   ended, unless outputs are made anew in between or a device is waited for. Ends when count is
   reached, at the first inference that finishes at or after deadline_ns (INT64_MAX: none), or
   at the first failure: *failure then owns ORT's status, or *device_error is the code of
   synchronise. Returns the inferences that succeeded. */
int64_t timing_loop(const Inference *inference, int64_t count, int64_t deadline_ns,
                    int64_t *start_ns, int64_t *duration_ns, int64_t *enqueue_ns,
                    OrtStatus **failure, int *device_error);

/* The same inferences without a stamp between them: what the loop above is measured against.
   It and stamp_loop are for inferences with a binding and without synchronise.
   Returns the nanoseconds they took together; 0 with *failure set if one failed. */
int64_t untimed_loop(const Inference *inference, int64_t count, OrtStatus **failure);

/* What the loop adds to an inference, seen directly: after each of count inferences, the time
   that one more stamp and the storing of two numbers take, into added_ns. Returns the
   inferences that succeeded. */
int64_t stamp_loop(const Inference *inference, int64_t count, int64_t *added_ns,
                   OrtStatus **failure);

#endif
