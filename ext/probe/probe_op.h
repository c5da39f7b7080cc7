/* The probe: a custom operator that takes a time stamp when it executes, and does nothing else.

   Probe(after: any tensors) has no output. It does not read its inputs: they only make it wait
   for the nodes that produce them. The int64 attribute `place` says where in the graph it
   stands. Its domain is "harness.probe". ORT does not execute a probe without an input.

   Probe runs on the CPU. For a graph whose nodes run on a device there is another, which the
   device's provider executes: on the host, between the launches of its other nodes, and without
   a launch of its own. DeviceProbe(up to PROBE_HOST_TENSORS tensors in the host's memory, any
   others in the device's) is registered for the CPU, too: ORT moves nodes there that work on
   shapes. */
#ifndef HARNESS_PROBE_OP_H
#define HARNESS_PROBE_OP_H

#include <stdint.h>

#include "ort/abi.h"

/* First 1.x version in which a custom operator may lack outputs and have inputs of any type. */
enum { PROBE_OLDEST_MINOR = 18 };

/* Inputs of a DeviceProbe in the host's memory; those in the device's follow them. Each of these may
   be missing, but must have a name, be it an empty one. */
enum { PROBE_HOST_TENSORS = 8 };

/* Longest name of a provider, in bytes, with the zero at its end. */
enum { PROBE_PROVIDER_BYTES = 64 };

/* Creates the domain with its operators, once per process and provider; they live until it ends.
   The provider is ORT's name of a device's, shorter than PROBE_PROVIDER_BYTES; empty for the
   probe on the CPU alone. The functions are those of ORT 1.PROBE_OLDEST_MINOR or newer. Returns
   NULL, or a status that the caller releases, and then nothing is left behind. Leaves *made
   NULL if there is no memory. One thread at a time. */
OrtStatus *probe_domain(const OrtFunctions *functions, const char *provider,
                        OrtCustomOpDomain **made);

/* Starts recording: each execution of a probe stores its place and CLOCK_MONOTONIC in
   nanoseconds, up to capacity; further ones are only counted. Probes must execute on one
   thread at a time, as they do in ORT's sequential execution mode. */
void probe_start(int32_t *place, int64_t *stamp_ns, int64_t capacity);

/* Ends the recording; returns the number of stamps taken, of which the first capacity are kept. */
int64_t probe_stop(void);

#endif
