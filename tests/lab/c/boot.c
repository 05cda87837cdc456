/*
 * Starts one lab host: makes its namespaces, mounts its file systems and stays as its pid 1.
 *
 *   boot name=gpu1 base=DIR disk=FILE stage=DIR share=DIR referee=DIR boot_id=TEXT
 *        cgroup=TYPE:DIR:NAME:OPTIONS ...
 *
 * base is the read-only Debian tree, disk an ext4 image (kept over reboots), stage an empty folder,
 * share the host's own folder (its rc script, keys, GPU file), referee the folder with the log of all
 * grants. Every cgroup DIR exists and is joined; NAME is its place under /sys/fs/cgroup ("" for the
 * whole of it, on machines with cgroup 2 alone).
 *
 * Prints the pid of the host's init, as this machine sees it, once everything is mounted; or says on
 * stderr what failed and exits with 1. Nothing is mounted in the machine's own mount namespace, and
 * the loop device frees itself when the host ends.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_CGROUPS 32
#define GPU_NODES 8

typedef struct { const char *type, *dir, *name, *options; } Cgroup;

static const char *name, *base, *disk, *stage, *share, *referee, *boot_id;
static Cgroup cgroups[MAX_CGROUPS];
static int cgroup_count;
static sigset_t children; /* SIGCHLD, blocked in init, which waits for it */

static void die(const char *what, const char *path) {
    fprintf(stderr, "%s %s: %s\n", what, path ? path : "", strerror(errno));
    exit(1);
}

static const char *join(const char *format, ...) {
    char *text;
    va_list args;
    va_start(args, format);
    if (vasprintf(&text, format, args) < 0) die("format", format);
    va_end(args);
    return text;
}

static void folder(const char *path, mode_t mode) {
    if (mkdir(path, mode) && errno != EEXIST) die("mkdir", path);
}

static void attach(const char *from, const char *to, const char *type, unsigned long flags, const char *data) {
    if (mount(from, to, type, flags, data)) die("mount", to);
}

static void put(const char *path, const char *text, mode_t mode) {
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    if (file < 0 || write(file, text, strlen(text)) < 0) die("write", path);
    close(file);
}

/* ---- arguments ---- */

static void read_cgroup(char *text) {
    if (cgroup_count == MAX_CGROUPS) return;
    Cgroup *to = &cgroups[cgroup_count++];
    to->type = strsep(&text, ":");
    to->dir = strsep(&text, ":");
    to->name = strsep(&text, ":");
    to->options = text;
    if (!to->name || !to->options) {
        errno = EINVAL;
        die("argument", to->type);
    }
}

static void read_arguments(char **argv) {
    struct { const char *key; const char **to; } known[] = {
        {"name", &name}, {"base", &base}, {"disk", &disk}, {"stage", &stage}, {"share", &share},
        {"referee", &referee}, {"boot_id", &boot_id},
    };
    for (; *argv; argv++) {
        char *value = *argv, *key = strsep(&value, "=");
        if (value && !strcmp(key, "cgroup")) read_cgroup(value);
        for (size_t i = 0; value && i < sizeof known / sizeof *known; i++)
            if (!strcmp(key, known[i].key)) *known[i].to = value;
    }
    errno = EINVAL;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!*known[i].to) die("missing argument", known[i].key);
}

/* ---- file systems ---- */

/* The path of a loop device over `disk` that is freed when its last user is gone; `held` keeps it. */
static const char *loop_device(int *held) {
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    int backing = open(disk, O_RDWR | O_CLOEXEC);
    if (control < 0) die("open", "/dev/loop-control");
    if (backing < 0) die("open", disk);
    for (int tries = 0; tries < 100; tries++) {
        int number = ioctl(control, LOOP_CTL_GET_FREE);
        if (number < 0) die("no free loop device for", disk);
        const char *path = join("/dev/loop%d", number);
        if (access(path, F_OK)) mknod(path, S_IFBLK | 0600, makedev(7, (unsigned)number));
        *held = open(path, O_RDWR | O_CLOEXEC);
        struct loop_config config = {.fd = (unsigned)backing, .info.lo_flags = LO_FLAGS_AUTOCLEAR};
        strncpy((char *)config.info.lo_file_name, disk, LO_NAME_SIZE - 1);
        if (*held >= 0 && !ioctl(*held, LOOP_CONFIGURE, &config)) return path;
        if (*held >= 0) close(*held);
        usleep(10000); /* another host took it in between */
    }
    die("attach a loop device to", disk);
    return NULL;
}

static void mount_root(void) {
    int held;
    attach("hostler-lab", stage, "tmpfs", 0, "mode=755");
    const char *device = loop_device(&held), *on = join("%s/disk", stage), *root = join("%s/root", stage);
    folder(on, 0755);
    folder(root, 0755);
    attach(device, on, "ext4", MS_NOATIME, NULL);
    close(held);
    folder(join("%s/upper", on), 0755);
    folder(join("%s/work", on), 0755);
    folder(join("%s/docker", on), 0710);
    attach("overlay", root, "overlay", 0,
           join("lowerdir=%s,upperdir=%s/upper,workdir=%s/work", base, on, on));
    if (chdir(root)) die("chdir", root);
    folder("var/lib/docker", 0710);
    /* Docker's overlay2 cannot lie on an overlay: its data-root is the disk itself. */
    attach(join("%s/docker", on), "var/lib/docker", NULL, MS_BIND, NULL);
}

