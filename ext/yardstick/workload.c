#define _GNU_SOURCE
#include "yardstick/workload.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#ifdef __x86_64__
#include <cpuid.h>
#include <immintrin.h>
#endif

#include "clock.h"

/* These operation counts are part of the meaning of every stored time: change them, and old and
   new profiles can no longer be compared. Each part takes about a millisecond at 3 GHz. */
#define COMPUTE_STEPS 300000
/* The walk is larger than any L1 cache and smaller than most caches private to a core. */
#define WALK_LINES 4096
#define WALKERS 8
#define WALK_STEPS 220000
#define STREAM_LINES 163840

#define LINE_BYTES 64
#define HUGE_PAGE_BYTES ((size_t)2 << 20)

/* Forces the compiler to hold the value in its own register at this point, as if other code read
   and changed it there. It can then neither remove arithmetic, nor vectorise, nor contract a
   product and a sum into one instruction: the operations are these, with any compiler and
   options. */
#if defined(__x86_64__)
#define HOLD_DOUBLE(value) __asm__ volatile("" : "+x"(value))
#elif defined(__aarch64__)
#define HOLD_DOUBLE(value) __asm__ volatile("" : "+w"(value))
#else
#error "The yardstick supports x86-64 and AArch64 only."
#endif
#define HOLD_INTEGER(value) __asm__ volatile("" : "+r"(value))

struct line {
    struct line *next;
    uint64_t value;
    char padding[LINE_BYTES - sizeof(struct line *) - sizeof(uint64_t)];
};

_Static_assert(sizeof(struct line) == LINE_BYTES, "a line fills a cache line");

struct yardstick {
    void *mapped;
    size_t mapped_bytes;
    struct line *stream, *walk;
    const struct line *walkers[WALKERS]; /* start of each walker */
    bool flushes_unordered;
};

/* Marsaglia, Xorshift RNGs, Journal of Statistical Software 2003. */
static uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* A single cycle through all lines in an order that no prefetcher predicts (Sattolo, An algorithm
   to generate a random cyclic permutation, Information Processing Letters 1986). */
static void lay_out_walk(struct line *walk) {
    uint64_t random = 88172645463325252;
    for (size_t i = 0; i < WALK_LINES; i++) walk[i].next = &walk[i];
    for (size_t i = WALK_LINES - 1; i > 0; i--) {
        size_t other = next_random(&random) % i;
        struct line *next = walk[i].next;
        walk[i].next = walk[other].next;
        walk[other].next = next;
    }
}

/* Written, not just read: pages that were never written all map to one page of zeros. */
static void lay_out_stream(struct line *stream) {
    uint64_t random = 2463534242;
    for (size_t i = 0; i < STREAM_LINES; i++) stream[i].value = next_random(&random);
}

/* Each clflush waits for the previous one: flushing takes 17 ms with it, 0.3 ms with clflushopt. */
static bool can_flush_unordered(void) {
#ifdef __x86_64__
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_CLFLUSHOPT) != 0;
#else
    return false;
#endif
}

#ifdef __x86_64__
static __attribute__((target("clflushopt"))) void flush_unordered(struct line *stream) {
    for (size_t i = 0; i < STREAM_LINES; i++) _mm_clflushopt(&stream[i]);
    _mm_mfence();
}
#endif

/* Flushes the lines from all caches, so that the stream comes from memory no matter how large the
   caches are, without a buffer several times their size. */
static void flush(const struct yardstick *yardstick) {
    struct line *stream = yardstick->stream;
#ifdef __x86_64__
    if (yardstick->flushes_unordered) {
        flush_unordered(stream);
        return;
    }
    for (size_t i = 0; i < STREAM_LINES; i++) _mm_clflush(&stream[i]);
    _mm_mfence();
#else
    for (size_t i = 0; i < STREAM_LINES; i++)
        __asm__ volatile("dc civac, %0" : : "r"(&stream[i]) : "memory");
    __asm__ volatile("dsb sy" : : : "memory");
#endif
}

