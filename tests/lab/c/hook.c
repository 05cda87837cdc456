/*
 * Stands in for nvidia-container-runtime-hook on a lab host, and is the referee of its GPUs.
 *
 * dockerd puts it before the start of every container that asks for GPUs. It gets the container's
 * state on stdin, takes the UUIDs from NVIDIA_VISIBLE_DEVICES in the bundle, and, holding a lock,
 *  - refuses GPUs that the host does not have, or has lost (the container then does not start);
 *  - sees whether a container that still lives was given one of them: an overlap;
 *  - appends a JSON line to /run/hostler-referee/grants.jsonl, which lies outside the host;
 *  - shows the container what it was given: /etc/hostler-gpus (a UUID a line), and NVML with only
 *    those GPUs where the image has a place for it.
 * An overlap is recorded, not refused: neither does the real one, and that is what the lab is for.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#define GPU_FILE "/etc/hostler-fake-nvml"
#define LIBRARY "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1"
#define HOLDERS "/run/hostler-holders"
#define LOG "/run/hostler-referee/grants.jsonl"
#define MAX_GPUS 32

typedef struct { char uuid[96]; int lost, wanted; char *section; size_t length; } Gpu;
typedef struct { char *text; size_t length; } Buffer;

static Gpu gpus[MAX_GPUS];
static int gpu_count;
static char *machine_part = ""; /* of the GPU file: what stands before the first [gpu] */

static void die(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fprintf(stderr, "nvidia-container-cli: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    exit(1);
}

static char *read_all(int file) {
    size_t size = 0, room = 65536;
    char *text = malloc(room);
    for (ssize_t got; (got = read(file, text + size, room - size - 1)) > 0; size += (size_t)got)
        if (room - size < 4096) text = realloc(text, room *= 2);
    text[size] = 0;
    return text;
}

static char *read_path(const char *path) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return NULL;
    char *text = read_all(file);
    close(file);
    return text;
}

static void add(Buffer *to, const char *format, ...) {
    char *part;
    va_list args;
    va_start(args, format);
    int size = vasprintf(&part, format, args);
    va_end(args);
    if (size < 0) die("out of memory");
    to->text = realloc(to->text, to->length + (size_t)size + 1);
    memcpy(to->text + to->length, part, (size_t)size + 1);
    to->length += (size_t)size;
    free(part);
}

/* ---- just enough JSON: quotes inside strings are escaped, so `"key":` is only ever a key ---- */

/* Where the value that starts at `at` ends. */
static const char *end_of(const char *at) {
    int depth = 0, quoted = 0;
    for (; *at; at++) {
        if (quoted && *at == '\\' && at[1]) at++;
        else if (*at == '"') quoted = !quoted;
        else if (quoted) continue;
        else if (*at == '{' || *at == '[') depth++;
        else if (*at == '}' || *at == ']') depth--;
        if (!quoted && depth == 0) return at + 1;
    }
    return at;
}

/* The raw text of `"key":` VALUE (an object or a string), or `otherwise`. */
static char *raw(const char *json, const char *key, const char *otherwise) {
    char needle[64];
    snprintf(needle, sizeof needle, "\"%s\":", key);
    const char *at = json ? strstr(json, needle) : NULL;
    if (!at) return strdup(otherwise);
    at += strlen(needle);
    while (isspace((unsigned char)*at)) at++;
    if (*at != '"' && *at != '{') return strdup(otherwise);
    return strndup(at, (size_t)(end_of(at) - at));
}

static char *text_of(const char *json, const char *key) {
    char *value = raw(json, key, "\"\"");
    value[strlen(value) - 1] = 0;
    return value + 1;
}

static long number_of(const char *json, const char *key) {
    char needle[64];
    snprintf(needle, sizeof needle, "\"%s\":", key);
    const char *at = strstr(json, needle);
    return at ? strtol(at + strlen(needle), NULL, 10) : 0;
}

/* The last setting of an environment variable in the bundle: what dockerd added comes last. */
static char *environment(const char *config, const char *variable) {
    char needle[64];
    snprintf(needle, sizeof needle, "\"%s=", variable);
    const char *found = NULL;
    for (const char *at = config; (at = strstr(at, needle)); at++) found = at;
    return found ? strndup(found + strlen(needle), (size_t)(end_of(found) - found) - strlen(needle) - 1) : NULL;
}

/* ---- the host's GPUs ---- */

