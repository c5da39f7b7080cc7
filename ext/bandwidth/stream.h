/* Memory bandwidth as STREAM measures it: pinned threads, each with a slice of its own. */
#ifndef HARNESS_STREAM_H
#define HARNESS_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Unit in which arrays are divided among the threads: a cache line, 8 doubles. */
#define STREAM_LINE_BYTES 64

struct stream_failure {
    const char *call; /* what failed, a literal */
    int error;        /* its errno; 0 if the arrays held wrong values afterwards */
    int cpu;          /* the CPU it failed for, -1 for none */
};

/* Times in nanoseconds, of each part of each round. */
struct stream_times {
    int64_t *wall_ns; /* from the first thread's start to the last thread's end, CLOCK_MONOTONIC */
    int64_t *cpu_ns;  /* CPU time of all threads; below threads * wall_ns, one lost its CPU */
};

/* Whether the kernels can write past the caches here (x86-64 with AVX). Elsewhere most CPUs read
   each line before they write it (write-allocate), traffic that STREAM does not count. */
bool stream_bypasses_caches(void);

struct stream_task {
    size_t lines; /* of each array; at least one for each thread */
    const int *cpus;
    int threads;      /* at least 1, one pinned to each of the CPUs */
    int rounds;       /* at least 1: copy everything, then sum everything */
    int parts;        /* at least 1, timed one by one: short times fit between interruptions */
    int passes;       /* at least 1, over a part each time: where one alone is too short to time */
    bool past_caches; /* store past the caches where the CPU can, else through them */
};

/* Streams over three arrays: copied[i] = source[i], then sum[i] = source[i] + scalar * copied[i].
   Fills rounds * parts times of either. Every element is checked after the last round. Returns 0,
   or -1 with *failure filled; either way, nothing is left behind. */
int stream(const struct stream_task *task, struct stream_times copies, struct stream_times triads,
           struct stream_failure *failure);

#endif
