/* The probe: a custom operator that takes a time stamp when it executes, and does nothing else.

   Probe(after: any tensors) has no output. It does not read its inputs: they only make it wait
   for the nodes that produce them. The int64 attribute `place` says where in the graph it
   stands. Its domain is "harness.probe". ORT does not execute a probe without an input. */
#ifndef HARNESS_PROBE_OP_H
#define HARNESS_PROBE_OP_H

#include <stdint.h>

#include "ort/abi.h"

/* First 1.x version in which a custom operator may lack outputs and have inputs of any type. */
enum { PROBE_OLDEST_MINOR = 18 };

/* Creates the domain with its operator, once per process; both live until it ends. The functions
   are those of ORT 1.PROBE_OLDEST_MINOR or newer. Returns NULL, or a status that the caller
   releases, and then nothing is left behind. */
OrtStatus *probe_domain(const OrtFunctions *functions, OrtCustomOpDomain **made);

/* Starts recording: each execution of a probe stores its place and CLOCK_MONOTONIC in
   nanoseconds, up to capacity; further ones are only counted. Probes must execute on one
   thread at a time, as they do in ORT's sequential execution mode. */
void probe_start(int32_t *place, int64_t *stamp_ns, int64_t capacity);

/* Ends the recording; returns the number of stamps taken, of which the first capacity are kept. */
int64_t probe_stop(void);

#endif
