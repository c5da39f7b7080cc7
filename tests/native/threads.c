/* Drives what our native threads share, for a sanitizer of races: the ring of log lines, the
   marks of nodes and the sampler. Python stays out of it. Exit 0 when all that was checked holds;
   the sanitizer has its own exit code. Usage: threads ROUNDS [libnvidia-ml.so of the tests] */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ort/log_ring.h"
#include "sampler/sampling.h"

/* Its functions that ORT calls are static. */
#include "marks/node_marks.c"

enum { THREADS = 4, MARKS = 4096 };

static int rounds;
static const char *nvml_library = "";
static atomic_bool over;

#define CHECK(condition)                                                  \
    do {                                                                  \
        if (!(condition)) {                                               \
            fprintf(stderr, "threads.c:%d: %s\n", __LINE__, #condition); \
            exit(1);                                                      \
        }                                                                 \
    } while (0)

static void in_threads(void *(*body)(void *), pthread_t *threads) {
    for (intptr_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, body, (void *)i) == 0);
}

static void join_all(pthread_t *threads) {
    for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
}

/* --- the ring of log lines: many writers, one taker --- */

static void *write_lines(void *number) {
    char line[2 * LOG_LINE_BYTES];
    memset(line, 'a' + (int)(intptr_t)number, sizeof line);
    for (int i = 0; i < rounds; i++) {
        line[i % (int)sizeof line] = '\0';
        log_ring_write(NULL, i % 5, "", "", "", line);
        line[i % (int)sizeof line] = 'a' + (char)(intptr_t)number;
        line[sizeof line - 1] = '\0';
    }
    return NULL;
}

static int64_t take_lines(void) {
    char text[LOG_LINE_BYTES];
    int severity;
    int64_t taken = 0;
    while (log_ring_take(text, &severity)) {
        CHECK(strlen(text) < LOG_LINE_BYTES && severity >= 0 && severity < 5);
        taken++;
    }
    return taken + log_ring_take_lost();
}

static void try_log_ring(void) {
    pthread_t threads[THREADS];
    int64_t seen = 0;
    in_threads(write_lines, threads);
    for (int i = 0; i < rounds / 100; i++) seen += take_lines();
    join_all(threads);
    seen += take_lines();
    CHECK(seen == (int64_t)THREADS * rounds);
}

/* --- marks: threads that execute nodes, one that begins and ends recordings --- */

static atomic_llong pushed, popped;
static void push(uint64_t id) { atomic_fetch_add(&pushed, id != 0); }
static void pop(void) { atomic_fetch_add(&popped, 1); }

static OrtStatus *category_of(const OrtProfilingEvent *event, int *category) {
    *category = NODE_MARKS_NODE;
    return NULL;
}

static OrtStatus *name_of(const OrtProfilingEvent *event, const char **name) {
    *name = (const char *)event;
    return NULL;
}

static void *execute_nodes(void *number) {
    Profiler *profiler;
    CHECK(create_profiler(&provider, &profiler) == NULL);
    profiler->StartProfiling(profiler, 0);
    const OrtProfilingEvent *name = (const OrtProfilingEvent *)"a node";
    for (uint64_t at = 1; !atomic_load(&over); at += 3) {
        profiler->StartEvent(profiler, at);
        profiler->StartEvent(profiler, at + 1);
        profiler->StopEvent(profiler, at + 1, name);
        if (at % 7 == 0) profiler->StartEvent(profiler, at + 2); /* one without an end */
        profiler->StopEvent(profiler, at, name);
        if (at % 11 == 0) profiler->StopEvent(profiler, at + 2, name); /* one without a begin */
    }
    profiler->Release(profiler);
    return NULL;
}

