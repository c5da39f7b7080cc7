/* The timing loop: inferences one after the other, nothing else in between. */
#ifndef HARNESS_TIMING_LOOP_H
#define HARNESS_TIMING_LOOP_H

#include <stdint.h>

#include "ort_abi.h"

/* An inference of a bound session. */
typedef struct Inference {
    const OrtFunctions *ort;
    OrtSession *session;
    const OrtRunOptions *options;
    OrtIoBinding *binding;
    const OrtMemoryInfo *host;
    /* Outputs that are bound anew, to host, before each inference, since ORT would write into
       the value that the last one left there. */
    const char **fresh;
    size_t fresh_count;
} Inference;

/* Runs up to count inferences and writes the start and the duration of each, in
   CLOCK_MONOTONIC nanoseconds. One inference starts where the last one ended, unless outputs
   are bound in between. Ends when count is reached, at the first inference that
   finishes at or after deadline_ns (INT64_MAX: none), or at the first failing status, which
   *failure then owns. Returns the inferences that succeeded. */
int64_t timing_loop(const Inference *inference, int64_t count, int64_t deadline_ns,
                    int64_t *start_ns, int64_t *duration_ns, OrtStatus **failure);

/* The same inferences without a stamp between them: what the loop above is measured against.
   Returns the nanoseconds they took together; 0 with *failure set if one failed. */
int64_t untimed_loop(const Inference *inference, int64_t count, OrtStatus **failure);

/* What the loop adds to an inference, seen directly: after each of count inferences, the time
   that one more stamp and the storing of two numbers take, into added_ns. Returns the
   inferences that succeeded. */
int64_t stamp_loop(const Inference *inference, int64_t count, int64_t *added_ns,
                   OrtStatus **failure);

#endif
