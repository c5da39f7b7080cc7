#include "timing_loop.h"

#include "clock.h"

static inline OrtStatus *bind_fresh_outputs(const Inference *inference) {
    for (size_t i = 0; i < inference->fresh_count; i++) {
        OrtStatus *status = inference->ort->BindOutputToDevice(
            inference->binding, inference->fresh[i], inference->host);
        if (status != NULL) return status;
    }
    return NULL;
}

int64_t timing_loop(const Inference *inference, int64_t count, int64_t deadline_ns,
                    int64_t *start_ns, int64_t *duration_ns, OrtStatus **failure) {
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
        before = after; /* one stamp an inference: a second would cost as much as all else here */
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
        /* The stores go to the stack: in the timing loop nothing waits for them either, here
           the second stamp would. */
        volatile int64_t stored[2];
        int64_t before = monotonic_ns();
        stored[0] = before;
        stored[1] = before - i;
        int64_t added = monotonic_ns() - stored[0];
        added_ns[i] = added;
    }
    return count;
}
