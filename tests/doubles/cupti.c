/* A CUPTI that records nothing and notes how it was called. */
#include <stddef.h>
#include <stdint.h>

/* One letter a call: R(egister), E(nable), D(isable), F(lush), + (push), - (pop). */
char calls[1 << 16];
static size_t count;

static int note(char letter) {
    if (count + 1 < sizeof calls) calls[count++] = letter;
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
int cuptiActivityRegisterCallbacks(void *request, void *complete) { return note('R'); }
int cuptiActivityEnable(int kind) { return note('E'); }
int cuptiActivityDisable(int kind) { return note('D'); }
int cuptiActivityFlushAll(uint32_t flag) { return note('F'); }
int cuptiActivityPushExternalCorrelationId(int kind, uint64_t id) { return note('+'); }
int cuptiActivityPopExternalCorrelationId(int kind, uint64_t *id) { return note('-'); }

int cuptiActivityGetNextRecord(uint8_t *buffer, size_t bytes, void **record) { return 12; }

int cuptiActivityGetNumDroppedRecords(void *context, uint32_t stream, size_t *dropped) {
    *dropped = 0;
    return 0;
}
