#include "timing_loop.h"

#include "clock.h"

int64_t timing_loop(const OrtFunctions *ort, OrtSession *session, const OrtRunOptions *options,
                    const OrtIoBinding *binding, int64_t count, int64_t deadline_ns,
                    int64_t *start_ns, int64_t *duration_ns, OrtStatus **failure) {
    OrtStatus *(*run)(OrtSession *, const OrtRunOptions *, const OrtIoBinding *) =
        ort->RunWithBinding;
    *failure = NULL;
    for (int64_t i = 0; i < count; i++) {
        int64_t before = monotonic_ns();
        OrtStatus *status = run(session, options, binding);
        int64_t after = monotonic_ns();
        if (status != NULL) {
            *failure = status;
            return i;
        }
        start_ns[i] = before;
        duration_ns[i] = after - before;
        if (after >= deadline_ns) return i + 1;
    }
    return count;
}

int64_t untimed_loop(const OrtFunctions *ort, OrtSession *session, const OrtRunOptions *options,
                     const OrtIoBinding *binding, int64_t count, OrtStatus **failure) {
    OrtStatus *(*run)(OrtSession *, const OrtRunOptions *, const OrtIoBinding *) =
        ort->RunWithBinding;
    int64_t before = monotonic_ns();
    for (int64_t i = 0; i < count; i++) {
        *failure = run(session, options, binding);
        if (*failure != NULL) return 0;
    }
    return monotonic_ns() - before;
}
