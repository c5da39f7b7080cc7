#define _GNU_SOURCE
#include "sampler/sampling.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "clock.h"
#include "sampler/file_reader.h"
#include "sampler/nvml_reader.h"

/* A call of NVML that takes longer than this is never made at every tick: at 100 Hz it alone would
   take half a percent of a core. */
#define COSTLY_NS 50000

/* Between edges a costly call takes one part in this many of a core's time. */
#define COST_SHARE 2000
#define SELDOM_NS 1000000000LL

/* The driver's own samples are fetched before its buffer is full: it held 2.4 s of power. */
#define FETCH_NS 1000000000LL
#define FETCH_LATEST_NS 2000000000LL
/* Room for so many of them in a second; power was kept 50 times a second. */
#define SAMPLES_HZ 200

/* How long a pass waits for the readings at its edge, beyond the next deadline. The energy counter of
   an H200 took 3.2 ms, 17 ms at most. */
#define EDGE_WAIT_NS 100000000LL

/* Calls of which the fastest tells the cost: the first may load something, any may be preempted. */
#define COST_CALLS 3

/* Updates of a meter between which its period is found, and the longest search. */
#define METER_UPDATES 4
#define METER_SEARCH_NS 700000000LL
/* The longest pause between two looks at it. */
#define LOOK_NS 10000000LL

/* Rows of one tier. Single producer (the thread), single consumer (the owner): lock-free. */
struct ring {
    struct reading *readings;
    size_t columns, capacity;
    atomic_size_t written, taken;
};

struct sampler {
    struct channel *channels;
    size_t count, slow_begin; /* slow channels come last */
    int64_t period_ns, slow_every, patience_ns;
    struct ring fast, slow, seldom;
    struct reading *fetched; /* of the driver's own samples */
    size_t seldom_count;
    char *text; /* content of the file being read */
    char *nvml_library;
    unsigned gpu;
    struct nvml nvml;

    pthread_t thread;
    bool started, joined;  /* used by the owner only */
    bool has_nvml;         /* any channel is one of NVML */
    atomic_int holders;    /* the owner and the thread: the last one frees the memory */
    atomic_bool stopping;
    pthread_mutex_t lock;
    pthread_cond_t turned; /* ready or finished became true */
    bool ready, finished;
    /* For a waiting owner: since when the thread has been in a call, 0 while it sleeps; and of which
       channel. */
    atomic_llong busy_since_ns;
    atomic_int at;
    atomic_int hung;
    atomic_llong ticks, missed, dropped, cpu_ns, setup_ns;
    atomic_bool opened;  /* nvml.detail and nvml.test_double are final */
    atomic_bool settled; /* so are the tiers, costs and periods of the channels */
    atomic_llong edges_asked;
    int64_t edges_read; /* under the lock */
};

/* --- the ring --- */

static bool ring_allocate(struct ring *ring, size_t columns, size_t capacity) {
    size_t cells, bytes;
    ring->columns = columns;
    ring->capacity = capacity;
    if (__builtin_mul_overflow(columns, capacity, &cells) ||
        __builtin_mul_overflow(cells, sizeof *ring->readings, &bytes))
        return false;
    ring->readings = malloc(bytes > 0 ? bytes : 1);
    if (ring->readings == NULL) return false;
    memset(ring->readings, 0xff, bytes); /* 0 could become a calloc, which touches no page */
    return true;
}

/* The next row, zeroed, or NULL if the ring is full. */
static struct reading *ring_row(struct ring *ring) {
    size_t written = atomic_load_explicit(&ring->written, memory_order_relaxed);
    size_t taken = atomic_load_explicit(&ring->taken, memory_order_acquire);
    if (written - taken == ring->capacity) return NULL;
    struct reading *row = ring->readings + written % ring->capacity * ring->columns;
    memset(row, 0, ring->columns * sizeof *row);
    return row;
}

static void ring_publish(struct ring *ring) {
    atomic_fetch_add_explicit(&ring->written, 1, memory_order_release);
}

/* --- the thread --- */

/* Before each call that may not return. */
static void enter(struct sampler *sampler, size_t number, int64_t now_ns) {
    atomic_store_explicit(&sampler->at, (int)number, memory_order_relaxed);
    atomic_store(&sampler->busy_since_ns, now_ns);
}

static bool same_source(const struct channel *a, const struct channel *b) {
    if (a->kind != b->kind || a->slow != b->slow) return false;
    return a->kind == CHANNEL_FILE ? strcmp(a->path, b->path) == 0 : nvml_shared(a->kind);
}

