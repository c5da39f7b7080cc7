/* A CUPTI that notes how it was called, and a device that can be waited for: each wait does the same
   work again, which is recorded as CUPTI would. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

enum {
    MEMCPY = 1,
    MEMSET = 2,
    RUNTIME = 5,
    CONCURRENT_KERNEL = 10,
    EXTERNAL_CORRELATION = 39,
    GRAPH_TRACE = 51,
};

/* One letter a call: R(egister), E(nable), D(isable), F(lush), + (push), - (pop). */
char calls[1 << 16];
static size_t count;

/* What the device does while it is waited for. */
int launches;            /* kernels */
int wrong_wait = -1;     /* the wait, from 0, that does one kernel less */
int64_t kernel_ns = 500; /* how long a kernel takes, */
int64_t gap_ns = 500;    /* how long the device waits for each, */
int64_t cost_ns = 0;     /* and what recording it adds to that */

/* Whether it launches its kernels one by one, or replays them as one graph, which is one call; and
   what records of a replay tell: the node of each kernel, only the graph, or no kernels at all, but
   the graph as a whole. */
enum { LAUNCHES, REPLAYS_NODES, REPLAYS_NODELESS, REPLAYS_WHOLE };
int graph = LAUNCHES;
int swapped_wait = -1; /* the wait that does the nodes of the graph in another order */

int waits; /* so far */
static uint32_t correlation;
static int enabled[64];
static void (*request)(uint8_t **, size_t *, size_t *);
static void (*complete)(void *, uint32_t, uint8_t *, size_t, size_t);
static uint8_t *buffer;
static size_t room, used;

/* Tags that were pushed since the last wait and popped before another was: those of nodes. */
enum { TAGS = 256 };
static uint64_t tag[TAGS];
static int64_t tagged_ns[TAGS];
static int tags;
static uint64_t open_tag;
static int64_t opened_ns;

static int note(char letter) {
    if (count + 1 < sizeof calls) calls[count++] = letter;
    return 0;
}

static int64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static int64_t pass(int64_t ns) {
    int64_t end = now_ns() + ns, now;
    while ((now = now_ns()) < end) continue;
    return now;
}

static size_t bytes_of(uint32_t kind) {
    return kind == CONCURRENT_KERNEL ? 216 : kind == GRAPH_TRACE ? 56 : kind == RUNTIME ? 48 : 24;
}

/* A record of this kind, zeroed; NULL unless the kind is recorded. */
static uint8_t *record(uint32_t kind) {
    if (!enabled[kind == GRAPH_TRACE ? CONCURRENT_KERNEL : kind]) return NULL;
    size_t bytes = bytes_of(kind), most;
    if (buffer == NULL || room - used < bytes) {
        if (buffer != NULL) complete(NULL, 0, buffer, room, used);
        used = room = 0;
        request(&buffer, &room, &most);
        if (buffer == NULL) return NULL;
    }
    uint8_t *made = memset(buffer + used, 0, bytes);
    memcpy(made, &kind, sizeof kind);
    used += bytes;
    return made;
}

static void put(uint8_t *record, size_t offset, const void *value, size_t bytes) {
    if (record != NULL) memcpy(record + offset, value, bytes);
}

/* What harness calls as cudaDeviceSynchronize. */
int device_wait(void) {
    static const char *const names[] = {"gemm", "relu", "softmax"};
    int wanted = waits == wrong_wait ? launches - 1 : launches;
    int swapped = waits++ == swapped_wait;
    if (graph != LAUNCHES) correlation += 2;
    for (int i = 0; i < wanted; i++) {
        int64_t start = pass(gap_ns + (enabled[CONCURRENT_KERNEL] ? cost_ns : 0));
        int64_t end = pass(kernel_ns);
        uint8_t *kernel = graph == REPLAYS_WHOLE ? NULL : record(CONCURRENT_KERNEL);
        const char *name = names[i % 3];
        if (graph == LAUNCHES) correlation += 2;
        put(kernel, 16, &start, sizeof start);
        put(kernel, 24, &end, sizeof end);
        put(kernel, 48, &(uint32_t){7}, 4);
        put(kernel, 52, (int32_t[]){1 + i, 1, 1, 128, 1, 1}, 24);
        put(kernel, 92, &correlation, sizeof correlation);
        put(kernel, 104, &name, sizeof name);
        if (graph != LAUNCHES) put(kernel, 156, &(uint32_t){9}, 4);
        uint64_t node = (9ull << 32) + (swapped ? wanted - i : i + 1);
        if (graph == REPLAYS_NODES) put(kernel, 144, &node, sizeof node);
        if (i >= tags) continue;
        uint8_t *call = record(RUNTIME);
        put(call, 8, &tagged_ns[i], sizeof tagged_ns[i]);
        put(call, 16, &tagged_ns[i], sizeof tagged_ns[i]);
        put(call, 32, &correlation, sizeof correlation);
        uint8_t *external = record(EXTERNAL_CORRELATION);
        put(external, 4, &(uint32_t){3}, 4);
        put(external, 8, &tag[i], sizeof tag[i]);
        put(external, 16, &correlation, sizeof correlation);
    }
    if (graph == REPLAYS_WHOLE) record(GRAPH_TRACE);
    tags = 0;
    return 0;
}

int cuptiGetVersion(uint32_t *version) {
    *version = 130100;
    return 0;
}

int cuptiGetResultString(int result, const char **text) {
    *text = "CUPTI_DOUBLE";
    return 0;
}

int cuptiActivityRegisterTimestampCallback(uint64_t (*clock)(void)) { return note('R'); }

int cuptiActivityRegisterCallbacks(void *ask, void *take) {
    memcpy(&request, &ask, sizeof request);
    memcpy(&complete, &take, sizeof complete);
    return note('R');
}

int cuptiActivityEnable(int kind) {
    enabled[kind] = 1;
    return note('E');
}

int cuptiActivityDisable(int kind) {
    enabled[kind] = 0;
    return note('D');
}

int cuptiActivityFlushAll(uint32_t flag) {
    if (buffer != NULL) complete(NULL, 0, buffer, room, used);
    buffer = NULL;
    return note('F');
}

int cuptiActivityPushExternalCorrelationId(int kind, uint64_t id) {
    open_tag = id;
    opened_ns = now_ns();
    return note('+');
}

int cuptiActivityPopExternalCorrelationId(int kind, uint64_t *id) {
    if (open_tag != 0 && tags < TAGS) {
        tag[tags] = open_tag;
        tagged_ns[tags++] = opened_ns + (now_ns() - opened_ns) / 2; /* while the node ran */
    }
    open_tag = 0;
    return note('-');
}

int cuptiActivityGetNextRecord(uint8_t *data, size_t bytes, void **record) {
    uint8_t *next = data;
    if (*record != NULL) {
        uint32_t kind;
        memcpy(&kind, *record, sizeof kind);
        next = (uint8_t *)*record + bytes_of(kind);
    }
    if (next >= data + bytes) return 12;
    *record = next;
    return 0;
}

int cuptiActivityGetNumDroppedRecords(void *context, uint32_t stream, size_t *dropped) {
    *dropped = 0;
    return 0;
}
