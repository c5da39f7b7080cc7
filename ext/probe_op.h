/* The probe: a custom operator that passes its first input on by alias and stamps the time.

   Probe_T(X: T, after: any tensors) -> X. `after` only forces the order of execution: its
   tensors are not read, and there may be none. One operator for each tensor element type T,
   in the domain "harness.probe"; the int64 attribute `place` says where in the graph it
   stands. */
#ifndef HARNESS_PROBE_OP_H
#define HARNESS_PROBE_OP_H

#include <stdint.h>

/* ONNX numbers of the element types that custom operators may have in ORT: all up to int4
   but the complex ones. */
extern const int PROBE_ELEMENT_TYPES[];
enum { PROBE_ELEMENT_TYPE_COUNT = 20 };

/* First 1.x version whose custom operators can alias. */
enum { PROBE_OLDEST_MINOR = 18 };

/* Makes the domain with all its operators, once a process; both live until it ends.
   api is the OrtApi of an ORT 1.minor. Returns the OrtCustomOpDomain, or NULL with *error
   set to a text that needs no freeing. */
void *probe_domain(const void *api, int minor, const char **error);

/* From now on each execution of a probe stores its place and CLOCK_MONOTONIC in
   nanoseconds, up to capacity; further ones are only counted. Probes must execute on one
   thread at a time, as they do in ORT's sequential execution mode. */
void probe_start(int32_t *place, int64_t *stamp_ns, int64_t capacity);

/* Ends it; returns the stamps that were taken, of which the first capacity are stored. */
int64_t probe_stop(void);

#endif