/* End of the run of channels from `begin` that one call answers. */
static size_t source_end(const struct sampler *sampler, size_t begin) {
    size_t end = begin + 1;
    while (end < sampler->count && end - begin < NVML_BATCH &&
           same_source(&sampler->channels[begin], &sampler->channels[end]))
        end++;
    return end;
}

static bool all_absent(const struct channel *channels, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (channels[i].absent == 0) return false;
    return true;
}

static void open_sources(struct sampler *sampler) {
    size_t of_nvml = 0;
    for (size_t i = 0, end; i < sampler->count; i = end) {
        end = source_end(sampler, i);
        enter(sampler, i, monotonic_ns());
        struct channel *channels = &sampler->channels[i];
        if (channels->kind == CHANNEL_FILE) file_open(channels, end - i);
        else of_nvml = i;
    }
    if (sampler->has_nvml) {
        enter(sampler, of_nvml, monotonic_ns());
        nvmlReturn_t status = nvml_open(&sampler->nvml, sampler->nvml_library, sampler->gpu);
        for (size_t i = 0; i < sampler->count; i++)
            if (sampler->channels[i].kind != CHANNEL_FILE) sampler->channels[i].absent = status;
    }
    atomic_store(&sampler->opened, true);
}

static void close_sources(struct sampler *sampler) {
    for (size_t i = 0, end; i < sampler->count; i = end) {
        end = source_end(sampler, i);
        const struct channel *channel = &sampler->channels[i];
        if (channel->kind == CHANNEL_FILE && channel->file >= 0) close(channel->file);
    }
    nvml_close(&sampler->nvml);
}

/* Reads the channels from begin to end; the time of a reading is the middle of its call. */
static void read_channels(struct sampler *sampler, size_t begin, size_t end,
                          struct reading *readings) {
    int64_t before_ns = monotonic_ns();
    for (size_t i = begin, next; i < end; i = next) {
        next = source_end(sampler, i);
        struct channel *channels = &sampler->channels[i];
        struct reading *row = &readings[i - begin];
        enter(sampler, i, before_ns);
        if (all_absent(channels, next - i)) {
            for (size_t k = 0; k < next - i; k++) row[k].status = channels[k].absent;
        } else if (channels->kind == CHANNEL_FILE) {
            file_read(channels, next - i, row, sampler->text);
        } else {
            nvml_read(&sampler->nvml, channels, next - i, row);
        }
        int64_t after_ns = monotonic_ns();
        int64_t middle_ns = before_ns + (after_ns - before_ns) / 2;
        for (size_t k = 0; k < next - i; k++) row[k].time_ns = middle_ns;
        before_ns = after_ns;
    }
}

/* One reading of a channel of NVML, outside of a tick's rows. */
static struct reading read_alone(struct sampler *sampler, size_t number) {
    struct channel alone = sampler->channels[number];
    struct reading reading = {0};
    if (alone.absent == CHANNEL_ELSEWHERE) alone.absent = 0;
    int64_t before_ns = monotonic_ns();
    enter(sampler, number, before_ns);
    nvml_read(&sampler->nvml, &alone, 1, &reading);
    reading.time_ns = before_ns + (monotonic_ns() - before_ns) / 2;
    reading.channel = (int32_t)number;
    return reading;
}

/* Whether there was room. */
static bool keep_seldom(struct sampler *sampler, const struct reading *reading) {
    struct reading *row = ring_row(&sampler->seldom);
    if (row == NULL) return false;
    *row = *reading;
    ring_publish(&sampler->seldom);
    return true;
}

/* Takes what the driver recorded since the last time; one reading if that failed. */
static bool fetch(struct sampler *sampler, size_t number, int64_t since_ns) {
    size_t count;
    bool kept = true;
    enter(sampler, number, monotonic_ns());
    nvmlReturn_t status = nvml_samples(&sampler->nvml, &sampler->channels[number], since_ns,
                                       sampler->fetched, &count);
    if (status != NVML_SUCCESS) {
        sampler->fetched[0] = (struct reading){.time_ns = monotonic_ns(), .status = status};
        count = 1;
    }
    for (size_t i = 0; i < count; i++) {
        sampler->fetched[i].channel = (int32_t)number;
        kept = keep_seldom(sampler, &sampler->fetched[i]) && kept;
    }
    return kept;
}

