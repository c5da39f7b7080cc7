/* The last lines that ONNX Runtime logged in this process.

   ORT has one environment, and so one logger, per process; its threads call the logger at any
   time, with or without the GIL, so lines go into fixed memory under a mutex. */
#ifndef HARNESS_LOG_RING_H
#define HARNESS_LOG_RING_H

#include <stddef.h>
#include <stdint.h>

enum { LOG_LINES = 256, LOG_LINE_BYTES = 1024 };

/* An OrtLoggingFunction. */
void log_ring_write(void *param, int severity, const char *category, const char *logid,
                    const char *code_location, const char *message);

/* Takes out the oldest line: copies it to text (LOG_LINE_BYTES, ends in NUL) and its
   severity, and returns 1; returns 0 if there is none. */
int log_ring_take(char *text, int *severity);

/* Lines that were overwritten before they were taken, since the last call. */
int64_t log_ring_take_lost(void);

#endif
