/*
 * A stand-in for libnvidia-ml.so.1 whose GPUs are described by a text file, for tests and the lab.
 *
 * The file is named by the environment variable HOSTLER_FAKE_NVML, else /etc/hostler-fake-nvml. It is
 * read again whenever its time, size or inode changes: to change a GPU, write the file (by rename, so
 * that nobody reads half of it). No file: nvmlInit says that the driver is not loaded.
 *
 * Format: lines `key = value`; empty lines and lines that begin with # are skipped. Keys before the
 * first `[gpu]` line are of the machine, keys after one are of that GPU (at most 32, in PCI order).
 *
 *   driver = 550.54.15      driver version
 *   cuda = 12040            as nvmlSystemGetCudaDriverVersion gives it (12.4)
 *   init_error = 9          nvmlInit fails with this code (9 driver not loaded, 18 version mismatch)
 *   init_hang = 30          nvmlInit blocks for that many seconds, or until the file no longer says so
 *   missing = NAME,NAME     functions this driver does not have (FUNCTION_NOT_FOUND)
 *   static = 1              never look at the file again (for benchmarks)
 *
 *   [gpu]
 *   uuid = GPU-00000000-...
 *   name = NVIDIA A100-SXM4-80GB
 *   total = 81920           MiB
 *   used = 0                MiB, without what the driver reserves
 *   reserved = 600          MiB
 *   utilization = 0         percent
 *   temperature = 31        degrees Celsius
 *   power = 56.2            watts
 *   power_limit = 400       watts
 *   clock_sm = 210          MHz
 *   clock_memory = 1593     MHz
 *   ecc = 0                 uncorrected volatile errors
 *   mig = 0                 1: MIG mode is on
 *   compute_mode = 0        2: prohibited, 3: exclusive to one process
 *   remap = 0               1: a memory row waits to be remapped, 2: one could not be
 *   energy = 1000.5         joules since the driver was loaded
 *   throttle = 0            bit mask of clock event reasons, decimal or 0x...
 *   pci = 0000:01:00.0      else made from the index
 *   process = PID:MIB[:graphics][:load=N]   once per process; MIB "-" is "not available"; N is the
 *                           percent of the GPU's time that it uses
 *   error = lost            every call on this GPU fails: "lost" or a number
 *   hang = 30               every call on this GPU blocks for that many seconds, or until the file
 *                           no longer says so
 *   unsupported = A,B       NOT_SUPPORTED for: memory reserved utilization temperature power
 *                           power_limit clocks ecc mig energy throttle processes load events
 *                           compute_mode remapped_rows
 *   xid = SERIAL:CODE       a fault, delivered once to each event set on which this GPU was registered
 *                           before the line was there; later lines need larger serials
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MAX_GPUS 32
#define MAX_PROCESSES 256
#define MAX_XIDS 32
#define MIB 1048576ULL
#define API __attribute__((visibility("default")))

enum {
    SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7, DRIVER_NOT_LOADED = 9, TIMEOUT = 10, FUNCTION_NOT_FOUND = 13,
    GPU_IS_LOST = 15, VERSION_MISMATCH = 25, UNKNOWN = 999
};

typedef struct { unsigned pid; unsigned long long memory; int graphics; unsigned load; } Process;
typedef struct { unsigned long long serial, code; } Xid;

typedef struct {
    char uuid[96], name[96], pci[32], unsupported[256];
    unsigned long long total, used, reserved, ecc, throttle;
    double power, power_limit, energy, hang;
    unsigned utilization, clock_sm, clock_memory, mig, compute_mode, remap;
    int temperature, error, process_count, xid_count;
    Process processes[MAX_PROCESSES];
    Xid xids[MAX_XIDS];
} Gpu;

typedef struct {
    double init_hang;
    int loaded, init_error, cuda, is_static, count;
    char driver[80], missing[1024];
    Gpu gpus[MAX_GPUS];
} State;

typedef struct { int index; } Device;
typedef struct {
    unsigned long long last[MAX_GPUS];
    int registered[MAX_GPUS];
} EventSet;

typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } Memory2;
typedef struct { unsigned gpu, memory; } Utilization;
typedef struct { unsigned version; int sensor; int temperature; } Temperature;
typedef struct { unsigned pid; unsigned long long at; unsigned sm, memory, encoder, decoder; } Load;
typedef struct { unsigned pid; unsigned long long memory; } ProcessInfo1;
typedef struct { unsigned pid; unsigned long long memory; unsigned instance, compute; } ProcessInfo;
typedef struct {
    char legacy[16];
    unsigned domain, bus, device, device_id, subsystem_id;
    char bus_id[32];
} PciInfo;
typedef struct {
    Device *device;
    unsigned long long type, data;
    unsigned instance, compute;
} EventData;

static State state;
static struct stat seen;
static int ever_seen;
static int references;
static Device devices[MAX_GPUS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- reading the file ---- */

