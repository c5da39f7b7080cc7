#define _GNU_SOURCE
#include "bandwidth/stream.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

#include "clock.h"

#define LINE (STREAM_LINE_BYTES / sizeof(double))
/* Arrays that lie a power of two apart can halve the triad (256 MiB on Zen 4: 20 against 41 GB/s),
   for CPUs find a line in their caches by some bits of its address. So each starts two pages and
   a quarter after the end of the one before. */
#define STAGGER_LINES ((size_t)9216 / STREAM_LINE_BYTES)
/* A power of two: with it every product and sum below is exact and can be compared by ==. */
#define SCALAR 0.5

struct team {
    int threads;
    int repetitions;
    bool bypass;
    double *source, *copied, *sum;
    atomic_long arrived;   /* grows by one for every thread that came to a meeting */
    atomic_bool cancelled; /* not every thread could be started */
};

struct span {
    int64_t start_ns, stop_ns;
};

struct worker {
    struct team *team;
    size_t begin, end; /* its slice, in elements */
    struct span *copy, *triad;
    bool correct;
    pthread_t thread;
};

bool stream_bypasses_caches(void) {
#ifdef __x86_64__
    return __builtin_cpu_supports("avx");
#else
    return false;
#endif
}

/* The kernels are not inlined, so that the compiler cannot see that repetitions do the same
   work. The plain ones store through the caches. */
static __attribute__((noinline)) void copy_plain(double *restrict to, const double *restrict from,
                                                 size_t count) {
    for (size_t i = 0; i < count; i++) to[i] = from[i];
}

static __attribute__((noinline)) void triad_plain(double *restrict to, const double *restrict from,
                                                  const double *restrict other, size_t count) {
    for (size_t i = 0; i < count; i++) to[i] = from[i] + SCALAR * other[i];
}

#ifdef __x86_64__
/* No write-allocate, so the bytes that are counted are the bytes that move. 32 bytes at a time:
   a tenth faster than 16, while 64 bring little more. */
static __attribute__((noinline, target("avx"))) void copy_avx(double *restrict to,
                                                              const double *restrict from,
                                                              size_t count) {
    for (size_t i = 0; i < count; i += 4) _mm256_stream_pd(to + i, _mm256_load_pd(from + i));
    _mm_sfence();
}

static __attribute__((noinline, target("avx"))) void triad_avx(double *restrict to,
                                                               const double *restrict from,
                                                               const double *restrict other,
                                                               size_t count) {
    __m256d scalar = _mm256_set1_pd(SCALAR);
    for (size_t i = 0; i < count; i += 4) {
        __m256d product = _mm256_mul_pd(scalar, _mm256_load_pd(other + i));
        _mm256_stream_pd(to + i, _mm256_add_pd(_mm256_load_pd(from + i), product));
    }
    _mm_sfence();
}
#endif

static void copy(const struct team *team, size_t begin, size_t count) {
#ifdef __x86_64__
    if (team->bypass) {
        copy_avx(team->copied + begin, team->source + begin, count);
        return;
    }
#endif
    copy_plain(team->copied + begin, team->source + begin, count);
}

static void triad(const struct team *team, size_t begin, size_t count) {
#ifdef __x86_64__
    if (team->bypass) {
        triad_avx(team->sum + begin, team->source + begin, team->copied + begin, count);
        return;
    }
#endif
    triad_plain(team->sum + begin, team->source + begin, team->copied + begin, count);
}

/* Small whole numbers that change from one element to the next. */
static double source_value(size_t i) { return (int)(i & 1023); }

/* The first touch decides on which NUMA node a page lies. */
static void fill(const struct team *team, size_t begin, size_t end) {
    for (size_t i = begin; i < end; i++) {
        team->source[i] = source_value(i);
        team->copied[i] = -1;
        team->sum[i] = -1;
    }
}

static bool check(const struct team *team, size_t begin, size_t end) {
    bool correct = true;
    for (size_t i = begin; i < end; i++) {
        double value = source_value(i);
        correct &= team->copied[i] == value && team->sum[i] == value + SCALAR * value;
    }
    return correct;
}

/* Waits for the whole team. It spins, for the wake-up of a sleeping thread takes microseconds
   and comes at a different time to each; it yields, in case the CPU is shared after all. */
static bool meet(struct team *team, long meeting) {
    long expected = meeting * team->threads;
    atomic_fetch_add(&team->arrived, 1);
    while (atomic_load(&team->arrived) < expected) {
        if (atomic_load(&team->cancelled)) return false;
        sched_yield();
    }
    return true;
}

