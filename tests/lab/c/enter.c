/*
 * Runs a command inside a lab host, as `ssh` would but without the network.
 *
 *   enter PID USER CGROUP_DIR... -- COMMAND ARGUMENT...
 *
 * PID is the host's init as this machine sees it. The command gets the user's groups, home and a fresh
 * environment plus every variable given as HLAB_ENV_NAME=value. Exits with the command's status (128 +
 * signal when it was killed), or with 125 when the host cannot be entered.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <nss.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern int __nss_configure_lookup(const char *database, const char *service);
extern char **environ;

static pid_t child;

static void die(const char *what, const char *path) {
    fprintf(stderr, "enter: %s %s: %s\n", what, path, strerror(errno));
    exit(125);
}

static void join_cgroup(const char *dir) {
    char path[512];
    snprintf(path, sizeof path, "%s/cgroup.procs", dir);
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0 || write(file, "0", 1) != 1) die("join", path);
    close(file);
}

static void join_namespaces(const char *pid) {
    const char *kinds[] = {"cgroup", "ipc", "uts", "net", "pid", "mnt"};
    int files[6];
    for (int i = 0; i < 6; i++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%s/ns/%s", pid, kinds[i]);
        files[i] = open(path, O_RDONLY | O_CLOEXEC);
        if (files[i] < 0) die("open", path);
    }
    for (int i = 0; i < 6; i++) {
        if (setns(files[i], 0)) die("enter namespace", kinds[i]);
        close(files[i]);
    }
}

/* A clean environment, with the HLAB_ENV_ variables under their own names. */
static void set_environment(const struct passwd *user) {
    char **given = environ;
    environ = NULL;
    const char *path = user->pw_uid ? "/usr/local/bin:/usr/bin:/bin"
                                    : "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    setenv("PATH", path, 1);
    setenv("LANG", "C.UTF-8", 1);
    setenv("HOME", user->pw_dir, 1);
    setenv("USER", user->pw_name, 1);
    setenv("LOGNAME", user->pw_name, 1);
    setenv("SHELL", user->pw_shell, 1);
    for (; *given; given++)
        if (!strncmp(*given, "HLAB_ENV_", 9)) putenv(*given + 9);
}

static void become(const char *name) {
    /* Only the host's own files: other name services would be loaded from a foreign root. */
    __nss_configure_lookup("passwd", "files");
    __nss_configure_lookup("group", "files");
    const struct passwd *user = getpwnam(name);
    if (!user) {
        errno = ENOENT;
        die("no such user", name);
    }
    set_environment(user);
    if (initgroups(name, user->pw_gid) || setgid(user->pw_gid) || setuid(user->pw_uid)) die("become", name);
    if (chdir(user->pw_dir) && chdir("/")) die("chdir", "/");
    umask(022);
}

static void pass_on(int signal) {
    if (child > 0) kill(child, signal);
}

int main(int argc, char **argv) {
    if (argc < 5) {
        fprintf(stderr, "enter: usage: enter PID USER CGROUP_DIR... -- COMMAND...\n");
        return 125;
    }
    char **at = argv + 3;
    for (; *at && strcmp(*at, "--"); at++) join_cgroup(*at);
    if (!*at || !at[1]) {
        errno = EINVAL;
        die("no", "command");
    }
    join_namespaces(argv[1]);
    child = fork();
    if (child < 0) die("fork", argv[1]);
    if (!child) {
        become(argv[2]);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execvp(at[1], at + 1);
        fprintf(stderr, "enter: %s: %s\n", at[1], strerror(errno));
        _exit(errno == ENOENT ? 127 : 126);
    }
    signal(SIGTERM, pass_on);
    signal(SIGINT, pass_on);
    signal(SIGHUP, pass_on);
    int status;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR) die("wait for", at[1]);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
