/* Marks of the nodes that ONNX Runtime executes, from an execution provider that executes none.

   A plugin execution provider may offer a profiler (OrtEpProfilerImpl, ONNX Runtime 1.25). ORT
   calls it on the executing thread around every event of its own profiler: around every node of
   every provider, and around the whole inference. Each event gets an external id here, which a
   hook may pass to a GPU tracer, so that work launched meanwhile carries the id of its node. */
#ifndef HARNESS_NODE_MARKS_H
#define HARNESS_NODE_MARKS_H

#include <stdint.h>

#include "ort/abi.h"

/* The 1.x version that introduced OrtEpProfilerImpl; also the version of the structs given to ORT.
 */
#define NODE_MARKS_OLDEST_MINOR 25
#define NODE_MARKS_NAME_BYTES 64

/* OrtProfilingEventCategory of the public header. */
enum { NODE_MARKS_SESSION = 0, NODE_MARKS_NODE = 1 };

/* One event, in the order in which events began. */
struct node_mark {
    int64_t start_ns;   /* CLOCK_MONOTONIC; -1 until the event began to be recorded */
    int64_t stop_ns;    /* -1 if ORT never ended it */
    int64_t parent;     /* index of the enclosing event on the same thread, -1 for none */
    int32_t thread;     /* the kernel's id of the executing thread */
    int32_t profiler;   /* number of the profiler: one for each inference that is profiled by
                           itself, or one for a session that is profiled as a whole */
    int32_t category;   /* OrtProfilingEventCategory, -1 if unknown */
    int32_t name_bytes; /* length of ORT's full name; more than fits if the name was cut */
    char name[NODE_MARKS_NAME_BYTES]; /* padded with zeros */
};

/* Registers the provider with ONNX Runtime, 1.NODE_MARKS_OLDEST_MINOR or newer; path is the
   library that contains these functions. *env becomes a new reference to the one environment of
   the process, which must exist. Returns NULL, or a status that the caller releases, and then
   nothing is left behind. */
OrtStatus *node_marks_register(const OrtFunctions *functions, const char *path, OrtEnv **env);

/* Unregisters it and releases the reference; no session may still use the provider. */
OrtStatus *node_marks_unregister(OrtEnv *env);

/* Adds the provider to the session that will be created with these options. */
OrtStatus *node_marks_append(OrtEnv *env, OrtSessionOptions *options);

/* Sets the hooks that are called on the event's thread, push with the external id before its work
   and pop after it. Do not set them while a recording is on; NULL, for none, is always allowed. */
void node_marks_hooks(void (*push)(uint64_t id), void (*pop)(void));

/* Starts writing events to marks, which must stay valid until node_marks_stop returns. Returns the
   external id of marks[0]; marks[i] has that id plus i, including events that no longer fit. Ids
   of different recordings differ. */
int64_t node_marks_start(struct node_mark *marks, int64_t capacity);

struct node_marks_counts {
    int64_t begun;   /* events, including those that did not fit */
    int64_t refused; /* events nested too deeply to be tracked */
    int64_t strayed; /* events that ended without having begun */
};

/* Ends the recording; when it returns, no thread writes to the marks any more. */
struct node_marks_counts node_marks_stop(void);

#endif
