/* Marks of the nodes that ONNX Runtime executes, from an execution provider that executes none.

   A plugin execution provider may offer a profiler (OrtEpProfilerImpl, ONNX Runtime 1.25). ORT
   calls it on the executing thread around every event of its own profiler: around every node of
   every provider, and around the inference as a whole. Each event gets an external id here, which
   a hook may hand to a tracer of the GPU, so that what is launched meanwhile names its node. */
#ifndef HARNESS_NODE_MARKS_H
#define HARNESS_NODE_MARKS_H

#include <stdint.h>

#include "ort/abi.h"

/* The 1.x version that brought OrtEpProfilerImpl, and the version of the structs that ORT gets. */
#define NODE_MARKS_OLDEST_MINOR 25
#define NODE_MARKS_NAME_BYTES 64

/* OrtProfilingEventCategory of the public header. */
enum { NODE_MARKS_SESSION = 0, NODE_MARKS_NODE = 1 };

/* One event, in the order in which events began. */
struct node_mark {
    int64_t start_ns;   /* CLOCK_MONOTONIC; -1 until the event began to be recorded */
    int64_t stop_ns;    /* -1 where ORT never ended it */
    int64_t parent;     /* index of the event around it on the same thread, -1 for none */
    int32_t thread;     /* the kernel's number of the executing thread */
    int32_t profiler;   /* number of the profiler: one for each inference that is profiled by
                           itself, one for all of a session that is profiled as a whole */
    int32_t category;   /* OrtProfilingEventCategory, -1 where it is not known */
    int32_t name_bytes; /* of ORT's whole name; more than fit if it was cut */
    char name[NODE_MARKS_NAME_BYTES]; /* padded with zeros */
};

/* Makes the provider known to ONNX Runtime, 1.NODE_MARKS_OLDEST_MINOR or newer: path is that of
   the library with these functions in it. *env is a reference of its own to the one environment
   of the process, which must exist. NULL, or a status that the caller releases, and then nothing
   is left behind. */
OrtStatus *node_marks_register(const OrtFunctions *functions, const char *path, OrtEnv **env);

/* Takes it back and gives the reference up; no session may use the provider any more. */
OrtStatus *node_marks_unregister(OrtEnv *env);

/* Makes the provider part of a session that is about to be made. */
OrtStatus *node_marks_append(OrtEnv *env, OrtSessionOptions *options);

/* Called with the external id before an event's work and after it, on its thread; not to be set
   while a recording is on. NULL, which may be set at any time: none. */
void node_marks_hooks(void (*push)(uint64_t id), void (*pop)(void));

/* From now on events are written to marks, which must stay until node_marks_stop returns.
   Returns the external id of marks[0]; that of marks[i] is greater by i, also for events that
   find no room. Ids of different recordings differ. */
int64_t node_marks_start(struct node_mark *marks, int64_t capacity);

struct node_marks_counts {
    int64_t begun;   /* events, with those that found no room */
    int64_t refused; /* by the hook's side: nested too deeply to be remembered */
    int64_t strayed; /* ended without having begun */
};

/* Ends the recording; no thread writes to the marks any more. */
struct node_marks_counts node_marks_stop(void);

#endif
