#include "ort/timing_loop.h"

#include <errno.h>
#include <time.h>

#include "clock.h"

/* Longer than a sleeping thread usually takes to run again. */
#define SPIN_NS INT64_C(300000)

void wait_until(int64_t begin_ns) {
    int64_t wake_ns = begin_ns - SPIN_NS;
    if (monotonic_ns() < wake_ns) {
        struct timespec wake = {wake_ns / 1000000000, wake_ns % 1000000000};
        /* Interrupted or refused, it returns early, and the loop below waits for the rest. */
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &wake, NULL) == EINTR) {
        }
    }
    while (monotonic_ns() < begin_ns) {
    }
}

static inline OrtStatus *bind_fresh_outputs(const Inference *inference) {
    for (size_t i = 0; i < inference->fresh_count; i++) {
        OrtStatus *status = inference->ort->BindOutputToDevice(
            inference->binding, inference->fresh[i], inference->fresh_places[i]);
        if (status != NULL) return status;
    }
    return NULL;
}

static OrtStatus *infer_values(const Inference *inference) {
    const HostValues *values = inference->values;
    return inference->ort->Run(inference->session, inference->options, values->input_names,
                               values->inputs, values->input_count, values->output_names,
                               values->output_count, values->outputs);
}

static void release_outputs(const Inference *inference) {
    const HostValues *values = inference->values;
    for (size_t i = 0; i < values->output_count; i++) {
        if (values->outputs[i] != NULL) inference->ort->ReleaseValue(values->outputs[i]);
        values->outputs[i] = NULL;
    }
}

/* The loop for inferences of more than one call: separate, so that the CPU's loop stays lean. */
static int64_t device_loop(const Inference *inference, int64_t count, int64_t deadline_ns,
                           int64_t *start_ns, int64_t *duration_ns, int64_t *enqueue_ns,
                           OrtStatus **failure, int *device_error) {
    /* Work enqueued earlier must not count towards the first inference. */
    if (inference->synchronise != NULL) {
        *device_error = inference->synchronise();
        if (*device_error != 0) return 0;
    }
    for (int64_t i = 0; i < count; i++) {
        if (inference->values != NULL) {
            release_outputs(inference);
        } else {
            *failure = bind_fresh_outputs(inference);
            if (*failure != NULL) return i;
        }
        int64_t before = monotonic_ns();
        *failure = inference->values != NULL
                       ? infer_values(inference)
                       : inference->ort->RunWithBinding(inference->session, inference->options,
                                                        inference->binding);
        int64_t returned = monotonic_ns();
        int64_t after = returned;
        if (*failure != NULL) return i;
        if (inference->synchronise != NULL) {
            *device_error = inference->synchronise();
            after = monotonic_ns();
            if (*device_error != 0) return i;
        }
        start_ns[i] = before;
        duration_ns[i] = after - before;
        if (enqueue_ns != NULL) enqueue_ns[i] = returned - before;
        if (after >= deadline_ns) return i + 1;
    }
    return count;
}

int64_t timing_loop(const Inference *inference, int64_t count, int64_t deadline_ns,
                    int64_t *start_ns, int64_t *duration_ns, int64_t *enqueue_ns,
                    OrtStatus **failure, int *device_error) {
    *device_error = 0;
    if (inference->values != NULL || inference->synchronise != NULL)
        return device_loop(inference, count, deadline_ns, start_ns, duration_ns, enqueue_ns,
                           failure, device_error);
    OrtStatus *(*run)(OrtSession *, const OrtRunOptions *, const OrtIoBinding *) =
        inference->ort->RunWithBinding;
    int64_t before = monotonic_ns();
    for (int64_t i = 0; i < count; i++) {
        if (inference->fresh_count) {
            *failure = bind_fresh_outputs(inference);
            if (*failure != NULL) return i;
            before = monotonic_ns();
        }
        *failure = run(inference->session, inference->options, inference->binding);
        int64_t after = monotonic_ns();
        if (*failure != NULL) return i;
        start_ns[i] = before;
        duration_ns[i] = after - before;
        if (after >= deadline_ns) return i + 1;
        before = after; /* one stamp per inference: a second would double the loop's own cost */
    }
    return count;
}

int64_t untimed_loop(const Inference *inference, int64_t count, OrtStatus **failure) {
    OrtStatus *(*run)(OrtSession *, const OrtRunOptions *, const OrtIoBinding *) =
        inference->ort->RunWithBinding;
    int64_t before = monotonic_ns();
    for (int64_t i = 0; i < count; i++) {
        *failure = bind_fresh_outputs(inference);
        if (*failure != NULL) return 0;
        *failure = run(inference->session, inference->options, inference->binding);
        if (*failure != NULL) return 0;
    }
    return monotonic_ns() - before;
}

int64_t stamp_loop(const Inference *inference, int64_t count, int64_t *added_ns,
                   OrtStatus **failure) {
    OrtStatus *(*run)(OrtSession *, const OrtRunOptions *, const OrtIoBinding *) =
        inference->ort->RunWithBinding;
    for (int64_t i = 0; i < count; i++) {
        *failure = bind_fresh_outputs(inference);
        if (*failure != NULL) return i;
        *failure = run(inference->session, inference->options, inference->binding);
        if (*failure != NULL) return i;
        /* The stores go to the stack: in the timing loop nothing waits for the stores to the
           arrays either, whereas here the second stamp would. */
        volatile int64_t stored[2];
        int64_t before = monotonic_ns();
        stored[0] = before;
        stored[1] = before - i;
        int64_t added = monotonic_ns() - stored[0];
        added_ns[i] = added;
    }
    return count;
}
