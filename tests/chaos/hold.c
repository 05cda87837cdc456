/* A second referee, which stages themselves run: hold FOLDER MILLISECONDS.
 *
 * Locks FOLDER/<GPU uuid> of every GPU in HOSTLER_GPUS, for as long as it lives; the kernel gives a
 * lock back when its process dies, however it dies. Appends one line of JSON to FOLDER/held.jsonl:
 * who was given which GPUs when, and who held one of them already. It sees processes and containers
 * alike, where the lab's own referee sees containers only. Exit 9: somebody held one. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

static void die(const char *what) {
    fprintf(stderr, "hold: %s: %s\n", what, strerror(errno));
    exit(99);
}

int main(int argc, char **argv) {
    char *given = getenv("HOSTLER_GPUS"), *attempt = getenv("HOSTLER_ATTEMPT");
    char path[512], gpus[1024] = "", holders[1024] = "", line[4096];
    struct timespec now;
    if (argc != 3 || !given || !*given || !attempt) {
        fprintf(stderr, "usage: HOSTLER_GPUS=... HOSTLER_ATTEMPT=... hold FOLDER MILLISECONDS\n");
        return 98;
    }
    char *names = strdup(given);
    for (char *name; (name = strsep(&names, ","));) {
        snprintf(path, sizeof path, "%s/%s", argv[1], name);
        int lock = open(path, O_RDWR | O_NOFOLLOW); /* stays open, and so locked, until the end */
        if (lock < 0) die(path);
        size_t at = strlen(gpus);
        snprintf(gpus + at, sizeof gpus - at, "%s\"%s\"", at ? "," : "", name);
        if (!flock(lock, LOCK_EX | LOCK_NB)) {
            if (ftruncate(lock, 0) || pwrite(lock, attempt, strlen(attempt), 0) < 0) die(path);
            continue;
        }
        if (errno != EWOULDBLOCK) die(path);
        char holder[128] = "";
        ssize_t got = pread(lock, holder, sizeof holder - 1, 0);
        at = strlen(holders);
        snprintf(holders + at, sizeof holders - at, "%s\"%s\"", at ? "," : "", got > 0 ? holder : "?");
    }
    clock_gettime(CLOCK_REALTIME, &now);
    int length = snprintf(line, sizeof line,
        "{\"at\":%lld.%06ld,\"attempt\":\"%s\",\"pid\":%ld,\"gpus\":[%s],\"holders\":[%s]}\n",
        (long long)now.tv_sec, now.tv_nsec / 1000, attempt, (long)getpid(), gpus, holders);
    snprintf(path, sizeof path, "%s/held.jsonl", argv[1]);
    int record = open(path, O_WRONLY | O_APPEND | O_NOFOLLOW);
    if (record < 0 || write(record, line, (size_t)length) != length) die(path);
    long wait = atol(argv[2]);
    struct timespec pause = {wait / 1000, wait % 1000 * 1000000};
    while (nanosleep(&pause, &pause) && errno == EINTR) continue;
    return *holders ? 9 : 0;
}
