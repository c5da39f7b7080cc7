#include "cupti/session.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "cupti/activity.h"

/* Numbers of the public headers (cupti_activity.h, cupti_result.h). */
enum {
    SUCCESS = 0,
    CUSTOM0 = 3, /* CUpti_ExternalCorrelationKind: free for users */
    FLUSH_FORCED = 1,
};

/* The work itself, and then what tells who launched it. DRIVER too: cuDNN and cuBLAS launch through
   the driver without a runtime call, and external ids are recorded only for calls that are recorded
   themselves. */
static const int kinds[] = {
    CONCURRENT_KERNEL, MEMCPY, MEMSET, EXTERNAL_CORRELATION, RUNTIME, DRIVER,
};
enum { KINDS_OF_WORK = 3, KINDS = sizeof kinds / sizeof kinds[0] };

/* In CUDA 12.6 to 13.0 kernels may get stamps of zero if a timestamp callback is registered
   (release notes of CUDA 13.1). There CUPTI's own clock is used: CLOCK_REALTIME on Linux. */
enum { CALLBACK_BROKEN_FROM = 24, CALLBACK_MENDED_IN = 130100 };

enum { BUFFER_BYTES = 4 << 20, BUFFER_ALIGNMENT = 8 };

typedef void (*RequestBuffer)(uint8_t **, size_t *, size_t *);
typedef void (*CompleteBuffer)(void *, uint32_t, uint8_t *, size_t, size_t);

static struct {
    void *library;
    uint32_t version;
    int (*GetVersion)(uint32_t *);
    int (*GetResultString)(int, const char **);
    int (*RegisterTimestampCallback)(uint64_t (*)(void));
    int (*RegisterCallbacks)(RequestBuffer, CompleteBuffer);
    int (*Enable)(int kind);
    int (*Disable)(int kind);
    int (*FlushAll)(uint32_t flag);
    int (*PushExternalCorrelationId)(int kind, uint64_t id);
    int (*PopExternalCorrelationId)(int kind, uint64_t *id);
    int (*GetNextRecord)(uint8_t *buffer, size_t bytes, void **record);
    int (*GetNumDroppedRecords)(void *context, uint32_t stream, size_t *dropped);
} cupti;

static struct {
    pthread_mutex_t lock; /* protects the fields below: CUPTI's own thread completes buffers */
    struct cupti_buffer *first, **last;
    int64_t room_bytes;
    int64_t dropped;
    atomic_llong unnamed;
    int64_t offset_ns;
    bool offset_used;
    int kinds; /* how many of the kinds were asked for */
} state = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- The library ---- */

const char *cupti_open(const char *path) {
    static char reason[512];
    if (cupti.library != NULL) return NULL;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        snprintf(reason, sizeof reason, "%s", dlerror());
        return reason;
    }
    const struct {
        const char *name;
        void *place;
    } symbols[] = {
        {"cuptiGetVersion", &cupti.GetVersion},
        {"cuptiGetResultString", &cupti.GetResultString},
        {"cuptiActivityRegisterTimestampCallback", &cupti.RegisterTimestampCallback},
        {"cuptiActivityRegisterCallbacks", &cupti.RegisterCallbacks},
        {"cuptiActivityEnable", &cupti.Enable},
        {"cuptiActivityDisable", &cupti.Disable},
        {"cuptiActivityFlushAll", &cupti.FlushAll},
        {"cuptiActivityPushExternalCorrelationId", &cupti.PushExternalCorrelationId},
        {"cuptiActivityPopExternalCorrelationId", &cupti.PopExternalCorrelationId},
        {"cuptiActivityGetNextRecord", &cupti.GetNextRecord},
        {"cuptiActivityGetNumDroppedRecords", &cupti.GetNumDroppedRecords},
    };
    for (size_t i = 0; i < sizeof symbols / sizeof symbols[0]; i++) {
        void *symbol = dlsym(library, symbols[i].name);
        if (symbol == NULL) {
            snprintf(reason, sizeof reason, "%s: has no function %s", path, symbols[i].name);
            dlclose(library);
            return reason;
        }
        memcpy(symbols[i].place, &symbol, sizeof symbol);
    }
    int code = cupti.GetVersion(&cupti.version);
    if (code != SUCCESS) {
        snprintf(reason, sizeof reason, "%s: cuptiGetVersion failed with %d", path, code);
        dlclose(library);
        return reason;
    }
    cupti.library = library;
    return NULL;
}

uint32_t cupti_version(void) { return cupti.version; }

static bool fail(struct cupti_failure *failure, const char *call, int code) {
    *failure = (struct cupti_failure){.call = call, .code = code, .result = ""};
    cupti.GetResultString(code, &failure->result);
    return false;
}

/* ---- Recording ---- */

static uint64_t timestamp(void) { return (uint64_t)monotonic_ns(); }

/* Called by CUPTI, possibly within a CUDA call that is being recorded. */
static void request_buffer(uint8_t **data, size_t *bytes, size_t *most_records) {
    *data = NULL;
    *bytes = 0;
    *most_records = 0; /* as many as fit */
    pthread_mutex_lock(&state.lock);
    bool room = state.room_bytes >= BUFFER_BYTES;
    if (room) state.room_bytes -= BUFFER_BYTES;
    pthread_mutex_unlock(&state.lock);
    if (!room) return; /* CUPTI counts what it drops */
    *data = aligned_alloc(BUFFER_ALIGNMENT, BUFFER_BYTES);
    if (*data != NULL) *bytes = BUFFER_BYTES;
}