static char *trim(char *text) {
    while (*text == ' ' || *text == '\t') text++;
    char *end = text + strlen(text);
    while (end > text && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\n' || end[-1] == '\r')) *--end = 0;
    return text;
}

static void copy(char *to, size_t size, const char *from) { snprintf(to, size, "%s", from); }

static void read_process(Gpu *gpu, const char *value) {
    if (gpu->process_count >= MAX_PROCESSES) return;
    Process *process = &gpu->processes[gpu->process_count++];
    char *rest;
    process->pid = (unsigned)strtoul(value, &rest, 10);
    process->memory = ~0ULL;
    if (*rest == ':') {
        rest++;
        if (*rest == '-') rest++;
        else process->memory = strtoull(rest, &rest, 10) * MIB;
    }
    process->graphics = strstr(rest, "graphics") != NULL;
    const char *load = strstr(rest, "load=");
    process->load = load ? (unsigned)atoi(load + 5) : 0;
}

static void read_xid(Gpu *gpu, const char *value) {
    if (gpu->xid_count >= MAX_XIDS) return;
    Xid *xid = &gpu->xids[gpu->xid_count++];
    char *rest;
    xid->serial = strtoull(value, &rest, 10);
    xid->code = *rest == ':' ? strtoull(rest + 1, NULL, 10) : 0;
}

static void set_machine(State *to, const char *key, const char *value) {
    if (!strcmp(key, "driver")) copy(to->driver, sizeof to->driver, value);
    else if (!strcmp(key, "cuda")) to->cuda = atoi(value);
    else if (!strcmp(key, "init_error")) to->init_error = atoi(value);
    else if (!strcmp(key, "init_hang")) to->init_hang = atof(value);
    else if (!strcmp(key, "missing")) copy(to->missing, sizeof to->missing, value);
    else if (!strcmp(key, "static")) to->is_static = atoi(value);
}

static void set_gpu(Gpu *gpu, const char *key, const char *value) {
    if (!strcmp(key, "uuid")) copy(gpu->uuid, sizeof gpu->uuid, value);
    else if (!strcmp(key, "name")) copy(gpu->name, sizeof gpu->name, value);
    else if (!strcmp(key, "pci")) copy(gpu->pci, sizeof gpu->pci, value);
    else if (!strcmp(key, "unsupported")) copy(gpu->unsupported, sizeof gpu->unsupported, value);
    else if (!strcmp(key, "total")) gpu->total = strtoull(value, NULL, 10) * MIB;
    else if (!strcmp(key, "used")) gpu->used = strtoull(value, NULL, 10) * MIB;
    else if (!strcmp(key, "reserved")) gpu->reserved = strtoull(value, NULL, 10) * MIB;
    else if (!strcmp(key, "utilization")) gpu->utilization = (unsigned)atoi(value);
    else if (!strcmp(key, "temperature")) gpu->temperature = atoi(value);
    else if (!strcmp(key, "power")) gpu->power = atof(value);
    else if (!strcmp(key, "power_limit")) gpu->power_limit = atof(value);
    else if (!strcmp(key, "clock_sm")) gpu->clock_sm = (unsigned)atoi(value);
    else if (!strcmp(key, "clock_memory")) gpu->clock_memory = (unsigned)atoi(value);
    else if (!strcmp(key, "ecc")) gpu->ecc = strtoull(value, NULL, 10);
    else if (!strcmp(key, "mig")) gpu->mig = (unsigned)atoi(value);
    else if (!strcmp(key, "compute_mode")) gpu->compute_mode = (unsigned)atoi(value);
    else if (!strcmp(key, "remap")) gpu->remap = (unsigned)atoi(value);
    else if (!strcmp(key, "energy")) gpu->energy = atof(value);
    else if (!strcmp(key, "throttle")) gpu->throttle = strtoull(value, NULL, 0);
    else if (!strcmp(key, "hang")) gpu->hang = atof(value);
    else if (!strcmp(key, "error")) gpu->error = !strcmp(value, "lost") ? GPU_IS_LOST : atoi(value);
    else if (!strcmp(key, "process")) read_process(gpu, value);
    else if (!strcmp(key, "xid")) read_xid(gpu, value);
}

static Gpu *new_gpu(State *to) {
    if (to->count >= MAX_GPUS) return NULL;
    Gpu *gpu = &to->gpus[to->count];
    snprintf(gpu->uuid, sizeof gpu->uuid, "GPU-%08x-0000-0000-0000-000000000000", to->count);
    snprintf(gpu->pci, sizeof gpu->pci, "0000:%02X:00.0", to->count + 1);
    copy(gpu->name, sizeof gpu->name, "NVIDIA Fake GPU");
    gpu->total = 81920 * MIB;
    gpu->temperature = 30;
    gpu->power = 50;
    gpu->power_limit = 400;
    gpu->clock_sm = 210;
    gpu->clock_memory = 1593;
    to->count++;
    return gpu;
}

static void read_file(FILE *file) {
    char line[1024];
    Gpu *gpu = NULL;
    memset(&state, 0, sizeof state);
    copy(state.driver, sizeof state.driver, "550.54.15");
    state.cuda = 12040;
    state.loaded = 1;
    while (fgets(line, sizeof line, file)) {
        char *key = trim(line);
        if (!*key || *key == '#') continue;
        if (!strcmp(key, "[gpu]")) {
            gpu = new_gpu(&state);
            if (!gpu) break;
            continue;
        }
        char *value = strchr(key, '=');
        if (!value) continue;
        *value = 0;
        key = trim(key);
        value = trim(value + 1);
        if (gpu) set_gpu(gpu, key, value);
        else set_machine(&state, key, value);
    }
}

/* Makes `state` what the file says now. Called with the lock held. */
static void refresh(void) {
    if (state.loaded && state.is_static) return;
    const char *path = getenv("HOSTLER_FAKE_NVML");
    if (!path || !*path) path = "/etc/hostler-fake-nvml";
    struct stat now;
    if (stat(path, &now)) {
        memset(&state, 0, sizeof state);
        ever_seen = 0;
        return;
    }
    if (ever_seen && now.st_ino == seen.st_ino && now.st_size == seen.st_size
        && now.st_mtim.tv_sec == seen.st_mtim.tv_sec && now.st_mtim.tv_nsec == seen.st_mtim.tv_nsec)
        return;
    FILE *file = fopen(path, "re");
    if (!file) return;
    read_file(file);
    fclose(file);
    seen = now;
    ever_seen = 1;
}

static int lists(const char *list, const char *name) {
    size_t length = strlen(name);
    for (const char *at = list; (at = strstr(at, name)); at += length) {
        int starts = at == list || at[-1] == ',' || at[-1] == ' ';
        if (starts && (at[length] == 0 || at[length] == ',' || at[length] == ' ')) return 1;
    }
    return 0;
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Takes the lock and finds the GPU; blocks while the file says `hang`. On SUCCESS the caller unlocks. */
static int enter(const Device *device, const char *function, const char *field, Gpu **gpu) {
    double start = seconds();
    for (;;) {
        pthread_mutex_lock(&lock);
        refresh();
        int result = SUCCESS;
        long index = device - devices;
        if (!references) result = UNINITIALIZED;
        else if (!state.loaded) result = UNKNOWN;
        else if (index < 0 || index >= state.count) result = INVALID_ARGUMENT;
        if (result) {
            pthread_mutex_unlock(&lock);
            return result;
        }
        *gpu = &state.gpus[index];
        if ((*gpu)->hang > seconds() - start) {
            pthread_mutex_unlock(&lock);
            usleep(10000);
            continue;
        }
        if ((*gpu)->error) result = (*gpu)->error;
        else if (lists(state.missing, function)) result = FUNCTION_NOT_FOUND;
        else if (field && lists((*gpu)->unsupported, field)) result = NOT_SUPPORTED;
        if (result) pthread_mutex_unlock(&lock);
        return result;
    }
}

#define ENTER(device, field) \
    Gpu *gpu; \
    int entered = enter((device), __func__, (field), &gpu); \
    if (entered) return entered
#define LEAVE pthread_mutex_unlock(&lock); return SUCCESS

/* ---- the library ---- */

API int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    double start = seconds();
    for (;;) {
        pthread_mutex_lock(&lock);
        refresh();
        if (state.init_hang <= seconds() - start) break;
        pthread_mutex_unlock(&lock);
        usleep(10000);
    }
    int result = !state.loaded ? DRIVER_NOT_LOADED : state.init_error;
    if (!result) references++;
    pthread_mutex_unlock(&lock);
    return result;
}

API int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
API int nvmlInit(void) { return nvmlInitWithFlags(0); }

API int nvmlShutdown(void) {
    pthread_mutex_lock(&lock);
    int result = references ? SUCCESS : UNINITIALIZED;
    if (references) references--;
    pthread_mutex_unlock(&lock);
    return result;
}

API const char *nvmlErrorString(int code) {
    switch (code) {
    case SUCCESS: return "Success";
    case UNINITIALIZED: return "Uninitialized";
    case NOT_SUPPORTED: return "Not Supported";
    case DRIVER_NOT_LOADED: return "Driver Not Loaded";
    case FUNCTION_NOT_FOUND: return "Function Not Found";
    case GPU_IS_LOST: return "GPU is lost";
    case 18: return "Driver/library version mismatch";
    default: return "Unknown Error";
    }
}

static int machine_text(const char *function, const char *text, char *to, unsigned size) {
    pthread_mutex_lock(&lock);
    refresh();
    int result = !references ? UNINITIALIZED : lists(state.missing, function) ? FUNCTION_NOT_FOUND : SUCCESS;
    if (!result) copy(to, size, text);
    pthread_mutex_unlock(&lock);
    return result;
}

API int nvmlSystemGetDriverVersion(char *to, unsigned size) {
    return machine_text(__func__, state.driver, to, size);
}
API int nvmlSystemGetNVMLVersion(char *to, unsigned size) {
    return machine_text(__func__, "12.550.54.15", to, size);
}
API int nvmlSystemGetCudaDriverVersion_v2(int *to) {
    *to = state.cuda;
    return references ? SUCCESS : UNINITIALIZED;
}
API int nvmlSystemGetCudaDriverVersion(int *to) { return nvmlSystemGetCudaDriverVersion_v2(to); }

API int nvmlDeviceGetCount_v2(unsigned *to) {
    pthread_mutex_lock(&lock);
    refresh();
    int result = !references ? UNINITIALIZED : !state.loaded ? UNKNOWN : SUCCESS;
    *to = (unsigned)state.count;
    pthread_mutex_unlock(&lock);
    return result;
}
API int nvmlDeviceGetCount(unsigned *to) { return nvmlDeviceGetCount_v2(to); }

API int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device **to) {
    if (index >= MAX_GPUS) return INVALID_ARGUMENT;
    ENTER(&devices[index], NULL);
    (void)gpu;
    *to = &devices[index];
    LEAVE;
}
API int nvmlDeviceGetHandleByIndex(unsigned index, Device **to) {
    return nvmlDeviceGetHandleByIndex_v2(index, to);
}