/* Reads the seldom channels that are due, or all of them; whether all found room. */
static bool read_seldom(struct sampler *sampler, int64_t start_ns, bool all) {
    bool kept = true;
    for (size_t i = 0; i < sampler->count; i++) {
        struct channel *channel = &sampler->channels[i];
        if (!channel->seldom) continue;
        int64_t now_ns = monotonic_ns(), every_ns = channel->every_ns;
        if (!all && now_ns < channel->due_ns) continue;
        if (channel->kind == CHANNEL_NVML_SAMPLES) {
            kept = fetch(sampler, i, start_ns) && kept;
        } else {
            struct reading reading = channel->last;
            channel->last.time_ns = 0;
            /* At the first tick, that of its trial may have been made just now. */
            if (reading.time_ns < now_ns - sampler->period_ns) reading = read_alone(sampler, i);
            kept = keep_seldom(sampler, &reading) && kept;
            /* Of one whose cost is not known, what it takes now has to tell. */
            int64_t share_ns = (monotonic_ns() - now_ns) * COST_SHARE;
            if (channel->cost_ns == 0 && share_ns > every_ns) every_ns = share_ns;
        }
        channel->due_ns = now_ns + every_ns;
    }
    return kept;
}

/* Finds the spacing of a meter's updates, to about a tenth of it: at each look it may have been
   updated up to a look earlier. */
static void find_period(struct sampler *sampler, size_t number) {
    struct channel *channel = &sampler->channels[number];
    int64_t pause_ns = 3 * channel->cost_ns;
    if (pause_ns == 0 || pause_ns > LOOK_NS) pause_ns = LOOK_NS;
    int64_t until_ns = monotonic_ns() + METER_SEARCH_NS, first_ns = 0;
    struct reading last = read_alone(sampler, number);
    for (int updates = 0; updates < METER_UPDATES;) {
        struct timespec pause = {0, pause_ns};
        nanosleep(&pause, NULL);
        struct reading next = read_alone(sampler, number);
        if (last.status != 0 || next.status != 0 || next.time_ns > until_ns ||
            atomic_load(&sampler->stopping))
            break;
        if (next.value != last.value && ++updates == 1) first_ns = next.time_ns;
        if (updates == METER_UPDATES)
            channel->period_ns = (next.time_ns - first_ns) / (METER_UPDATES - 1);
        last = next;
    }
    channel->last = last;
}

/* Measures what a call costs, and finds out whether it will ever succeed. A call that failed in one
   of the trials may cost anything when it succeeds: its cost stays unknown. */
static void find_cost(struct sampler *sampler, size_t number) {
    struct channel *channel = &sampler->channels[number];
    int64_t cost_ns = INT64_MAX;
    for (int i = 0; i < COST_CALLS; i++) {
        int64_t before_ns = monotonic_ns();
        nvmlReturn_t status;
        if (channel->kind == CHANNEL_NVML_SAMPLES) {
            size_t count;
            enter(sampler, number, before_ns);
            /* Those of before the first tick are not of the passes. */
            status = nvml_samples(&sampler->nvml, channel, INT64_MAX, sampler->fetched, &count);
        } else {
            channel->last = read_alone(sampler, number);
            status = channel->last.status;
        }
        int64_t took_ns = monotonic_ns() - before_ns;
        if (took_ns < cost_ns) cost_ns = took_ns;
        if (nvml_final(status)) {
            channel->absent = status;
            return;
        }
        if (status != NVML_SUCCESS) {
            channel->untried = status;
            return;
        }
    }
    channel->cost_ns = cost_ns > 0 ? cost_ns : 1;
}

/* Puts each channel of NVML into the tier that its cost allows, before the first tick. */
static void settle(struct sampler *sampler) {
    for (size_t i = 0; i < sampler->count && !atomic_load(&sampler->stopping); i++) {
        struct channel *channel = &sampler->channels[i];
        if (channel->kind == CHANNEL_FILE || channel->absent != 0) continue;
        bool fetched = channel->kind == CHANNEL_NVML_SAMPLES;
        find_cost(sampler, i);
        bool cheap = channel->cost_ns > 0 && channel->cost_ns <= COSTLY_NS;
        if (channel->absent != 0 || (cheap && !fetched)) continue;
        channel->every_ns = channel->cost_ns * COST_SHARE;
        if (channel->every_ns < SELDOM_NS) channel->every_ns = SELDOM_NS;
        if (fetched && channel->every_ns > FETCH_LATEST_NS) channel->every_ns = FETCH_LATEST_NS;
        channel->seldom = true;
        sampler->seldom_count++;
        if (channel->meter) find_period(sampler, i);
        channel->absent = CHANNEL_ELSEWHERE;
    }
    atomic_store(&sampler->settled, true);
}

