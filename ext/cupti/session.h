/* What the GPU did, as recorded by CUPTI (NVIDIA's tracing library): the v1 activity API.

   libcupti is opened on demand. Its records are kept as they come (cupti/decode.h turns them into
   columns). CUPTI is global to the process, and so is the state here: call the functions that
   change it from one thread only. */
#ifndef HARNESS_CUPTI_SESSION_H
#define HARNESS_CUPTI_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Opens libcupti, for good. Returns NULL, or why it cannot be used (valid until the next call). */
const char *cupti_open(const char *path);

/* CUPTI_API_VERSION of the opened library. */
uint32_t cupti_version(void);

struct cupti_failure {
    const char *call;   /* a literal */
    int code;           /* CUptiResult */
    const char *result; /* its name, CUPTI's own text */
};

/* Starts recording into at most limit_bytes; records that do not fit are counted. Kernels, copies
   and memsets are recorded, and with `launches` the calls that launched them and their tags, which
   costs the host more for each launch. On failure returns false with *failure filled, and nothing
   is left enabled. */
bool cupti_start(int64_t limit_bytes, bool launches, struct cupti_failure *failure);

/* Work launched on this thread between cupti_push and cupti_pop is tagged with this id. */
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
    int64_t offset_ns;            /* subtract from a stamp to get CLOCK_MONOTONIC */
    int64_t step_ns;              /* how much that offset had changed by the end */
};

/* Ends the recording. Launched work must have finished, or its records are lost. Returns false
   with *failure filled if CUPTI did not end cleanly; either way what the recording holds is
   valid, and its buffers belong to the caller. */
bool cupti_stop(struct cupti_recording *recording, struct cupti_failure *failure);

void cupti_free(struct cupti_buffer *buffers);

/* Asks CUPTI where the records in a buffer begin. Returns their number and stores the first `room`
   offsets. *whole says whether CUPTI could read the buffer to its end. */
int64_t cupti_offsets(const struct cupti_buffer *buffer, int64_t *offsets, int64_t room,
                      int *whole);

#endif