static int find(const char *text, int by_pci, Device **to) {
    int found = -1;
    pthread_mutex_lock(&lock);
    refresh();
    for (int i = 0; i < state.count; i++)
        if (!strcasecmp(by_pci ? state.gpus[i].pci : state.gpus[i].uuid, text)) found = i;
    pthread_mutex_unlock(&lock);
    return found < 0 ? NOT_FOUND : nvmlDeviceGetHandleByIndex_v2((unsigned)found, to);
}
API int nvmlDeviceGetHandleByUUID(const char *uuid, Device **to) { return find(uuid, 0, to); }
API int nvmlDeviceGetHandleByPciBusId_v2(const char *pci, Device **to) { return find(pci, 1, to); }

API int nvmlDeviceGetIndex(Device *device, unsigned *to) {
    ENTER(device, NULL);
    (void)gpu;
    *to = (unsigned)(device - devices);
    LEAVE;
}
API int nvmlDeviceGetMinorNumber(Device *device, unsigned *to) { return nvmlDeviceGetIndex(device, to); }

API int nvmlDeviceGetUUID(Device *device, char *to, unsigned size) {
    ENTER(device, NULL);
    copy(to, size, gpu->uuid);
    LEAVE;
}
API int nvmlDeviceGetName(Device *device, char *to, unsigned size) {
    ENTER(device, NULL);
    copy(to, size, gpu->name);
    LEAVE;
}
API int nvmlDeviceGetPciInfo_v3(Device *device, PciInfo *to) {
    ENTER(device, NULL);
    memset(to, 0, sizeof *to);
    copy(to->bus_id, sizeof to->bus_id, gpu->pci);
    copy(to->legacy, sizeof to->legacy, gpu->pci);
    sscanf(gpu->pci, "%x:%x:%x", &to->domain, &to->bus, &to->device);
    LEAVE;
}