static void tick(struct sampler *sampler, int64_t start_ns, int64_t deadline_ns, bool with_slow,
                 bool with_seldom) {
    int64_t woken_ns = monotonic_ns();
    struct reading *fast = ring_row(&sampler->fast);
    struct reading *slow = with_slow ? ring_row(&sampler->slow) : NULL;
    if (fast != NULL) {
        fast[0].time_ns = woken_ns;
        fast[0].value = woken_ns - deadline_ns;
        read_channels(sampler, 0, sampler->slow_begin, fast + 1);
        ring_publish(&sampler->fast);
    }
    if (slow != NULL) {
        read_channels(sampler, sampler->slow_begin, sampler->count, slow);
        ring_publish(&sampler->slow);
    }
    bool kept = read_seldom(sampler, start_ns, with_seldom);
    if (fast == NULL || (with_slow && slow == NULL) || !kept)
        atomic_fetch_add(&sampler->dropped, 1);
    atomic_fetch_add(&sampler->ticks, 1);
    atomic_store(&sampler->busy_since_ns, 0);
}

static void sleep_until(int64_t deadline_ns) {
    struct timespec at = {deadline_ns / 1000000000, deadline_ns % 1000000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR) continue;
}

static void announce(struct sampler *sampler, bool *what, int64_t edges) {
    pthread_mutex_lock(&sampler->lock);
    *what = true;
    sampler->edges_read = edges;
    pthread_cond_broadcast(&sampler->turned);
    pthread_mutex_unlock(&sampler->lock);
}

static void release(struct sampler *sampler) {
    if (atomic_fetch_sub(&sampler->holders, 1) > 1) return;
    for (size_t i = 0; i < sampler->count; i++) {
        free((char *)sampler->channels[i].path);
        free((char *)sampler->channels[i].key);
    }
    free(sampler->channels);
    free(sampler->fast.readings);
    free(sampler->slow.readings);
    free(sampler->seldom.readings);
    free(sampler->fetched);
    free(sampler->text);
    free(sampler->nvml_library);
    pthread_cond_destroy(&sampler->turned);
    pthread_mutex_destroy(&sampler->lock);
    free(sampler);
}

/* Deadlines are start + n * period, so lateness does not accumulate. Missed ones are skipped. */
static void *work(void *argument) {
    struct sampler *sampler = argument;
    atomic_store(&sampler->busy_since_ns, monotonic_ns());
    prctl(PR_SET_TIMERSLACK, 1UL); /* the default lets the kernel wake us 50 µs late */
    open_sources(sampler);
    settle(sampler);
    int64_t cpu_begin_ns = thread_cpu_ns();
    atomic_store(&sampler->setup_ns, cpu_begin_ns);
    int64_t start_ns = monotonic_ns(), number = 0, next = 0, edges = 0;
    for (;;) {
        /* Checked before reading, so that the last readings are newer than the request to stop. */
        bool last = atomic_load(&sampler->stopping);
        bool now_and_then = last || number >= next;
        if (now_and_then) next = number + sampler->slow_every;
        bool with_slow = now_and_then && sampler->slow.columns > 0;
        int64_t asked = atomic_load(&sampler->edges_asked);
        bool edge = last || number == 0 || asked > edges;
        tick(sampler, start_ns, start_ns + number * sampler->period_ns, with_slow, edge);
        edges = asked;
        /* Not at every tick: this clock is a system call. */
        if (now_and_then) atomic_store(&sampler->cpu_ns, thread_cpu_ns() - cpu_begin_ns);
        if (edge) announce(sampler, &sampler->ready, edges);
        if (last) break;
        if (sampler->seldom_count == 0 && all_absent(sampler->channels, sampler->count)) break;
        int64_t passed = (monotonic_ns() - start_ns) / sampler->period_ns;
        if (passed > number) atomic_fetch_add(&sampler->missed, passed - number);
        number = (passed > number ? passed : number) + 1;
        sleep_until(start_ns + number * sampler->period_ns);
    }
    enter(sampler, sampler->count, monotonic_ns());
    close_sources(sampler);
    announce(sampler, &sampler->finished, edges);
    release(sampler);
    return NULL;
}