static void read_section(Gpu *gpu, char *section, size_t length) {
    char *copy = strndup(section, length), *lines = copy;
    snprintf(gpu->uuid, sizeof gpu->uuid, "GPU-%08x-0000-0000-0000-000000000000", gpu_count);
    gpu->section = section;
    gpu->length = length;
    for (char *line; (line = strsep(&lines, "\n"));) {
        char value[96];
        if (sscanf(line, " uuid = %95s", value) == 1) strcpy(gpu->uuid, value);
        if (sscanf(line, " error = %95s", value) == 1) gpu->lost = !strcmp(value, "lost") || atoi(value);
    }
    free(copy);
}

static void read_gpus(void) {
    char *text = read_path(GPU_FILE);
    if (!text || access(LIBRARY, F_OK)) die("initialization error: load library failed: libnvidia-ml.so.1");
    char *at = strstr(text, "[gpu]");
    machine_part = strndup(text, at ? (size_t)(at - text) : strlen(text));
    char *init_error = strstr(machine_part, "init_error");
    if (init_error && atoi(init_error + strcspn(init_error, "0123456789")))
        die("initialization error: nvml error: driver not loaded");
    while (at && gpu_count < MAX_GPUS) {
        char *next = strstr(at + 1, "[gpu]");
        read_section(&gpus[gpu_count], at, next ? (size_t)(next - at) : strlen(at));
        gpu_count++;
        at = next;
    }
}

/* Marks the GPUs that `list` names, by UUID or index; what it says wrong is returned. */
static char *choose(char *list) {
    char *wrong = NULL;
    for (char *at = list; *at; at++)
        if (*at == '\\' || (unsigned char)*at < ' ') *at = '?'; /* it goes into a JSON line */
    for (char *item; (item = strsep(&list, ","));) {
        int all = !strcmp(item, "all"), found = 0;
        for (int i = 0; i < gpu_count; i++) {
            char index[12];
            snprintf(index, sizeof index, "%d", i);
            if (!all && strcmp(item, index) && strcmp(item, gpus[i].uuid)) continue;
            found = gpus[i].wanted = 1;
            if (gpus[i].lost && asprintf(&wrong, "device error: %s: GPU is lost", gpus[i].uuid) < 0) die("memory");
        }
        if (!found && !all && asprintf(&wrong, "device error: %s: unknown device", item) < 0) die("memory");
    }
    return wrong;
}

/* ---- who holds what: lines "UUID PID START CONTAINER" on the host's tmpfs ---- */

/* When the process began, in clock ticks since boot; 0: it is gone (a zombie is gone as well). */
static unsigned long long started(long pid) {
    char path[64], state;
    unsigned long long start = 0;
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    char *text = read_path(path), *rest = text ? strrchr(text, ')') : NULL;
    if (!rest) return 0;
    int got = sscanf(rest, ") %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
                     &state, &start);
    free(text);
    return got == 2 && state != 'Z' && state != 'X' ? start : 0;
}

/* Keeps the live holders in `kept`, and writes those of wanted GPUs as JSON into `overlaps`. */
static void check_holders(const char *id, Buffer *kept, Buffer *overlaps) {
    char *text = read_path(HOLDERS), *lines = text;
    for (char *line; text && (line = strsep(&lines, "\n"));) {
        char uuid[96], container[80];
        long pid;
        unsigned long long start;
        if (sscanf(line, "%95s %ld %llu %79s", uuid, &pid, &start, container) != 4) continue;
        if (started(pid) != start || !strcmp(container, id)) continue;
        add(kept, "%s\n", line);
        for (int i = 0; i < gpu_count; i++)
            if (gpus[i].wanted && !strcmp(uuid, gpus[i].uuid))
                add(overlaps, "%s{\"gpu\":\"%s\",\"container\":\"%s\",\"pid\":%ld}",
                    overlaps->length ? "," : "", uuid, container, pid);
    }
    free(text);
}

static void write_path(const char *path, int flags, const char *text, size_t length) {
    int file = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC | flags, 0644);
    if (file < 0) die("cannot write %s: %s", path, strerror(errno));
    if (flags & O_APPEND) flock(file, LOCK_EX);
    if (write(file, text, length) != (ssize_t)length) die("cannot write %s: %s", path, strerror(errno));
    close(file);
}