API int nvmlDeviceGetMemoryInfo(Device *device, Memory *to) {
    ENTER(device, "memory");
    to->total = gpu->total;
    to->used = gpu->used + gpu->reserved;
    to->free = to->used > to->total ? 0 : to->total - to->used;
    LEAVE;
}
API int nvmlDeviceGetMemoryInfo_v2(Device *device, Memory2 *to) {
    if (to->version != (sizeof *to | 2u << 24)) return VERSION_MISMATCH;
    ENTER(device, "memory");
    if (lists(gpu->unsupported, "reserved")) {
        pthread_mutex_unlock(&lock);
        return NOT_SUPPORTED;
    }
    to->total = gpu->total;
    to->reserved = gpu->reserved;
    to->used = gpu->used;
    to->free = gpu->used + gpu->reserved > gpu->total ? 0 : gpu->total - gpu->used - gpu->reserved;
    LEAVE;
}
API int nvmlDeviceGetUtilizationRates(Device *device, Utilization *to) {
    ENTER(device, "utilization");
    to->gpu = gpu->utilization;
    to->memory = 0;
    LEAVE;
}
API int nvmlDeviceGetTemperature(Device *device, int sensor, unsigned *to) {
    (void)sensor;
    ENTER(device, "temperature");
    *to = (unsigned)gpu->temperature;
    LEAVE;
}
API int nvmlDeviceGetTemperatureV(Device *device, Temperature *to) {
    if (to->version != (sizeof *to | 1u << 24)) return VERSION_MISMATCH;
    ENTER(device, "temperature");
    to->temperature = gpu->temperature;
    LEAVE;
}
API int nvmlDeviceGetPowerUsage(Device *device, unsigned *to) {
    ENTER(device, "power");
    *to = (unsigned)(gpu->power * 1000 + 0.5);
    LEAVE;
}
API int nvmlDeviceGetEnforcedPowerLimit(Device *device, unsigned *to) {
    ENTER(device, "power_limit");
    *to = (unsigned)(gpu->power_limit * 1000 + 0.5);
    LEAVE;
}
API int nvmlDeviceGetPowerManagementLimit(Device *device, unsigned *to) {
    return nvmlDeviceGetEnforcedPowerLimit(device, to);
}
API int nvmlDeviceGetTotalEnergyConsumption(Device *device, unsigned long long *to) {
    ENTER(device, "energy");
    *to = (unsigned long long)(gpu->energy * 1000 + 0.5);
    LEAVE;
}
API int nvmlDeviceGetClockInfo(Device *device, int type, unsigned *to) {
    ENTER(device, "clocks");
    *to = type == 2 ? gpu->clock_memory : gpu->clock_sm;
    LEAVE;
}
API int nvmlDeviceGetTotalEccErrors(Device *device, int kind, int counter, unsigned long long *to) {
    (void)counter;
    ENTER(device, "ecc");
    *to = kind == 1 ? gpu->ecc : 0;
    LEAVE;
}
API int nvmlDeviceGetCurrentClocksEventReasons(Device *device, unsigned long long *to) {
    ENTER(device, "throttle");
    *to = gpu->throttle;
    LEAVE;
}
API int nvmlDeviceGetCurrentClocksThrottleReasons(Device *device, unsigned long long *to) {
    ENTER(device, "throttle");
    *to = gpu->throttle;
    LEAVE;
}
API int nvmlDeviceGetMigMode(Device *device, unsigned *current, unsigned *pending) {
    ENTER(device, "mig");
    *current = *pending = gpu->mig;
    LEAVE;
}

