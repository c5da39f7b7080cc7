/* CUpti_ActivityKind of the public header (cupti_activity.h): the kinds requested and decoded. */
#ifndef HARNESS_CUPTI_ACTIVITY_H
#define HARNESS_CUPTI_ACTIVITY_H

enum {
    MEMCPY = 1,
    MEMSET = 2,
    SERIAL_KERNEL = 3, /* decoded, but never requested: it serialises the kernels */
    DRIVER = 4,
    RUNTIME = 5,
    CONCURRENT_KERNEL = 10,
    EXTERNAL_CORRELATION = 39,
};

#endif