static void add_dropped(void *context, uint32_t stream) {
    size_t dropped = 0;
    /* Reading sets CUPTI's count back to 0. */
    if (cupti.GetNumDroppedRecords(context, stream, &dropped) == SUCCESS) {
        pthread_mutex_lock(&state.lock);
        state.dropped += (int64_t)dropped;
        pthread_mutex_unlock(&state.lock);
    }
}

static void complete_buffer(void *context, uint32_t stream, uint8_t *data, size_t bytes,
                            size_t valid_bytes) {
    if (data == NULL) return;
    struct cupti_buffer *buffer = valid_bytes > 0 ? malloc(sizeof *buffer) : NULL;
    pthread_mutex_lock(&state.lock);
    if (buffer != NULL && state.last != NULL) {
        *buffer = (struct cupti_buffer){
            .valid_bytes = valid_bytes < bytes ? valid_bytes : bytes,
            .data = data,
        };
        *state.last = buffer;
        state.last = &buffer->next;
        data = NULL;
        buffer = NULL;
    } else {
        state.room_bytes += BUFFER_BYTES;
        /* How many records are lost with it is unknown: count it as one. */
        if (valid_bytes > 0) state.dropped++;
    }
    pthread_mutex_unlock(&state.lock);
    free(buffer);
    free(data);
    add_dropped(context, stream);
}

bool cupti_start(int64_t limit_bytes, bool launches, struct cupti_failure *failure) {
    int code;
    state.kinds = launches ? KINDS : KINDS_OF_WORK;
    state.offset_used =
        cupti.version >= CALLBACK_BROKEN_FROM && cupti.version < CALLBACK_MENDED_IN;
    if (!state.offset_used) {
        code = cupti.RegisterTimestampCallback(timestamp);
        if (code != SUCCESS) return fail(failure, "cuptiActivityRegisterTimestampCallback", code);
    }
    state.offset_ns = state.offset_used ? realtime_offset_ns() : 0;
    code = cupti.RegisterCallbacks(request_buffer, complete_buffer);
    if (code != SUCCESS) return fail(failure, "cuptiActivityRegisterCallbacks", code);
    pthread_mutex_lock(&state.lock);
    state.first = NULL;
    state.last = &state.first;
    state.room_bytes = limit_bytes;
    state.dropped = 0;
    pthread_mutex_unlock(&state.lock);
    atomic_store(&state.unnamed, 0);
    for (int i = 0; i < state.kinds; i++) {
        code = cupti.Enable(kinds[i]);
        if (code != SUCCESS) {
            struct cupti_recording nothing;
            struct cupti_failure ignored;
            cupti_stop(&nothing, &ignored);
            cupti_free(nothing.buffers);
            return fail(failure, "cuptiActivityEnable", code);
        }
    }
    return true;
}

void cupti_push(uint64_t id) {
    if (cupti.PushExternalCorrelationId(CUSTOM0, id) != SUCCESS) {
        atomic_fetch_add(&state.unnamed, 1);
    }
}

void cupti_pop(void) {
    uint64_t id;
    if (cupti.PopExternalCorrelationId(CUSTOM0, &id) != SUCCESS) {
        atomic_fetch_add(&state.unnamed, 1);
    }
}

bool cupti_stop(struct cupti_recording *recording, struct cupti_failure *failure) {
    int flushed = cupti.FlushAll(FLUSH_FORCED);
    for (int i = 0; i < state.kinds; i++) cupti.Disable(kinds[i]);
    int flushed_again = cupti.FlushAll(FLUSH_FORCED);
    add_dropped(NULL, 0);
    pthread_mutex_lock(&state.lock);
    *recording = (struct cupti_recording){
        .buffers = state.first,
        .dropped = state.dropped,
        .unnamed = atomic_load(&state.unnamed),
        .offset_ns = state.offset_ns,
        .step_ns = state.offset_used ? realtime_offset_ns() - state.offset_ns : 0,
    };
    state.first = NULL;
    state.last = NULL; /* a buffer completed from here on is freed at once */
    pthread_mutex_unlock(&state.lock);
    int code = flushed != SUCCESS ? flushed : flushed_again;
    return code == SUCCESS || fail(failure, "cuptiActivityFlushAll", code);
}

void cupti_free(struct cupti_buffer *buffer) {
    while (buffer != NULL) {
        struct cupti_buffer *next = buffer->next;
        free(buffer->data);
        free(buffer);
        buffer = next;
    }
}

int64_t cupti_offsets(const struct cupti_buffer *buffer, int64_t *offsets, int64_t room,
                      int *whole) {
    void *record = NULL;
    int64_t count = 0;
    int code;
    enum { NO_MORE = 12 }; /* CUPTI_ERROR_MAX_LIMIT_REACHED */
    while ((code = cupti.GetNextRecord(buffer->data, buffer->valid_bytes, &record)) == SUCCESS) {
        if (count < room) offsets[count] = (uint8_t *)record - buffer->data;
        count++;
    }
    *whole = code == NO_MORE;
    return count;
}