static void try_marks(void) {
    static struct node_mark marks[MARKS];
    pthread_t threads[THREADS];
    ort_ep.ProfilingEvent_GetCategory = category_of;
    ort_ep.ProfilingEvent_GetName = name_of;
    atomic_store(&over, false);
    in_threads(execute_nodes, threads);
    for (int i = 0; i < rounds / 100; i++) {
        if (i % 2 == 0) node_marks_hooks(push, pop);
        int64_t first = node_marks_start(marks, i % 3 == 0 ? 7 : MARKS);
        struct timespec pause = {.tv_nsec = 300000};
        nanosleep(&pause, NULL);
        if (i % 5 == 0) node_marks_hooks(NULL, NULL);
        struct node_marks_counts counts = node_marks_stop();
        int64_t kept = i % 3 == 0 ? 7 : MARKS;
        for (int64_t row = 0; row < (counts.begun < kept ? counts.begun : kept); row++)
            CHECK(marks[row].parent < row && marks[row].start_ns != 0);
        CHECK(first > 0);
        node_marks_hooks(NULL, NULL);
    }
    atomic_store(&over, true);
    join_all(threads);
    /* What began within a recording, in an event from before it, may have been left open. */
    CHECK(atomic_load(&popped) > 0 && atomic_load(&popped) <= atomic_load(&pushed));
}

/* --- the sampler: its thread, an owner who takes rows, others who ask for its report --- */

static struct sampler *sampling;

static void *ask(void *number) {
    while (!atomic_load(&over)) {
        struct sampler_report report = sampler_report(sampling);
        CHECK(report.ticks >= 0 && report.missed >= 0 && report.dropped >= 0);
    }
    return NULL;
}

static void try_sampler(int round) {
    const struct channel channels[] = {
#define CHANNEL(kind_, slow_, argument_, scale_, path_, key_)                               \
    {.kind = kind_, .slow = slow_, .argument = argument_, .scale = scale_, .path = path_, .key = key_}
        CHANNEL(CHANNEL_FILE, false, 1, 1000, "/proc/self/stat", ""),
        CHANNEL(CHANNEL_FILE, false, 1, 1, "/proc/stat", "ctxt"),
        CHANNEL(CHANNEL_FILE, false, 1, 1, "/proc/nothing-of-this-name", ""),
        CHANNEL(CHANNEL_NVML_CLOCK, false, 0, 1000000, "", ""),
        CHANNEL(CHANNEL_NVML_FIELD, true, 83, 1, "", ""),
        CHANNEL(CHANNEL_FILE, true, 1, 1, "/proc/meminfo", "MemFree:"),
        CHANNEL(CHANNEL_NVML_SAMPLES, true, 0, 1, "", ""),
#undef CHANNEL
    };
    const struct sampler_plan plan = {
        .channels = channels,
        .channel_count = sizeof channels / sizeof *channels,
        .period_ns = 200000,
        .slow_every = 4,
        .capacity = round % 2 ? 8 : 4096,
        .patience_ns = 2000000000,
        .nvml_library = nvml_library,
    };
    struct reading *rows = malloc(4096 * 8 * sizeof *rows);
    pthread_t threads[THREADS];
    CHECK(rows != NULL && (sampling = sampler_new(&plan)) != NULL);
    CHECK(sampler_start(sampling) == 0);
    atomic_store(&over, false);
    in_threads(ask, threads);
    for (int i = 0; i < 20; i++) {
        struct timespec pause = {.tv_nsec = 500000};
        nanosleep(&pause, NULL);
        sampler_edge(sampling);
        for (int tier = TIER_FAST; tier <= TIER_SELDOM; tier++) {
            size_t count = sampler_rows(sampling, tier);
            CHECK(count <= 4096 && sampler_columns(sampling, tier) <= 8);
            sampler_take(sampling, tier, rows, count);
        }
    }
    atomic_store(&over, true);
    join_all(threads);
    if (round % 3 != 0) sampler_stop(sampling); /* else it ends by itself, after being freed */
    sampler_free(sampling);
    free(rows);
}

int main(int count, char **arguments) {
    rounds = count > 1 ? atoi(arguments[1]) : 20000;
    if (count > 2) nvml_library = arguments[2];
    try_log_ring();
    try_marks();
    for (int round = 0; round < 1 + rounds / 2000; round++) try_sampler(round);
    struct timespec pause = {.tv_nsec = 100000000}; /* the last one may still be ending */
    nanosleep(&pause, NULL);
    puts("log ring, marks and sampler: all that was checked holds");
    return 0;
}