static void record(const char *id, long pid, const char *refused) {
    char host[65] = "", path[256];
    struct timespec now;
    Buffer kept = {0}, overlaps = {0}, line = {0};
    int lock = open(HOLDERS ".lock", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (lock < 0 || flock(lock, LOCK_EX)) die("cannot lock %s", HOLDERS);
    gethostname(host, sizeof host - 1);
    clock_gettime(CLOCK_REALTIME, &now);
    snprintf(path, sizeof path, "/var/lib/docker/containers/%s/config.v2.json", id);
    char *docker = read_path(path);
    if (!refused) check_holders(id, &kept, &overlaps);
    add(&line, "{\"at\":%lld.%06ld,\"host\":\"%s\",\"container\":\"%s\",\"name\":%s,\"pid\":%ld,\"gpus\":[",
        (long long)now.tv_sec, now.tv_nsec / 1000, host, id, raw(docker ? strstr(docker, "\"LogPath\":") : NULL, "Name", "\"\""), pid);
    for (int i = 0, any = 0; i < gpu_count; i++) {
        if (!gpus[i].wanted) continue;
        add(&line, "%s\"%s\"", any++ ? "," : "", gpus[i].uuid);
        if (!refused) add(&kept, "%s %ld %llu %s\n", gpus[i].uuid, pid, started(pid), id);
    }
    add(&line, "],\"labels\":%s,\"refused\":%s%s%s,\"overlaps\":[%s]}\n", raw(docker, "Labels", "{}"),
        refused ? "\"" : "", refused ? refused : "null", refused ? "\"" : "", overlaps.text ? overlaps.text : "");
    write_path(LOG, O_APPEND, line.text, line.length);
    if (!refused && kept.text) write_path(HOLDERS, O_TRUNC, kept.text, kept.length);
    close(lock);
}

/* ---- what the container sees ---- */

static void copy_library(const char *root) {
    char path[4096];
    struct stat size;
    snprintf(path, sizeof path, "%s" LIBRARY, root);
    int from = open(LIBRARY, O_RDONLY | O_CLOEXEC);
    int to = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0755);
    /* An image without that folder has no use for the library. */
    if (from >= 0 && to >= 0 && !fstat(from, &size)) {
        for (ssize_t left = size.st_size, got; left > 0; left -= got)
            if ((got = copy_file_range(from, NULL, to, NULL, (size_t)left, 0)) <= 0) die("cannot copy %s", path);
    }
    if (from >= 0) close(from);
    if (to >= 0) close(to);
}

static void show(const char *root) {
    char path[4096];
    Buffer uuids = {0}, file = {0};
    add(&file, "%s", machine_part);
    for (int i = 0; i < gpu_count; i++) {
        if (!gpus[i].wanted) continue;
        add(&uuids, "%s\n", gpus[i].uuid);
        add(&file, "%.*s", (int)gpus[i].length, gpus[i].section);
    }
    snprintf(path, sizeof path, "%s/etc", root);
    mkdir(path, 0755);
    snprintf(path, sizeof path, "%s/etc/hostler-gpus", root);
    write_path(path, O_TRUNC, uuids.text ? uuids.text : "", uuids.length);
    snprintf(path, sizeof path, "%s" GPU_FILE, root);
    write_path(path, O_TRUNC, file.text, file.length);
    copy_library(root);
}

/* The control node of the driver (195:255, which nobody here answers), and the right to open it given past
 * Docker, which therefore does not know of it: as the real hook does. On cgroup 2 that takes a program in the
 * kernel; there containers have no node. */
static void give_node(long pid, const char *root) {
    char path[4096], rule[] = "c 195:* rw";
    snprintf(path, sizeof path, "/proc/%ld/cgroup", pid);
    char *groups = read_path(path), *devices = groups ? strstr(groups, ":devices:") : NULL;
    if (!devices) return;
    devices += strlen(":devices:");
    devices[strcspn(devices, "\n")] = 0;
    snprintf(path, sizeof path, "/sys/fs/cgroup/devices%s/devices.allow", devices);
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0 || write(file, rule, strlen(rule)) < 0) die("cannot write %s: %s", path, strerror(errno));
    close(file);
    snprintf(path, sizeof path, "/proc/%ld/root%s/dev/nvidiactl", pid, root);
    umask(0);
    if (mknod(path, S_IFCHR | 0666, makedev(195, 255)) && errno != EEXIST)
        die("cannot make %s: %s", path, strerror(errno));
}

int main(void) {
    char path[4096];
    char *state = read_all(0), *id = text_of(state, "id");
    snprintf(path, sizeof path, "%s/config.json", text_of(state, "bundle"));
    char *config = read_path(path);
    if (!config) die("cannot read %s", path);
    char *wanted = environment(config, "NVIDIA_VISIBLE_DEVICES");
    if (!wanted || !*wanted || !strcmp(wanted, "void") || !strcmp(wanted, "none")) return 0;
    read_gpus();
    char *wrong = choose(wanted);
    record(id, number_of(state, "pid"), wrong);
    if (wrong) die("%s", wrong);
    char *root = text_of(raw(config, "root", "{}"), "path");
    show(root);
    give_node(number_of(state, "pid"), root);
    return 0;
}