/* --- the owner --- */

static bool copy_channels(struct sampler *sampler, const struct sampler_plan *plan) {
    sampler->channels = calloc(plan->channel_count + 1, sizeof *sampler->channels);
    if (sampler->channels == NULL) return false;
    sampler->slow_begin = plan->channel_count;
    for (size_t i = 0; i < plan->channel_count; i++) {
        struct channel *channel = &sampler->channels[i];
        *channel = plan->channels[i];
        channel->path = strdup(channel->path);
        channel->key = strdup(channel->key);
        channel->file = -1;
        channel->absent = 0;
        channel->seldom = false;
        channel->untried = 0;
        channel->last = (struct reading){0};
        channel->cost_ns = channel->every_ns = channel->due_ns = channel->period_ns = 0;
        sampler->count = i + 1;
        if (channel->path == NULL || channel->key == NULL) return false;
        if (channel->slow && sampler->slow_begin > i) sampler->slow_begin = i;
    }
    return true;
}

struct sampler *sampler_new(const struct sampler_plan *plan) {
    struct sampler *sampler = calloc(1, sizeof *sampler);
    if (sampler == NULL) return NULL;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&sampler->lock, NULL);
    pthread_cond_init(&sampler->turned, &monotonic);
    pthread_condattr_destroy(&monotonic);
    atomic_store(&sampler->holders, 1);
    atomic_store(&sampler->hung, -1);
    sampler->period_ns = plan->period_ns;
    sampler->slow_every = plan->slow_every;
    sampler->patience_ns = plan->patience_ns;
    sampler->gpu = plan->gpu;
    sampler->nvml_library = strdup(plan->nvml_library);
    sampler->text = malloc(FILE_READER_BYTES);
    bool copied = copy_channels(sampler, plan);
    /* One more slow row for the first tick, and one for the last. */
    size_t slow_rows = plan->capacity / (size_t)plan->slow_every + 2;
    for (size_t i = 0; i < plan->channel_count; i++)
        sampler->has_nvml = sampler->has_nvml || plan->channels[i].kind != CHANNEL_FILE;
    /* NVML's channels read every SELDOM_NS and at some edges, and the driver's own samples. */
    size_t seconds = (size_t)((double)plan->capacity * (double)plan->period_ns * 1e-9) + 10;
    size_t seldom_rows = sampler->has_nvml ? seconds * (SAMPLES_HZ + plan->channel_count) : 0;
    sampler->fetched = calloc(sampler->has_nvml ? NVML_SAMPLES : 1, sizeof *sampler->fetched);
    if (!copied || sampler->nvml_library == NULL || sampler->text == NULL ||
        sampler->fetched == NULL ||
        !ring_allocate(&sampler->fast, sampler->slow_begin + 1, plan->capacity) ||
        !ring_allocate(&sampler->slow, sampler->count - sampler->slow_begin, slow_rows) ||
        !ring_allocate(&sampler->seldom, 1, seldom_rows)) {
        release(sampler);
        return NULL;
    }
    memset(sampler->text, 0xff, FILE_READER_BYTES);
    return sampler;
}

/* Waits, with the lock held, until *what is true or the time is over. */
static bool wait_for(struct sampler *sampler, const bool *what, int64_t until_ns) {
    struct timespec until = {until_ns / 1000000000, until_ns % 1000000000};
    while (!*what)
        if (pthread_cond_timedwait(&sampler->turned, &sampler->lock, &until) != 0) break;
    return *what;
}

int sampler_start(struct sampler *sampler) {
    if (sampler->started) return EALREADY;
    sigset_t all, before;
    sigfillset(&all);
    /* The new thread inherits the mask, so that no signal handler ever runs in it. */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    atomic_fetch_add(&sampler->holders, 1);
    int error = pthread_create(&sampler->thread, NULL, work, sampler);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        atomic_fetch_sub(&sampler->holders, 1);
        return error;
    }
    sampler->started = true;
    pthread_setname_np(sampler->thread, "harness-sampler");
    pthread_mutex_lock(&sampler->lock);
    wait_for(sampler, &sampler->ready, monotonic_ns() + sampler->patience_ns);
    pthread_mutex_unlock(&sampler->lock);
    return 0;
}

