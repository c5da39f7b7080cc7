/* What the GPU did, as CUPTI (NVIDIA's tracing library) records it: the v1 activity API.

   libcupti is opened when it is asked for. Its records are kept as they come; decoding them
   needs no libcupti, so that records of another machine can be decoded too. CUPTI is one for the
   whole process, and so is the state here: the functions that change it are for one thread. */
#ifndef HARNESS_CUPTI_RECORDS_H
#define HARNESS_CUPTI_RECORDS_H

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

/* ---- Decoding: columns of what harness uses of each record. ---- */

enum { CUPTI_KERNEL = 0, CUPTI_MEMCPY = 1, CUPTI_MEMSET = 2 };

struct cupti_work { /* -1 where a kind of work has no such thing */
    int64_t start_ns, end_ns;
    int64_t bytes;
    int64_t shared_bytes;
    uint64_t name; /* address of a kernel's name in the process that recorded it */
    int32_t kind;
    int32_t copy_kind; /* CUpti_ActivityMemcpyKind */
    uint32_t device, context, stream, correlation;
    uint32_t graph; /* number of the CUDA graph that launched it, 0 for none or unknown */
    int32_t grid[3], block[3];
    int32_t registers;
};

struct cupti_call { /* of CUDA's runtime or driver, on the host */
    int64_t start_ns, end_ns;
    uint32_t thread, correlation, function, result;
};

struct cupti_external {
    uint64_t id;
    uint32_t kind; /* CUpti_ExternalCorrelationKind */
    uint32_t correlation;
};

struct cupti_overhead {
    int64_t start_ns, end_ns;
    uint32_t kind; /* CUpti_ActivityOverheadKind */
    uint32_t unused;
};

struct cupti_columns {
    struct cupti_work *work;
    struct cupti_call *call;
    struct cupti_external *external;
    struct cupti_overhead *overhead;
    int64_t works, calls, externals, overheads; /* entries */
    int64_t skipped;                            /* records of kinds that are not used */
    int64_t truncated; /* records shorter than their kind needs, or outside of the buffer */
};

/* Decodes records that begin at these offsets and adds them to the columns. With columns->work
   NULL it only counts. No record is read beyond where the next one begins. */
void cupti_decode(const uint8_t *data, int64_t bytes, const int64_t *offsets, int64_t count,
                  struct cupti_columns *columns);

/* The name as C++ writes it, to be freed by the caller; NULL where it is no mangled one or
   libstdc++ is not there. */
char *cupti_demangle(const char *name);

#endif