static void *work(void *argument) {
    struct worker *worker = argument;
    struct team *team = worker->team;
    size_t begin = worker->begin, count = worker->end - worker->begin;
    long meeting = 0;
    fill(team, begin, worker->end);
    for (int i = 0; i < team->repetitions; i++) {
        if (!meet(team, ++meeting)) return NULL;
        worker->copy[i].start_ns = monotonic_ns();
        copy(team, begin, count);
        worker->copy[i].stop_ns = monotonic_ns();
        if (!meet(team, ++meeting)) return NULL;
        worker->triad[i].start_ns = monotonic_ns();
        triad(team, begin, count);
        worker->triad[i].stop_ns = monotonic_ns();
    }
    worker->correct = check(team, begin, worker->end);
    return NULL;
}

/* Starts a thread that never runs anywhere but on the CPU. Returns 0 or an errno. */
static int start_pinned(struct worker *worker, int cpu) {
    pthread_attr_t attributes;
    size_t cpu_count = (size_t)cpu + 1, set_bytes = CPU_ALLOC_SIZE(cpu_count);
    cpu_set_t *set = CPU_ALLOC(cpu_count);
    if (set == NULL) return ENOMEM;
    int error = pthread_attr_init(&attributes);
    if (error == 0) {
        CPU_ZERO_S(set_bytes, set);
        CPU_SET_S((size_t)cpu, set_bytes, set);
        error = pthread_attr_setaffinity_np(&attributes, set_bytes, set);
        if (error == 0) error = pthread_create(&worker->thread, &attributes, work, worker);
        pthread_attr_destroy(&attributes);
    }
    CPU_FREE(set);
    return error;
}

static int fail(struct stream_failure *failure, const char *call, int error, int cpu) {
    *failure = (struct stream_failure){.call = call, .error = error, .cpu = cpu};
    return -1;
}

/* Starts the threads and waits for them; leaves their spans filled. */
static int work_together(struct team *team, struct worker *workers, const int *cpus,
                         struct stream_failure *failure) {
    int started = 0, status = 0;
    for (; started < team->threads; started++) {
        int error = start_pinned(&workers[started], cpus[started]);
        if (error != 0) {
            atomic_store(&team->cancelled, true);
            status = fail(failure, "pthread_create", error, cpus[started]);
            break;
        }
    }
    for (int i = 0; i < started; i++) pthread_join(workers[i].thread, NULL);
    for (int i = 0; i < team->threads && status == 0; i++)
        if (!workers[i].correct) status = fail(failure, "check", 0, cpus[i]);
    return status;
}

/* From the first thread's start to the last thread's end, of each repetition. The spans of one
   thread follow each other, those of the next one lie stride further. */
static void reduce(const struct span *spans, size_t stride, int threads, int repetitions,
                   int64_t *duration_ns) {
    for (int i = 0; i < repetitions; i++) {
        int64_t first = INT64_MAX, last = INT64_MIN;
        for (int k = 0; k < threads; k++) {
            const struct span *span = &spans[(size_t)k * stride + (size_t)i];
            if (span->start_ns < first) first = span->start_ns;
            if (span->stop_ns > last) last = span->stop_ns;
        }
        duration_ns[i] = last - first;
    }
}

int stream(size_t lines, const int *cpus, int threads, int repetitions, int64_t *copy_ns,
           int64_t *triad_ns, struct stream_failure *failure) {
    size_t bytes;
    if (__builtin_mul_overflow(lines + STAGGER_LINES, (size_t)3 * STREAM_LINE_BYTES, &bytes))
        return fail(failure, "mmap", ENOMEM, -1);
    double *memory =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return fail(failure, "mmap", errno, -1);
    /* Fewer faults and page walks, where the kernel offers it; elsewhere it may fail. */
    madvise(memory, bytes, MADV_HUGEPAGE);

    int status;
    size_t stride = (size_t)repetitions * 2;
    struct worker *workers = calloc((size_t)threads, sizeof *workers);
    struct span *spans = calloc((size_t)threads, stride * sizeof *spans);
    if (workers == NULL || spans == NULL) {
        status = fail(failure, "calloc", ENOMEM, -1);
    } else {
        size_t distance = (lines + STAGGER_LINES) * LINE, line = 0;
        struct team team = {
            .threads = threads,
            .repetitions = repetitions,
            .bypass = stream_bypasses_caches(),
            .source = memory,
            .copied = memory + distance,
            .sum = memory + 2 * distance,
        };
        for (int i = 0; i < threads; i++) {
            workers[i].team = &team;
            workers[i].begin = line * LINE;
            line += lines / (size_t)threads + ((size_t)i < lines % (size_t)threads);
            workers[i].end = line * LINE;
            workers[i].copy = spans + (size_t)i * stride;
            workers[i].triad = workers[i].copy + repetitions;
        }
        status = work_together(&team, workers, cpus, failure);
        if (status == 0) {
            reduce(spans, stride, threads, repetitions, copy_ns);
            reduce(spans + repetitions, stride, threads, repetitions, triad_ns);
        }
    }
    free(spans);
    free(workers);
    munmap(memory, bytes);
    return status;
}
