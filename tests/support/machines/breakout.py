"""What a stage tries to get out of its container, as one Python program: a line of JSON a try.

Run as `python3 -c PROGRAM`; the image holds `/suid`, a Python that is root's with the setuid bit.
"""

PROGRAM = r"""
import ctypes, glob, json, os, signal, socket, stat, subprocess

def tell(what, got):
    print(json.dumps({what: got}), flush=True)

def tried(work):
    try:
        work()
    except (OSError, PermissionError) as error:
        return type(error).__name__
    return "worked"

def status():
    with open("/proc/self/status") as file:
        return dict(line.rstrip().split(":\t", 1) for line in file if ":\t" in line)

def write(path, text="x"):
    def work():
        with open(path, "w") as file:
            file.write(text)
    return tried(work)

found = status()
tell("capabilities", [found[name] for name in ("CapEff", "CapPrm", "CapInh", "CapAmb", "CapBnd")])
tell("no_new_privs", found["NoNewPrivs"])
tell("ids", [found["Uid"].split(), found["Gid"].split()])

asked = ["/suid", "-c", "import os; print(os.geteuid())"]
tell("setuid_program", subprocess.run(asked, capture_output=True, text=True).stdout.strip())
tell("become_root", tried(lambda: os.setuid(0)))

libc = ctypes.CDLL(None, use_errno=True)
tell("mount", libc.mount(b"x", b"/tmp", b"tmpfs", 0, b""))
tell("chroot", tried(lambda: os.chroot("/tmp")))
tell("device", tried(lambda: os.mknod("/tmp/disk", stat.S_IFBLK | 0o600, os.makedev(8, 0))))
tell("host_name", tried(lambda: socket.sethostname("pwned")))

sockets = [path for folder in ("/run", "/var/run", "/var", "/tmp", "/")
           for path in glob.glob(folder + "/**/*.sock", recursive=folder != "/")]
tell("sockets", sockets)
tell("pid_1", open("/proc/1/comm").read().strip())
tell("processes", len([name for name in os.listdir("/proc") if name.isdigit()]))
tell("block_devices", [name for name in os.listdir("/dev")
                       if stat.S_ISBLK(os.lstat("/dev/" + name).st_mode)])
tell("kernel", [write("/proc/sys/kernel/core_pattern", "|/tmp/x"), write("/proc/sysrq-trigger"),
                write("/sys/kernel/uevent_helper", "/tmp/x")])
groups = glob.glob("/sys/fs/cgroup/**/release_agent", recursive=True)
groups += glob.glob("/sys/fs/cgroup/**/cgroup.procs", recursive=True)[:5]
tell("cgroups", sorted({write(path, "1") for path in groups}))
tell("image", [write("/etc/passwd"), write("/usr/bin/x")])
tell("read_only_mount", write("/srv/data/mine"))
"""
