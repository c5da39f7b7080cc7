/* Decodes the fields of CUPTI's records that harness uses into columns.

   Works without libcupti, so that records from a different machine can be decoded too. */
#ifndef HARNESS_CUPTI_DECODE_H
#define HARNESS_CUPTI_DECODE_H

#include <stdint.h>

enum { CUPTI_KERNEL = 0, CUPTI_MEMCPY = 1, CUPTI_MEMSET = 2 };

struct cupti_work { /* -1 in fields that a kind of work does not have */
    int64_t start_ns, end_ns;
    int64_t bytes;
    int64_t shared_bytes;
    uint64_t name; /* address of a kernel's name in the process that recorded it */
    uint64_t graph_node; /* id of the node of a CUDA graph that it is, 0 for none or unknown */
    int32_t kind;
    int32_t copy_kind; /* CUpti_ActivityMemcpyKind */
    uint32_t device, context, stream, correlation;
    uint32_t graph; /* id of the CUDA graph that launched it, 0 for none or unknown */
    int32_t grid[3], block[3];
    int32_t registers;
};

struct cupti_call { /* a host call of the CUDA runtime or driver API */
    int64_t start_ns, end_ns;
    uint32_t thread, correlation, function, result;
};

struct cupti_external {
    uint64_t id;
    uint32_t kind; /* CUpti_ExternalCorrelationKind */
    uint32_t correlation;
};

struct cupti_columns {
    struct cupti_work *work;
    struct cupti_call *call;
    struct cupti_external *external;
    int64_t works, calls, externals; /* entries */
    int64_t skipped;                 /* records of kinds that are not used */
    int64_t truncated; /* records shorter than their kind needs, or outside the buffer */
};

/* Decodes the records that begin at these offsets and appends them to the columns. With
   columns->work NULL it only counts. No record is read past the start of the next one. */
void cupti_decode(const uint8_t *data, int64_t bytes, const int64_t *offsets, int64_t count,
                  struct cupti_columns *columns);

/* The demangled name, to be freed by the caller; NULL if the name is not mangled or libstdc++ is
   missing. */
char *cupti_demangle(const char *name);

#endif
