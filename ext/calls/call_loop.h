/* The timing loop for a C function of another runtime: calls back to back, with nothing else in
   between. */
#ifndef HARNESS_CALL_LOOP_H
#define HARNESS_CALL_LOOP_H

#include <stdint.h>

/* An inference; returns 0, or an error code of its runtime. */
typedef int (*Call)(void *argument);

/* Makes up to count calls and writes the start and duration of each, in CLOCK_MONOTONIC
   nanoseconds. A call starts where the last one ended, as in ONNX Runtime's timing loop
   (ort/timing_loop.h). Ends when count is reached, or at the first call that does not return 0:
   *failure is then what it returned. Returns the number of calls that succeeded. */
int64_t call_loop(Call call, void *argument, int64_t count, int64_t *start_ns,
                  int64_t *duration_ns, int *failure);

/* Does nothing: what the loop takes for it is the loop's own. */
int empty_call(void *argument);

#endif
