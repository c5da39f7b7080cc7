/* Reads numbers from the text files of /proc and /sys, which are kept open. */
#ifndef HARNESS_FILE_READER_H
#define HARNESS_FILE_READER_H

#include <stddef.h>

#include "sampler/channel.h"

/* Enough for /proc/stat with several hundred CPUs and its line of interrupts. */
#define FILE_READER_BYTES ((size_t)1 << 20)

/* Opens the file that adjacent channels share; on failure they become absent with the errno. */
void file_open(struct channel *channels, size_t count);

/* Reads the file from the beginning. Fields are separated by blanks; one may be "name=number".
   ENODATA: no such line, no such field, or not a whole number. */
void file_read(const struct channel *channels, size_t count, struct reading *readings,
               char *buffer);

#endif
