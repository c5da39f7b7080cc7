/* Numbers out of the text files of /proc and /sys, kept open. */
#ifndef HARNESS_FILE_READER_H
#define HARNESS_FILE_READER_H

#include <stddef.h>

#include "sampler/channel.h"

/* /proc/stat of several hundred CPUs with its line of interrupts fits. */
#define FILE_READER_BYTES ((size_t)1 << 20)

/* Opens the file that neighbouring channels share; on failure they are absent with the errno. */
void file_open(struct channel *channels, size_t count);

/* Reads it from its beginning. Fields are separated by blanks; a field may be "name=number".
   ENODATA: no such line, no such field, or no whole number in it. */
void file_read(const struct channel *channels, size_t count, struct reading *readings,
               char *buffer);

#endif
