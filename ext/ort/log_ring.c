#include "ort/log_ring.h"

#include <pthread.h>
#include <string.h>

static struct {
    pthread_mutex_t mutex;
    size_t first, count;
    int64_t lost;
    int severity[LOG_LINES];
    char text[LOG_LINES][LOG_LINE_BYTES];
} ring = {.mutex = PTHREAD_MUTEX_INITIALIZER};

void log_ring_write(void *param, int severity, const char *category, const char *logid,
                    const char *code_location, const char *message) {
    (void)param, (void)category, (void)logid, (void)code_location;
    size_t length = strnlen(message, LOG_LINE_BYTES - 1);
    /* Cut an overlong line between characters: a byte 10xxxxxx continues one. */
    while (length > 0 && ((unsigned char)message[length] & 0xC0) == 0x80) length--;
    pthread_mutex_lock(&ring.mutex);
    if (ring.count == LOG_LINES) {
        ring.first = (ring.first + 1) % LOG_LINES;
        ring.count--;
        ring.lost++;
    }
    size_t place = (ring.first + ring.count) % LOG_LINES;
    memcpy(ring.text[place], message, length);
    ring.text[place][length] = '\0';
    ring.severity[place] = severity;
    ring.count++;
    pthread_mutex_unlock(&ring.mutex);
}

int log_ring_take(char *text, int *severity) {
    int taken = 0;
    pthread_mutex_lock(&ring.mutex);
    if (ring.count) {
        memcpy(text, ring.text[ring.first], LOG_LINE_BYTES);
        *severity = ring.severity[ring.first];
        ring.first = (ring.first + 1) % LOG_LINES;
        ring.count--;
        taken = 1;
    }
    pthread_mutex_unlock(&ring.mutex);
    return taken;
}

int64_t log_ring_take_lost(void) {
    pthread_mutex_lock(&ring.mutex);
    int64_t lost = ring.lost;
    ring.lost = 0;
    pthread_mutex_unlock(&ring.mutex);
    return lost;
}
