/* A stand-in for libcuda.so.1 beside nvml.c: three GPUs, of which CUDA counts the last first, as it
   does where that is the fastest; CUDA_VISIBLE_DEVICES chooses by index or UUID. The second GPU is
   in MIG mode: what CUDA has of it is one of its instances. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define GPUS 3
#define MIG_GPU 1

enum { SUCCESS = 0, NOT_INITIALIZED = 3, NO_DEVICE = 100, INVALID_DEVICE = 101 };

static int visible[GPUS];
static int count = -1;

/* UUIDs as in nvml.c: the last byte is the GPU's index; of the MIG instance the first is 0xff. */
static void uuid(unsigned char *bytes, int gpu, int mig) {
    memset(bytes, 0, 16);
    bytes[0] = mig ? 0xff : 0;
    bytes[15] = (unsigned char)gpu;
}

static int gpu_of(const char *told) {
    int number;
    if (strncmp(told, "GPU-", 4) == 0) return atoi(strrchr(told, '-') + 1);
    if (strncmp(told, "MIG-", 4) == 0) return MIG_GPU;
    return sscanf(told, "%d", &number) == 1 ? GPUS - 1 - number : -1;
}

EXPORT int cuInit(unsigned int flags) {
    (void)flags;
    const char *chosen = getenv("CUDA_VISIBLE_DEVICES");
    char list[256];
    snprintf(list, sizeof list, "%s", chosen ? chosen : "0,1,2");
    count = 0;
    /* The first that is none ends the list, as with the real one. */
    for (char *one = strtok(list, ","); one != NULL && count < GPUS; one = strtok(NULL, ",")) {
        int gpu = gpu_of(one);
        if (gpu < 0 || gpu >= GPUS) break;
        visible[count++] = gpu;
    }
    return count ? SUCCESS : NO_DEVICE;
}

EXPORT int cuDeviceGet(int *device, int ordinal) {
    if (count < 0) return NOT_INITIALIZED;
    if (ordinal >= count) return INVALID_DEVICE;
    *device = visible[ordinal];
    return SUCCESS;
}

EXPORT int cuDeviceGetUuid(unsigned char *bytes, int device) {
    uuid(bytes, device, 0);
    return SUCCESS;
}

EXPORT int cuDeviceGetUuid_v2(unsigned char *bytes, int device) {
    uuid(bytes, device, device == MIG_GPU);
    return SUCCESS;
}

EXPORT int cuDeviceGetPCIBusId(char *id, int size, int device) {
    snprintf(id, (size_t)size, "0000:%02x:00.0", device + 1);
    return SUCCESS;
}

EXPORT int cuDeviceGetAttribute(int *value, int attribute, int device) {
    if (attribute == 16) *value = device == MIG_GPU ? 16 : 58;
    else if (attribute == 38) *value = 48 << 20;
    else if (attribute == 39) *value = 1536; /* threads of a multiprocessor, as an L4 has them */
    else if (attribute == 81) *value = 100 << 10;
    else if (attribute == 82) *value = 65536;
    else if (attribute == 106) *value = 24;
    else if (attribute == 111) *value = device == MIG_GPU ? 0 : 1024;
    else return 1;
    return SUCCESS;
}
