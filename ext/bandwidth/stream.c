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
/* CPUs find a line in their caches by some bits of its address, so arrays a power of two apart can
   halve the triad (256 MiB on Zen 4: 20 instead of 41 GB/s). Each array therefore starts two and a
   quarter pages after the end of the one before. */
#define STAGGER_LINES ((size_t)9216 / STREAM_LINE_BYTES)
/* A power of two, which makes every product and sum below exact: they can be compared by ==. */
#define SCALAR 0.5

typedef void copy_kernel(double *restrict to, const double *restrict from, size_t count);
typedef void triad_kernel(double *restrict to, const double *restrict from,
                          const double *restrict other, size_t count);

struct team {
    int threads;
    int rounds;
    int parts;
    int passes;
    copy_kernel *copy;
    triad_kernel *triad;
    double *source, *copied, *sum;
    atomic_long arrived;   /* one more for each thread that reaches a meeting */
    atomic_bool cancelled; /* a thread could not be started */
};

struct span {
    int64_t start_ns, stop_ns;
    int64_t cpu_ns; /* CPU time of the thread in between */
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

/* The kernels are not inlined, so that the compiler cannot see that every pass does the same work.
   Only those named "past" store past the caches. Vectors are explicit because the compiler turns the
   plain copy into memcpy, which decides by size whether to store past the caches. */
static __attribute__((noinline)) void copy_plain(double *restrict to, const double *restrict from,
                                                 size_t count) {
    for (size_t i = 0; i < count; i++) to[i] = from[i];
}

static __attribute__((noinline)) void triad_plain(double *restrict to, const double *restrict from,
                                                  const double *restrict other, size_t count) {
    for (size_t i = 0; i < count; i++) to[i] = from[i] + SCALAR * other[i];
}

#ifdef __x86_64__
/* Past the caches there is no write-allocate, so the bytes that are counted are the bytes that
   move. 32 bytes at a time: a tenth faster than 16; 64 add little. */
static __attribute__((noinline, target("avx"))) void copy_past(double *restrict to,
                                                               const double *restrict from,
                                                               size_t count) {
    for (size_t i = 0; i < count; i += 4) _mm256_stream_pd(to + i, _mm256_load_pd(from + i));
    _mm_sfence();
}

static __attribute__((noinline, target("avx"))) void triad_past(double *restrict to,
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

static __attribute__((noinline, target("avx"))) void copy_avx(double *restrict to,
                                                              const double *restrict from,
                                                              size_t count) {
    for (size_t i = 0; i < count; i += 4) _mm256_store_pd(to + i, _mm256_load_pd(from + i));
}

static __attribute__((noinline, target("avx"))) void triad_avx(double *restrict to,
                                                               const double *restrict from,
                                                               const double *restrict other,
                                                               size_t count) {
    __m256d scalar = _mm256_set1_pd(SCALAR);
    for (size_t i = 0; i < count; i += 4) {
        __m256d product = _mm256_mul_pd(scalar, _mm256_load_pd(other + i));
        _mm256_store_pd(to + i, _mm256_add_pd(_mm256_load_pd(from + i), product));
    }
}

/* In the first-level cache 64 bytes at a time are up to twice as fast as 32. */
static __attribute__((noinline, target("avx512f"))) void copy_avx512(double *restrict to,
                                                                     const double *restrict from,
                                                                     size_t count) {
    for (size_t i = 0; i < count; i += 8) _mm512_store_pd(to + i, _mm512_load_pd(from + i));
}

static __attribute__((noinline, target("avx512f"))) void triad_avx512(double *restrict to,
                                                                      const double *restrict from,
                                                                      const double *restrict other,
                                                                      size_t count) {
    __m512d scalar = _mm512_set1_pd(SCALAR);
    for (size_t i = 0; i < count; i += 8) {
        __m512d product = _mm512_mul_pd(scalar, _mm512_load_pd(other + i));
        _mm512_store_pd(to + i, _mm512_add_pd(_mm512_load_pd(from + i), product));
    }
}
#endif

/* The widest kernels of this CPU. */
static void choose_kernels(struct team *team, bool past_caches) {
    team->copy = copy_plain;
    team->triad = triad_plain;
#ifdef __x86_64__
    if (past_caches && stream_bypasses_caches()) {
        team->copy = copy_past;
        team->triad = triad_past;
    } else if (__builtin_cpu_supports("avx512f")) {
        team->copy = copy_avx512;
        team->triad = triad_avx512;
    } else if (__builtin_cpu_supports("avx")) {
        team->copy = copy_avx;
        team->triad = triad_avx;
    }
#endif
}

static void copy(const struct team *team, size_t begin, size_t count) {
    for (int pass = 0; pass < team->passes; pass++)
        team->copy(team->copied + begin, team->source + begin, count);
}

static void triad(const struct team *team, size_t begin, size_t count) {
    for (int pass = 0; pass < team->passes; pass++)
        team->triad(team->sum + begin, team->source + begin, team->copied + begin, count);
}

/* Small whole numbers, different from one element to the next. */
static double source_value(size_t i) { return (int)(i & 1023); }

/* First touch: each page is placed on the NUMA node of the thread that will use it. */
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

/* Waits for the whole team. It spins, because waking a sleeping thread takes microseconds, and a
   different number for each; it yields in case the CPU is shared after all. */
static bool meet(struct team *team, long meeting) {
    long expected = meeting * team->threads;
    atomic_fetch_add(&team->arrived, 1);
    while (atomic_load(&team->arrived) < expected) {
        if (atomic_load(&team->cancelled)) return false;
        sched_yield();
    }
    return true;
}

static void measure(struct span *span, const struct team *team, size_t begin, size_t count,
                    void (*kernel)(const struct team *, size_t, size_t)) {
    int64_t before_ns = thread_cpu_ns();
    span->start_ns = monotonic_ns();
    kernel(team, begin, count);
    span->stop_ns = monotonic_ns();
    span->cpu_ns = thread_cpu_ns() - before_ns;
}

/* Times a kernel over one part of the slice after the other. */
static bool measure_parts(struct worker *worker, struct span *spans, long *meeting,
                          void (*kernel)(const struct team *, size_t, size_t)) {
    struct team *team = worker->team;
    size_t lines = (worker->end - worker->begin) / LINE, parts = (size_t)team->parts;
    for (size_t i = 0; i < parts; i++) {
        size_t first = lines * i / parts, next = lines * (i + 1) / parts;
        if (!meet(team, ++*meeting)) return false;
        measure(&spans[i], team, worker->begin + first * LINE, (next - first) * LINE, kernel);
    }
    return true;
}

static void *work(void *argument) {
    struct worker *worker = argument;
    struct team *team = worker->team;
    long meeting = 0;
    fill(team, worker->begin, worker->end);
    for (int i = 0; i < team->rounds; i++) {
        size_t first = (size_t)i * (size_t)team->parts;
        if (!measure_parts(worker, worker->copy + first, &meeting, copy)) return NULL;
        if (!measure_parts(worker, worker->triad + first, &meeting, triad)) return NULL;
    }
    worker->correct = check(team, worker->begin, worker->end);
    return NULL;
}

/* Starts a thread pinned to the CPU. Returns 0 or an errno. */
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

/* Starts the threads and waits for them; their spans are then filled. */
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

/* Of each part of each round: from the first thread's start to the last thread's end, and the CPU time of
   all threads. The spans of a thread are consecutive; those of the next are stride further. */
static void reduce(const struct span *spans, size_t stride, const struct team *team,
                   struct stream_times times) {
    for (int i = 0; i < team->rounds * team->parts; i++) {
        int64_t first = INT64_MAX, last = INT64_MIN, cpu = 0;
        for (int k = 0; k < team->threads; k++) {
            const struct span *span = &spans[(size_t)k * stride + (size_t)i];
            if (span->start_ns < first) first = span->start_ns;
            if (span->stop_ns > last) last = span->stop_ns;
            cpu += span->cpu_ns;
        }
        times.wall_ns[i] = last - first;
        times.cpu_ns[i] = cpu;
    }
}

int stream(const struct stream_task *task, struct stream_times copies, struct stream_times triads,
           struct stream_failure *failure) {
    size_t lines = task->lines, threads = (size_t)task->threads;
    size_t bytes;
    if (__builtin_mul_overflow(lines + STAGGER_LINES, (size_t)3 * STREAM_LINE_BYTES, &bytes))
        return fail(failure, "mmap", ENOMEM, -1);
    double *memory =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return fail(failure, "mmap", errno, -1);
    /* Fewer faults and page walks where the kernel offers it; it may fail elsewhere. */
    madvise(memory, bytes, MADV_HUGEPAGE);

    int status;
    size_t repetitions = (size_t)task->rounds * (size_t)task->parts, stride = repetitions * 2;
    struct worker *workers = calloc(threads, sizeof *workers);
    struct span *spans = calloc(threads, stride * sizeof *spans);
    if (workers == NULL || spans == NULL) {
        status = fail(failure, "calloc", ENOMEM, -1);
    } else {
        size_t distance = (lines + STAGGER_LINES) * LINE, line = 0;
        struct team team = {
            .threads = task->threads,
            .rounds = task->rounds,
            .parts = task->parts,
            .passes = task->passes,
            .source = memory,
            .copied = memory + distance,
            .sum = memory + 2 * distance,
        };
        choose_kernels(&team, task->past_caches);
        for (size_t i = 0; i < threads; i++) {
            workers[i].team = &team;
            workers[i].begin = line * LINE;
            line += lines / threads + (i < lines % threads);
            workers[i].end = line * LINE;
            workers[i].copy = spans + i * stride;
            workers[i].triad = workers[i].copy + repetitions;
        }
        status = work_together(&team, workers, task->cpus, failure);
        if (status == 0) {
            reduce(spans, stride, &team, copies);
            reduce(spans + repetitions, stride, &team, triads);
        }
    }
    free(spans);
    free(workers);
    munmap(memory, bytes);
    return status;
}