API int nvmlDeviceGetComputeMode(Device *device, unsigned *to) {
    ENTER(device, "compute_mode");
    *to = gpu->compute_mode;
    LEAVE;
}
API int nvmlDeviceGetRemappedRows(
    Device *device, unsigned *corrected, unsigned *uncorrected, unsigned *pending, unsigned *failed
) {
    ENTER(device, "remapped_rows");
    *corrected = 0;
    *uncorrected = gpu->remap != 0;
    *pending = gpu->remap == 1;
    *failed = gpu->remap == 2;
    LEAVE;
}

static int processes(Device *device, const char *function, int graphics, unsigned *count, void *to, int old) {
    Gpu *gpu;
    int entered = enter(device, function, "processes", &gpu);
    if (entered) return entered;
    unsigned found = 0, room = to ? *count : 0;
    for (int i = 0; i < gpu->process_count; i++) {
        Process *process = &gpu->processes[i];
        if (process->graphics != graphics) continue;
        if (found < room && old)
            ((ProcessInfo1 *)to)[found] = (ProcessInfo1){process->pid, process->memory};
        else if (found < room)
            ((ProcessInfo *)to)[found] = (ProcessInfo){process->pid, process->memory, ~0u, ~0u};
        found++;
    }
    *count = found;
    pthread_mutex_unlock(&lock);
    return found > room ? INSUFFICIENT_SIZE : SUCCESS;
}
API int nvmlDeviceGetProcessUtilization(
    Device *device, Load *to, unsigned *count, unsigned long long since
) {
    ENTER(device, "load");
    unsigned found = 0, room = *count;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    unsigned long long at = (unsigned long long)now.tv_sec * 1000000 + (unsigned long long)now.tv_nsec / 1000;
    for (int i = 0; i < gpu->process_count && at > since; i++) {
        Process *process = &gpu->processes[i];
        if (!process->load) continue;
        if (found < room) to[found] = (Load){process->pid, at, process->load, 0, 0, 0};
        found++;
    }
    *count = found;
    pthread_mutex_unlock(&lock);
    return !found ? NOT_FOUND : found > room ? INSUFFICIENT_SIZE : SUCCESS;
}
API int nvmlDeviceGetComputeRunningProcesses_v3(Device *device, unsigned *count, void *to) {
    return processes(device, __func__, 0, count, to, 0);
}
API int nvmlDeviceGetGraphicsRunningProcesses_v3(Device *device, unsigned *count, void *to) {
    return processes(device, __func__, 1, count, to, 0);
}
API int nvmlDeviceGetComputeRunningProcesses_v2(Device *device, unsigned *count, void *to) {
    return processes(device, __func__, 0, count, to, 0);
}
API int nvmlDeviceGetGraphicsRunningProcesses_v2(Device *device, unsigned *count, void *to) {
    return processes(device, __func__, 1, count, to, 0);
}
API int nvmlDeviceGetComputeRunningProcesses(Device *device, unsigned *count, void *to) {
    return processes(device, __func__, 0, count, to, 1);
}
API int nvmlDeviceGetGraphicsRunningProcesses(Device *device, unsigned *count, void *to) {
    return processes(device, __func__, 1, count, to, 1);
}

