/* Stand-in for the CUDA driver library of a GB10: one device, compute capability 12.1, whose memory is the machine's.
   No headers and no libc of its own, so that tcc alone builds it; open, read and close come from the process that loads it. */
typedef unsigned long size_t;
int open(const char *path, int flags, ...);
long read(int fd, void *buffer, size_t size);
int close(int fd);

#define SUCCESS 0
#define INVALID_VALUE 1
#define INVALID_DEVICE 101
#define CAPABILITY_MAJOR 75
#define CAPABILITY_MINOR 76
#define INTEGRATED 18

int cuInit(unsigned flags) { return flags ? INVALID_VALUE : SUCCESS; }
int cuDriverGetVersion(int *version) { *version = 13000; return SUCCESS; }
int cuDeviceGetCount(int *count) { *count = 1; return SUCCESS; }
int cuDeviceGet(int *device, int ordinal) { *device = 0; return ordinal ? INVALID_DEVICE : SUCCESS; }

int cuDeviceGetName(char *name, int size, int device) {
    const char *gb10 = "NVIDIA GB10";
    int i = 0;
    if (device || size < 1) return INVALID_DEVICE;
    for (; gb10[i] && i < size - 1; i++) name[i] = gb10[i];
    name[i] = 0;
    return SUCCESS;
}

/* A GB10 shares its memory with the CPU: CUDA's total is the kernel's MemTotal, the first line of /proc/meminfo. */
int cuDeviceTotalMem_v2(size_t *bytes, int device) {
    char text[128];
    int fd = open("/proc/meminfo", 0), got, i;
    size_t kib = 0;
    if (device || fd < 0) return INVALID_DEVICE;
    got = read(fd, text, sizeof text);
    close(fd);
    for (i = 0; i < got && text[i] != '\n'; i++)
        if (text[i] >= '0' && text[i] <= '9') kib = kib * 10 + (text[i] - '0');
    *bytes = kib * 1024;
    return SUCCESS;
}

int cuDeviceGetAttribute(int *value, int attribute, int device) {
    if (device) return INVALID_DEVICE;
    *value = attribute == CAPABILITY_MAJOR ? 12 : attribute == CAPABILITY_MINOR ? 1 : attribute == INTEGRATED ? 1 : 0;
    return SUCCESS;
}