struct yardstick *yardstick_new(void) {
    struct yardstick *yardstick = malloc(sizeof *yardstick);
    if (yardstick == NULL) return NULL;
    size_t stream_bytes = STREAM_LINES * sizeof(struct line);
    /* Room to start on a huge-page boundary and to end with a whole huge page. */
    yardstick->mapped_bytes = stream_bytes + 2 * HUGE_PAGE_BYTES;
    yardstick->mapped = mmap(NULL, yardstick->mapped_bytes, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (yardstick->mapped == MAP_FAILED) {
        free(yardstick);
        return NULL;
    }
    /* The physical placement of small pages decides which of them conflict in a cache, and differs
       from process to process. Only a hint: the kernel may have no huge pages. */
    madvise(yardstick->mapped, yardstick->mapped_bytes, MADV_HUGEPAGE);
    uintptr_t start = (uintptr_t)yardstick->mapped;
    start = (start + HUGE_PAGE_BYTES - 1) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
    yardstick->stream = (struct line *)start;
    yardstick->walk = (struct line *)(start + stream_bytes);
    lay_out_stream(yardstick->stream);
    lay_out_walk(yardstick->walk);
    const struct line *here = yardstick->walk;
    for (int i = 0; i < WALKERS; i++) {
        yardstick->walkers[i] = here;
        for (int step = 0; step < WALK_LINES / WALKERS; step++) here = here->next;
    }
    yardstick->flushes_unordered = can_flush_unordered();
    return yardstick;
}

void yardstick_free(struct yardstick *yardstick) {
    if (yardstick == NULL) return;
    munmap(yardstick->mapped, yardstick->mapped_bytes);
    free(yardstick);
}

static uint64_t bits(double value) {
    uint64_t integer;
    memcpy(&integer, &value, sizeof integer);
    return integer;
}

static inline double multiplied_and_added(double value, double addend) {
    double product = value * 0.999;
    HOLD_DOUBLE(product);
    double sum = product + addend;
    HOLD_DOUBLE(sum);
    return sum;
}

/* Written out instead of looped, since the compiler decides which loops to unroll. */
#define HELD(statement, value) \
    statement;                 \
    HOLD_INTEGER(value)
#define BUSY_INTEGERS \
    HELD(a += b, a);  \
    HELD(c ^= d, c);  \
    HELD(e += i, e);  \
    HELD(f ^= i, f);  \
    HELD(b += 1, b);  \
    HELD(d += 3, d);  \
    HELD(a ^= c, a)
#define STEP(walker) HELD(walker = walker->next, walker)

/* Dependency chains of doubles, interleaved with enough integer operations to keep a core busy.
   With the chains alone, a second hardware thread on the core would go unnoticed: they leave
   execution slots free. */
static __attribute__((noinline)) uint64_t compute(void) {
    double p = 1, q = 2, r = 3, s = 4;
    uint64_t a = 1, b = 2, c = 3, d = 4, e = 5, f = 6;
    for (uint64_t i = 0; i < COMPUTE_STEPS; i++) {
        p = multiplied_and_added(p, 0.5);
        q = multiplied_and_added(q, 0.5);
        r = multiplied_and_added(r, 0.5);
        s = multiplied_and_added(s, 0.5);
        BUSY_INTEGERS;
        BUSY_INTEGERS;
    }
    return bits(p + q + r + s) ^ a ^ e ^ f;
}

/* Several walkers at once, so that the time depends on cache throughput and not only on latency:
   the latencies of models followed that more closely than the time of a single walker. */
static __attribute__((noinline)) uint64_t walk(const struct yardstick *yardstick, int steps) {
    const struct line *const *starts = yardstick->walkers;
    const struct line *a = starts[0], *b = starts[1], *c = starts[2], *d = starts[3];
    const struct line *e = starts[4], *f = starts[5], *g = starts[6], *h = starts[7];
    for (int i = 0; i < steps; i++) {
        STEP(a);
        STEP(b);
        STEP(c);
        STEP(d);
        STEP(e);
        STEP(f);
        STEP(g);
        STEP(h);
    }
    /* All have gone equally far round one cycle, so two of them fix the position of all. */
    return (uint64_t)(a - yardstick->walk) * WALK_LINES + (uint64_t)(h - yardstick->walk);
}

static __attribute__((noinline)) uint64_t read_stream(const struct line *stream) {
    uint64_t sum = 0;
    for (size_t i = 0; i < STREAM_LINES; i++) {
        sum += stream[i].value;
        HOLD_INTEGER(sum);
    }
    return sum;
}

uint64_t yardstick_run(struct yardstick *yardstick, size_t count, int64_t *start_ns,
                       int64_t *compute_ns, int64_t *cache_ns, int64_t *memory_ns) {
    uint64_t digest = 0;
    for (size_t i = 0; i < count; i++) {
        int64_t start = monotonic_ns();
        digest = compute();
        start_ns[i] = start;
        compute_ns[i] = monotonic_ns() - start;

        /* Untimed, each line once: the cache still holds the data of whatever ran before. */
        walk(yardstick, WALK_LINES / WALKERS);
        start = monotonic_ns();
        digest += 5 * walk(yardstick, WALK_STEPS);
        cache_ns[i] = monotonic_ns() - start;

        flush(yardstick);
        start = monotonic_ns();
        digest += 7 * read_stream(yardstick->stream);
        memory_ns[i] = monotonic_ns() - start;
    }
    return digest;
}
