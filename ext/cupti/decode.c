#include "cupti/decode.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <string.h>

#include "cupti/activity.h"

/* Offsets of fields in the packed structs of cupti_activity.h. These first fields are the same in
   CUpti_ActivityKernel3 to 13, in Memcpy to Memcpy6 and in Memset to Memset4: later versions only
   append. *_NEEDS is where the last field used ends. */
enum {
    KIND = 0,
    KERNEL_REGISTERS = 6, /* uint16_t */
    KERNEL_START = 16,
    KERNEL_END = 24,
    KERNEL_DEVICE = 40,
    KERNEL_CONTEXT = 44,
    KERNEL_STREAM = 48,
    KERNEL_GRID = 52,
    KERNEL_BLOCK = 64,
    KERNEL_STATIC_SHARED = 76,
    KERNEL_DYNAMIC_SHARED = 80,
    KERNEL_CORRELATION = 92,
    KERNEL_NAME = 104,
    KERNEL_NEEDS = 112,
    KERNEL_GRAPH_NODE = 144, /* in records long enough to have both: Kernel9 and later */
    KERNEL_GRAPH = 156,
    KERNEL_GRAPH_NEEDS = 208,
    COPY_KIND = 4,   /* uint8_t; of a memcpy only */
    MOVE_BYTES = 8,  /* memcpy and memset alike */
    MOVE_START = 16,
    MOVE_END = 24,
    MOVE_DEVICE = 32,
    MOVE_CONTEXT = 36,
    MOVE_STREAM = 40,
    MOVE_CORRELATION = 44,
    MOVE_NEEDS = 48,
    MOVE_GRAPH_NODE = 64, /* likewise: Memcpy5, Memset4 and later */
    MOVE_GRAPH = 72,
    MOVE_GRAPH_NEEDS = 88,
    CALL_FUNCTION = 4,
    CALL_START = 8,
    CALL_END = 16,
    CALL_THREAD = 28,
    CALL_CORRELATION = 32,
    CALL_RESULT = 36,
    CALL_NEEDS = 40,
    EXTERNAL_KIND = 4,
    EXTERNAL_ID = 8,
    EXTERNAL_CORRELATION_ID = 16,
    EXTERNAL_NEEDS = 20,
};

/* A record is only as aligned as its buffer: not at all if the bytes come from a file. */
#define READ(type, record, offset)                                                                 \
    ({                                                                                             \
        type value_;                                                                               \
        memcpy(&value_, (record) + (offset), sizeof value_);                                       \
        value_;                                                                                    \
    })

static int64_t needs(uint32_t kind) {
    switch (kind) {
    case CONCURRENT_KERNEL:
    case SERIAL_KERNEL: return KERNEL_NEEDS;
    case MEMCPY:
    case MEMSET: return MOVE_NEEDS;
    case RUNTIME:
    case DRIVER: return CALL_NEEDS;
    case EXTERNAL_CORRELATION: return EXTERNAL_NEEDS;
    default: return 0;
    }
}

static struct cupti_work kernel(const uint8_t *record, int64_t bytes) {
    bool graphs = bytes >= KERNEL_GRAPH_NEEDS;
    return (struct cupti_work){
        .start_ns = READ(int64_t, record, KERNEL_START),
        .end_ns = READ(int64_t, record, KERNEL_END),
        .bytes = -1,
        .shared_bytes = (int64_t)READ(int32_t, record, KERNEL_STATIC_SHARED) +
                        READ(int32_t, record, KERNEL_DYNAMIC_SHARED),
        .name = READ(uint64_t, record, KERNEL_NAME),
        .graph_node = graphs ? READ(uint64_t, record, KERNEL_GRAPH_NODE) : 0,
        .kind = CUPTI_KERNEL,
        .copy_kind = -1,
        .device = READ(uint32_t, record, KERNEL_DEVICE),
        .context = READ(uint32_t, record, KERNEL_CONTEXT),
        .stream = READ(uint32_t, record, KERNEL_STREAM),
        .correlation = READ(uint32_t, record, KERNEL_CORRELATION),
        .graph = graphs ? READ(uint32_t, record, KERNEL_GRAPH) : 0,
        .grid = {READ(int32_t, record, KERNEL_GRID), READ(int32_t, record, KERNEL_GRID + 4),
                 READ(int32_t, record, KERNEL_GRID + 8)},
        .block = {READ(int32_t, record, KERNEL_BLOCK), READ(int32_t, record, KERNEL_BLOCK + 4),
                  READ(int32_t, record, KERNEL_BLOCK + 8)},
        .registers = READ(uint16_t, record, KERNEL_REGISTERS),
    };
}