void sampler_stop(struct sampler *sampler) {
    if (!sampler->started || sampler->joined || atomic_load(&sampler->hung) >= 0) return;
    atomic_store(&sampler->stopping, true);
    pthread_mutex_lock(&sampler->lock);
    bool finished = false;
    for (;;) {
        /* If asleep, it wakes within a period; if busy, part of its patience is already spent. */
        int64_t now_ns = monotonic_ns(), busy_ns = atomic_load(&sampler->busy_since_ns);
        int64_t from_ns = busy_ns != 0 ? busy_ns : now_ns + sampler->period_ns;
        finished = wait_for(sampler, &sampler->finished, from_ns + sampler->patience_ns);
        int64_t still_ns = atomic_load(&sampler->busy_since_ns);
        if (finished || (still_ns != 0 && still_ns + sampler->patience_ns <= monotonic_ns())) break;
    }
    pthread_mutex_unlock(&sampler->lock);
    if (finished) {
        pthread_join(sampler->thread, NULL);
        sampler->joined = true;
    } else {
        atomic_store(&sampler->hung, atomic_load(&sampler->at));
    }
}

bool sampler_edge(struct sampler *sampler) {
    if (!sampler->started || sampler->joined || !sampler->has_nvml) return true;
    if (!atomic_load(&sampler->settled)) return false;
    if (sampler->seldom_count == 0) return true;
    int64_t edge = atomic_fetch_add(&sampler->edges_asked, 1) + 1;
    int64_t until_ns = monotonic_ns() + sampler->period_ns + EDGE_WAIT_NS;
    struct timespec until = {until_ns / 1000000000, until_ns % 1000000000};
    pthread_mutex_lock(&sampler->lock);
    /* A thread that has not come back since the last edge is not waited for once more. */
    bool waits = sampler->edges_read == edge - 1;
    while (waits && sampler->edges_read < edge && !sampler->finished)
        waits = pthread_cond_timedwait(&sampler->turned, &sampler->lock, &until) == 0;
    bool read = sampler->edges_read >= edge || sampler->finished;
    pthread_mutex_unlock(&sampler->lock);
    return read;
}

struct sampler_cost sampler_cost(const struct sampler *sampler, size_t channel) {
    if (!atomic_load(&sampler->settled)) return (struct sampler_cost){0};
    const struct channel *found = &sampler->channels[channel];
    return (struct sampler_cost){found->cost_ns, found->period_ns, found->every_ns, found->untried,
                                 found->seldom};
}

struct sampler_report sampler_report(const struct sampler *sampler) {
    bool opened = atomic_load(&sampler->opened);
    return (struct sampler_report){
        .ticks = atomic_load(&sampler->ticks),
        .missed = atomic_load(&sampler->missed),
        .dropped = atomic_load(&sampler->dropped),
        .cpu_ns = atomic_load(&sampler->cpu_ns),
        .setup_ns = atomic_load(&sampler->setup_ns),
        .hung = atomic_load(&sampler->hung),
        .test_double = opened && sampler->nvml.test_double,
        .detail = opened ? sampler->nvml.detail : "",
    };
}

static const struct ring *ring_of(const struct sampler *sampler, enum tier tier) {
    return tier == TIER_FAST   ? &sampler->fast
           : tier == TIER_SLOW ? &sampler->slow
                               : &sampler->seldom;
}

size_t sampler_rows(const struct sampler *sampler, enum tier tier) {
    const struct ring *ring = ring_of(sampler, tier);
    return atomic_load_explicit(&ring->written, memory_order_acquire) - atomic_load(&ring->taken);
}

size_t sampler_columns(const struct sampler *sampler, enum tier tier) {
    return ring_of(sampler, tier)->columns;
}

void sampler_take(struct sampler *sampler, enum tier tier, struct reading *readings, size_t rows) {
    struct ring *ring = tier == TIER_FAST   ? &sampler->fast
                        : tier == TIER_SLOW ? &sampler->slow
                                            : &sampler->seldom;
    size_t taken = atomic_load(&ring->taken);
    for (size_t i = 0; i < rows; i++)
        memcpy(readings + i * ring->columns,
               ring->readings + (taken + i) % ring->capacity * ring->columns,
               ring->columns * sizeof *readings);
    atomic_store_explicit(&ring->taken, taken + rows, memory_order_release);
}

void sampler_free(struct sampler *sampler) {
    if (sampler == NULL) return;
    atomic_store(&sampler->stopping, true);
    if (sampler->started && !sampler->joined) pthread_detach(sampler->thread);
    release(sampler);
}
