/* Memory bandwidth as STREAM measures it: pinned threads, each on a slice of its own. */
#ifndef HARNESS_STREAM_H
#define HARNESS_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Unit in which arrays are divided among the threads: a cache line of 8 doubles. */
#define STREAM_LINE_BYTES 64

struct stream_failure {
    const char *call; /* what failed, a literal */
    int error;        /* its errno; 0 when the arrays held wrong values afterwards */
    int cpu;          /* the CPU it failed for, -1 for none */
};

/* Whether the kernels write past the caches here (x86-64 with AVX). Elsewhere most CPUs read each
   line before they write it (write-allocate), traffic that STREAM does not count. */
bool stream_bypasses_caches(void);

/* Streams with one thread pinned to each of the CPUs: copied[i] = source[i] and then
   sum[i] = source[i] + scalar * copied[i], over arrays of so many lines. Writes what each
   repetition took, from the first thread's start to the last thread's end, in CLOCK_MONOTONIC
   nanoseconds. lines >= threads >= 1 and repetitions >= 1 are the caller's duty. Every element
   is checked after the last repetition. Returns 0, or -1 with *failure filled; nothing is left
   behind either way. */
int stream(size_t lines, const int *cpus, int threads, int repetitions, int64_t *copy_ns,
           int64_t *triad_ns, struct stream_failure *failure);

#endif
