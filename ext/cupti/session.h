/* What the GPU did, as CUPTI (NVIDIA's tracing library) records it: the v1 activity API.

   libcupti is opened when it is asked for. Its records are kept as they come (cupti/decode.h
   makes columns of them). CUPTI is one for the whole process, and so is the state here: the
   functions that change it are for one thread. */
#ifndef HARNESS_CUPTI_SESSION_H
#define HARNESS_CUPTI_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Opens libcupti, for good. Returns NULL, or why it cannot be used (until the next call). */
const char *cupti_open(const char *path);

/* CUPTI_API_VERSION of the opened library. */
uint32_t cupti_version(void);

struct cupti_failure {
    const char *call;   /* a literal */
    int code;           /* CUptiResult */
    const char *result; /* its name, CUPTI's own text */
};

/* From now on CUPTI records into at most so many bytes; what finds no room is counted. Returns
   false with *failure filled, and then nothing is left on. */
bool cupti_start(int64_t limit_bytes, struct cupti_failure *failure);

/* What is launched on this thread until cupti_pop names this id. */
void cupti_push(uint64_t id);
void cupti_pop(void);

/* A piece of memory that CUPTI wrote records into. */
struct cupti_buffer {
    struct cupti_buffer *next;
    size_t valid_bytes;
    uint8_t *data;
};

struct cupti_recording {
    struct cupti_buffer *buffers; /* in the order in which they were completed */
    int64_t dropped;              /* records that CUPTI dropped */
    int64_t unnamed;              /* calls of cupti_push or cupti_pop that failed */
    int64_t offset_ns;            /* what to take from a stamp to get CLOCK_MONOTONIC */
    int64_t step_ns;              /* by how much that differed at the end */
};

/* Ends the recording. Work that was launched must be finished, or its records are lost. Returns
   false with *failure filled if CUPTI did not end cleanly; the recording is good for what it
   holds either way, and its buffers belong to the caller. */
bool cupti_stop(struct cupti_recording *recording, struct cupti_failure *failure);

void cupti_free(struct cupti_buffer *buffers);

/* Finds where records begin in a buffer, by CUPTI's own count: their number, of which the first
   `room` are stored. *whole says whether CUPTI could read the buffer to its end. */
int64_t cupti_offsets(const struct cupti_buffer *buffer, int64_t *offsets, int64_t room,
                      int *whole);

#endif
