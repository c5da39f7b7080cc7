#include "calls/call_loop.h"

#include "clock.h"

int64_t call_loop(Call call, void *argument, int64_t count, int64_t *start_ns,
                  int64_t *duration_ns, int *failure) {
    *failure = 0;
    int64_t before = monotonic_ns();
    for (int64_t i = 0; i < count; i++) {
        int code = call(argument);
        int64_t after = monotonic_ns();
        if (code != 0) {
            *failure = code;
            return i;
        }
        start_ns[i] = before;
        duration_ns[i] = after - before;
        before = after; /* one stamp per call: a second would double the loop's own cost */
    }
    return count;
}

int empty_call(void *argument) { return 0; }