/* ---- events ---- */

API int nvmlEventSetCreate(EventSet **to) {
    *to = calloc(1, sizeof **to);
    return *to ? SUCCESS : UNKNOWN;
}
API int nvmlEventSetFree(EventSet *set) {
    free(set);
    return SUCCESS;
}
API int nvmlDeviceGetSupportedEventTypes(Device *device, unsigned long long *to) {
    ENTER(device, "events");
    (void)gpu;
    *to = 8;
    LEAVE;
}
API int nvmlDeviceRegisterEvents(Device *device, unsigned long long types, EventSet *set) {
    (void)types;
    ENTER(device, "events");
    long index = device - devices;
    set->registered[index] = 1;
    for (int i = 0; i < gpu->xid_count; i++)
        if (gpu->xids[i].serial > set->last[index]) set->last[index] = gpu->xids[i].serial;
    LEAVE;
}

static int next_xid(EventSet *set, EventData *to) {
    for (int index = 0; index < state.count; index++) {
        Gpu *gpu = &state.gpus[index];
        for (int i = 0; set->registered[index] && i < gpu->xid_count; i++) {
            if (gpu->xids[i].serial <= set->last[index]) continue;
            set->last[index] = gpu->xids[i].serial;
            *to = (EventData){&devices[index], 8, gpu->xids[i].code, ~0u, ~0u};
            return 1;
        }
    }
    return 0;
}

/* As the real one: a registered GPU that is lost spoils the set for the others. */
static int has_lost(EventSet *set) {
    for (int index = 0; index < state.count; index++)
        if (set->registered[index] && state.gpus[index].error == 15) return 15;
    return 0;
}

API int nvmlEventSetWait_v2(EventSet *set, EventData *to, unsigned milliseconds) {
    double until = seconds() + milliseconds / 1000.0;
    for (;;) {
        pthread_mutex_lock(&lock);
        refresh();
        int found = next_xid(set, to), usable = references && state.loaded, lost = has_lost(set);
        pthread_mutex_unlock(&lock);
        if (!usable) return UNINITIALIZED;
        if (found) return SUCCESS;
        if (lost) return lost;
        if (seconds() >= until) return TIMEOUT;
        usleep(20000);
    }
}
API int nvmlEventSetWait(EventSet *set, EventData *to, unsigned milliseconds) {
    return nvmlEventSetWait_v2(set, to, milliseconds);
}