static void node(const char *path, unsigned major, unsigned minor, mode_t mode) {
    if (mknod(path, S_IFCHR | mode, makedev(major, minor)) || chmod(path, mode)) die("mknod", path);
}

static void mount_dev(void) {
    attach("dev", "dev", "tmpfs", MS_NOSUID, "mode=755");
    node("dev/null", 1, 3, 0666);
    node("dev/zero", 1, 5, 0666);
    node("dev/full", 1, 7, 0666);
    node("dev/random", 1, 8, 0666);
    node("dev/urandom", 1, 9, 0666);
    node("dev/tty", 5, 0, 0666);
    node("dev/fuse", 10, 229, 0666);
    folder("dev/pts", 0755);
    folder("dev/shm", 01777);
    attach("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620,gid=5");
    attach("shm", "dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
    if (symlink("pts/ptmx", "dev/ptmx") || symlink("/proc/self/fd", "dev/fd")
        || symlink("/proc/self/fd/0", "dev/stdin") || symlink("/proc/self/fd/1", "dev/stdout")
        || symlink("/proc/self/fd/2", "dev/stderr")) die("symlink in", "/dev");
}

static int alone(void) { return cgroup_count == 1 && !*cgroups[0].name; }

/* Where cgroup 2 is all there is, a group with controllers may hold no processes: they sit in a leaf. */
static void move_to_leaf(void) {
    if (!alone()) return;
    folder(join("%s/init", cgroups[0].dir), 0755);
    put(join("%s/init/cgroup.procs", cgroups[0].dir), "0", 0644);
}

static void delegate(void) {
    const char *wanted[] = {"+cpu", "+cpuset", "+io", "+memory", "+pids"};
    for (size_t i = 0; alone() && i < sizeof wanted / sizeof *wanted; i++) {
        int file = open("sys/fs/cgroup/cgroup.subtree_control", O_WRONLY | O_CLOEXEC);
        if (file < 0) die("open", "cgroup.subtree_control");
        if (write(file, wanted[i], strlen(wanted[i])) < 0) /* this machine has none, and nor will Docker */
            fprintf(stderr, "no cgroup controller %s\n", wanted[i] + 1);
        close(file);
    }
}

static void mount_cgroups(void) {
    if (!alone()) attach("cgroup", "sys/fs/cgroup", "tmpfs", 0, "mode=755");
    for (int i = 0; i < cgroup_count; i++) {
        const char *on = join("sys/fs/cgroup/%s", cgroups[i].name);
        if (!alone()) folder(on, 0755);
        attach(cgroups[i].type, on, cgroups[i].type, MS_NOSUID | MS_NODEV | MS_NOEXEC, cgroups[i].options);
    }
    delegate();
}

static void mount_all(void) {
    attach("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
    mount_root();
    attach("run", "run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755");
    attach("tmp", "tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
    attach("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    attach("sysfs", "sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    mount_dev();
    mount_cgroups();
    folder("run/hostler-lab", 0755);
    folder("run/hostler-referee", 0755);
    attach(share, "run/hostler-lab", NULL, MS_BIND, NULL);
    attach(referee, "run/hostler-referee", NULL, MS_BIND, NULL);
    put("run/boot_id", join("%s\n", boot_id), 0444);
    attach("run/boot_id", "proc/sys/kernel/random/boot_id", NULL, MS_BIND, NULL);
    if (syscall(SYS_pivot_root, ".", ".")) die("pivot_root", stage);
    if (umount2(".", MNT_DETACH) || chdir("/")) die("leave", "the old root");
}

/* ---- being pid 1 ---- */

static void quiet(void) {
    int in = open("/dev/null", O_RDONLY), out = open("/var/log/boot.log", O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (in < 0 || out < 0) die("open", "/var/log/boot.log");
    dup2(in, 0);
    dup2(out, 1);
    dup2(out, 2);
    close(in);
    close(out);
}

static void run_rc(void) {
    char *const argv[] = {"/bin/sh", "/run/hostler-lab/rc", NULL};
    char *const env[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                         "HOME=/root", "USER=root", "LANG=C.UTF-8", NULL};
    if (fork()) return;
    sigprocmask(SIG_UNBLOCK, &children, NULL);
    setsid();
    execve(argv[0], argv, env);
    die("exec", argv[0]);
}

static void init(int ready) {
    umask(0);
    sigprocmask(SIG_BLOCK, &children, NULL);
    if (sethostname(name, strlen(name))) die("sethostname", name);
    mount_all();
    umask(022);
    quiet();
    if (write(ready, "+", 1) != 1) die("report to", "the lab");
    close(ready);
    run_rc();
    for (int got;;) {
        while (waitpid(-1, NULL, WNOHANG) > 0) continue;
        sigwait(&children, &got);
    }
}

int main(int argc, char **argv) {
    (void)argc;
    read_arguments(argv + 1);
    for (int i = 0; i < cgroup_count; i++) put(join("%s/cgroup.procs", cgroups[i].dir), "0", 0644);
    setsid();
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    int flags = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP;
    if (unshare(flags)) die("unshare", name);
    move_to_leaf(); /* now: the group joined above stays the root of the host's cgroups */
    int ready[2];
    if (pipe2(ready, O_CLOEXEC)) die("pipe", name);
    pid_t child = fork();
    if (child < 0) die("fork", name);
    if (!child) {
        close(ready[0]);
        init(ready[1]);
    }
    close(ready[1]);
    char mark;
    if (read(ready[0], &mark, 1) != 1) return 1;
    printf("%d\n", child);
    return 0;
}