static struct cupti_work move(const uint8_t *record, int64_t bytes, bool copy) {
    bool graphs = bytes >= MOVE_GRAPH_NEEDS;
    return (struct cupti_work){
        .start_ns = READ(int64_t, record, MOVE_START),
        .end_ns = READ(int64_t, record, MOVE_END),
        .bytes = READ(int64_t, record, MOVE_BYTES),
        .shared_bytes = -1,
        .graph_node = graphs ? READ(uint64_t, record, MOVE_GRAPH_NODE) : 0,
        .kind = copy ? CUPTI_MEMCPY : CUPTI_MEMSET,
        .copy_kind = copy ? READ(uint8_t, record, COPY_KIND) : -1,
        .device = READ(uint32_t, record, MOVE_DEVICE),
        .context = READ(uint32_t, record, MOVE_CONTEXT),
        .stream = READ(uint32_t, record, MOVE_STREAM),
        .correlation = READ(uint32_t, record, MOVE_CORRELATION),
        .graph = graphs ? READ(uint32_t, record, MOVE_GRAPH) : 0,
        .grid = {-1, -1, -1},
        .block = {-1, -1, -1},
        .registers = -1,
    };
}

static void decode(const uint8_t *record, int64_t bytes, struct cupti_columns *columns) {
    uint32_t kind = bytes >= 4 ? READ(uint32_t, record, KIND) : 0;
    int64_t needed = needs(kind);
    if (bytes < 4 || bytes < needed) {
        columns->truncated++;
        return;
    }
    if (needed == 0) {
        columns->skipped++;
        return;
    }
    bool store = columns->work != NULL;
    int64_t place;
    switch (kind) {
    case CONCURRENT_KERNEL:
    case SERIAL_KERNEL:
        place = columns->works++;
        if (store) columns->work[place] = kernel(record, bytes);
        break;
    case MEMCPY:
    case MEMSET:
        place = columns->works++;
        if (store) columns->work[place] = move(record, bytes, kind == MEMCPY);
        break;
    case RUNTIME:
    case DRIVER:
        place = columns->calls++;
        if (store) {
            columns->call[place] = (struct cupti_call){
                .start_ns = READ(int64_t, record, CALL_START),
                .end_ns = READ(int64_t, record, CALL_END),
                .thread = READ(uint32_t, record, CALL_THREAD),
                .correlation = READ(uint32_t, record, CALL_CORRELATION),
                .function = READ(uint32_t, record, CALL_FUNCTION),
                .result = READ(uint32_t, record, CALL_RESULT),
            };
        }
        break;
    case EXTERNAL_CORRELATION:
        place = columns->externals++;
        if (store) {
            columns->external[place] = (struct cupti_external){
                .id = READ(uint64_t, record, EXTERNAL_ID),
                .kind = READ(uint32_t, record, EXTERNAL_KIND),
                .correlation = READ(uint32_t, record, EXTERNAL_CORRELATION_ID),
            };
        }
        break;
    }
}

void cupti_decode(const uint8_t *data, int64_t bytes, const int64_t *offsets, int64_t count,
                  struct cupti_columns *columns) {
    for (int64_t i = 0; i < count; i++) {
        int64_t begin = offsets[i];
        if (begin < 0 || begin >= bytes) {
            columns->truncated++;
            continue;
        }
        bool bounded = i + 1 < count && offsets[i + 1] > begin && offsets[i + 1] < bytes;
        decode(data + begin, (bounded ? offsets[i + 1] : bytes) - begin, columns);
    }
}

char *cupti_demangle(const char *name) {
    static char *(*demangle)(const char *, char *, size_t *, int *);
    static bool searched;
    if (!searched) {
        searched = true;
        void *library = dlopen("libstdc++.so.6", RTLD_NOW | RTLD_LOCAL);
        void *symbol = library != NULL ? dlsym(library, "__cxa_demangle") : NULL;
        memcpy(&demangle, &symbol, sizeof symbol);
    }
    int status;
    if (demangle == NULL || strncmp(name, "_Z", 2) != 0) return NULL;
    return demangle(name, NULL, NULL, &status);
}
