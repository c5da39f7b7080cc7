#define _GNU_SOURCE
#include "sampler/file_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void file_open(struct channel *channels, size_t count) {
    int file = open(channels[0].path, O_RDONLY | O_CLOEXEC);
    int status = file < 0 ? errno : 0;
    for (size_t i = 0; i < count; i++) {
        channels[i].file = file;
        channels[i].absent = status;
    }
}

/* The first line that begins with the key as a whole word; NULL if there is none. */
static const char *line_of(const char *text, const char *key) {
    size_t length = strlen(key);
    while (text != NULL && length != 0) {
        if (strncmp(text, key, length) == 0 && (text[length] == ' ' || text[length] == '\t')) break;
        text = strchr(text, '\n');
        if (text != NULL) text++;
    }
    return text;
}

/* The whole number in the n-th field of the rest of a line; returns an errno. */
static int number(const char *rest, int64_t field, int64_t *value) {
    const char *begin = rest, *end = rest;
    for (int64_t i = 0; i < field; i++) {
        begin = end + strspn(end, " \t");
        end = begin + strcspn(begin, " \t\n");
        if (begin == end) return ENODATA;
    }
    const char *equals = memchr(begin, '=', (size_t)(end - begin));
    if (equals != NULL) begin = equals + 1;
    char *stop;
    errno = 0;
    long long parsed = strtoll(begin, &stop, 10);
    /* "3/412" of /proc/loadavg reads as 3; "0.52" is not a whole number. */
    if (begin == end || stop == begin || (stop != end && *stop != '/')) return ENODATA;
    if (errno != 0) return errno;
    *value = parsed;
    return 0;
}

void file_read(const struct channel *channels, size_t count, struct reading *readings,
               char *buffer) {
    ssize_t bytes = pread(channels[0].file, buffer, FILE_READER_BYTES - 1, 0);
    int failure = bytes < 0 ? errno : 0;
    buffer[bytes < 0 ? 0 : bytes] = '\0';
    /* Channels mostly come in the order of their lines, so each search starts at the last match. */
    const char *from = buffer;
    for (size_t i = 0; i < count; i++) {
        int64_t value = 0;
        int status = failure;
        if (status == 0) {
            const char *key = channels[i].key, *line = line_of(from, key);
            if (line == NULL) line = line_of(buffer, key);
            status = line == NULL ? ENODATA
                                  : number(line + strlen(key), channels[i].argument, &value);
            if (line != NULL) from = line;
        }
        channel_store(&channels[i], &readings[i], value, status, ERANGE);
    }
}
