"""Whose fault it is that nothing started, by what Docker, containerd, runc and the system said.

The texts are theirs: they were taken from Docker 26.1 with containerd 1.7 and runc 1.1, from what
later versions of these say, and from NVIDIA's container toolkit.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.base.errors import HostFault
from hostler.decide.start_failures import Fault, fault_of_agent, fault_of_docker, refuses_limits
from hostler.runtimes.docker.explain import engine_error, pull_error
from tests.support.worlds.hypothesis_profiles import examples

TASK = "failed to create task for container: "
SHIM = f"{TASK}failed to create shim task: OCI runtime create failed: "
RUNC = f"{SHIM}runc create failed: "
INIT = f"{RUNC}unable to start container process: "
HOOK = f"{INIT}error during container init: error running hook #0: error running hook: "
OLD_HOOK = f"{INIT}error during container init: error running prestart hook #0: "
NO_LOG = (
    f"{SHIM}unable to retrieve OCI runtime error (open /run/docker/containerd/daemon/"
    "io.containerd.runtime.v2.task/moby/81184fc18f99/log.json: no such file or directory): "
)
DIAL = 'connection error: desc = "transport: Error while dialing: dial unix '
READ = "read unix @->/run/docker/containerd/containerd.sock: read: connection reset by peer"

OF_THE_HOST = [
    f'{DIAL}/run/docker/containerd/containerd.sock: connect: connection refused": unavailable',
    'connection error: desc = "transport: error while dialing: dial unix:///run/containerd/'
    'containerd.sock: timeout": unavailable',
    f'connection error: desc = "error reading server preface: {READ}": unavailable',
    f'closing transport due to: connection error: desc = "error reading from server: {READ}", '
    "received prior goaway: code: NO_ERROR: unavailable",
    f"error reading from server: {READ}: unavailable",
    "error reading from server: EOF: unavailable",
    "write unix @->/run/docker/containerd/containerd.sock: write: broken pipe: unavailable",
    "write unix @->/run/containerd/containerd.sock: use of closed network connection: unavailable",
    f'{TASK}Unavailable: {DIAL}/run/containerd/containerd.sock: connect: connection refused"',
    'Unavailable: connection error: desc = "transport: Error while dialing: dial '
    'unix:///run/containerd/containerd.sock: timeout"',
    'failed to dial "/var/run/docker/containerd/docker-containerd.sock": dial '
    "unix:///var/run/docker/containerd/docker-containerd.sock: timeout",
    f"{TASK}transport is closing: unavailable",
    "failed to create shim: OCI runtime create failed: unable to retrieve OCI runtime error (open "
    "/run/x/log.json: no such file or directory): fork/exec /usr/bin/runc: exec format error: "
    "unknown",
    "the connection is draining: unavailable",
    "the stream is rejected because server is draining the connection: unavailable",
    "grpc: the client connection is closing: context canceled",
    f"{TASK}rpc error: code = Canceled desc = grpc: the client connection is closing",
    "rpc error: code = 14 desc = grpc: the connection is unavailable",
    f"{TASK}ttrpc: closed: unavailable",
    f"{TASK}ttrpc: server closed: unknown",
    f"{TASK}context canceled",
    "context canceled: unknown",
    "error creating temporary lease: transport is closing: unavailable",
    "error creating temporary lease: write /var/lib/x/io.containerd.metadata.v1.bolt/meta.db: "
    "input/output error: unknown",
    f"{TASK}{READ}: unavailable",
    "dial unix /run/containerd/containerd.sock: connect: connection refused: unavailable",
    f'{NO_LOG}exec: "runc": executable file not found in $PATH: unknown',
    f"{NO_LOG}fork/exec /usr/sbin/runc: exec format error: unknown",
    f"{TASK}failed to start shim: start failed: : fork/exec /usr/bin/containerd-shim-runc-v2: "
    "no such file or directory: unknown",
    'exec: "docker-init": executable file not found in $PATH',
    f"{RUNC}mountpoint for devices not found: unknown",
    f"{RUNC}unable to apply cgroup configuration: mkdir /sys/fs/cgroup/docker/1: "
    "no space left on device: unknown",
    "write /var/lib/docker/overlay2/27229d7f-init/.tmp-lower3802422508: no space left on device",
    "write /var/lib/docker/containers/f7ba/.tmp-resolv.conf.hash1669720724: "
    "no space left on device",
    "mkdir /var/lib/docker/overlay2/4c47-init/work: read-only file system",
    "open /data/docker/containers/1/config.v2.json: input/output error",
    "chown /var/lib/docker/overlay2/fb0-init/work/work: no such file or directory",
    "error creating overlay mount to /var/lib/docker/overlay2/1/merged: invalid argument",
    "failed to create endpoint hostler-r1 on network bridge: iptables failed",
    f"{INIT}fork/exec /proc/self/exe: resource temporarily unavailable: unknown",
    "netavark: nftables error: unable to execute nft",
]
OF_ITS_GPUS = [
    f"{HOOK}exit status 1, stdout: , stderr: broken: unknown",
    f"{HOOK}exit status 1, stdout: , stderr: nvidia-container-cli: device error: GPU-1: "
    "GPU is lost: unknown",
    f"{OLD_HOOK}exit status 1, stdout: , stderr: Auto-detected mode as 'legacy'\n"
    "nvidia-container-cli: initialization error: nvml error: driver not loaded: unknown",
    f"{OLD_HOOK}exit status 1, stdout: , stderr: nvidia-container-cli: initialization error: "
    "nvml error: driver/library version mismatch: unknown",
    f"{INIT}error during container init: error running hook #0: fork/exec "
    "/usr/bin/nvidia-container-runtime-hook: exec format error: unknown",
    'exec: "nvidia-container-runtime-hook": executable file not found in $PATH',
    'could not select device driver "nvidia" with capabilities: [[gpu]]',
    "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=GPU-1",
]
COUNTED = [
    # The stage's.
    f'{INIT}exec: "nosuchprog": executable file not found in $PATH: unknown',
    f'{INIT}exec: "/no/such/prog": stat /no/such/prog: no such file or directory: unknown',
    f'{INIT}exec: "/tmp": is a directory: unknown: permission denied',
    f'{INIT}exec: "/x": permission denied: unknown',
    f'{INIT}exec: "/x": exec format error: unknown',
    f'{INIT}exec: "connection error: desc = ": executable file not found in $PATH: unknown',
    f'{INIT}exec: "runc": executable file not found in $PATH: unknown',
    f'{INIT}exec: "docker-init": executable file not found in $PATH: unknown',
    "unable to find user nosuchuser: no matching entries in passwd file",
    "Cannot mkdir: /etc/hostname is not a directory",
    "failed to create shim: OCI runtime create failed: container_linux.go:380: starting container "
    'process caused: exec: "transport is closing": executable file not found in $PATH: unknown',
    f'{INIT}exec: "context canceled": executable file not found in $PATH: unknown',
    "unable to find user context canceled: no matching entries in passwd file",
    'invalid mount config for type "bind": bind source path does not exist: /x: unavailable',
    'invalid mount config for type "bind": bind source path does not exist: /context canceled',
    "the working directory 'relative' is invalid, it needs to be an absolute path",
    "Minimum memory limit allowed is 6MB",
    "Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available",
    'invalid CapAdd: unknown capability: "CAP_NOSUCH"',
    'invalid mount config for type "bind": bind source path does not exist: /no/such',
    f"{INIT}error during container init: error setting rlimits for ready process: error setting "
    "rlimit type 7: operation not permitted: unknown",
    "No such image: nosuch/image:1",
    f"{OLD_HOOK}exit status 1, stdout: , stderr: nvidia-container-cli: requirement error: "
    "unsatisfied condition: cuda>=99.0: unknown",
    f"{OLD_HOOK}exit status 1, stdout: , stderr: nvidia-container-cli: mount error: file creation "
    "failed: /var/lib/docker/overlay2/1/merged/usr/lib/libcuda.so.1: file exists: unknown",
    # Nobody's that is known.
    f"{RUNC}container init was OOM-killed (memory limit too low?): unknown",
    "something that no version has said yet",
    "",
]


@pytest.mark.parametrize("text", OF_THE_HOST)
def test_what_the_host_lacks_is_its_fault(text: str) -> None:
    assert fault_of_docker(text) is Fault.HOST
    error = engine_error("gpu1", "starting", 500, text)
    assert isinstance(error, HostFault)
    assert not error.gpus_only
    assert "was not found in the image" not in error.message
    assert ("containerd on gpu1 does not answer at /" in error.message) is (
        "containerd.sock" in text
    )


@pytest.mark.parametrize("text", OF_ITS_GPUS)
def test_what_cannot_give_gpus_is_the_hosts_fault_for_stages_with_gpus(text: str) -> None:
    assert fault_of_docker(text) is Fault.GPUS
    error = engine_error("gpu1", "starting", 500, text)
    assert isinstance(error, HostFault)
    assert error.gpus_only


@pytest.mark.parametrize("text", COUNTED)
def test_what_the_stage_asks_for_and_what_is_not_known_counts(text: str) -> None:
    assert fault_of_docker(text) is None
    assert not isinstance(engine_error("gpu1", "starting", 500, text), HostFault)


@given(
    st.sampled_from([*OF_THE_HOST, *OF_ITS_GPUS]).flatmap(
        lambda told: st.sampled_from([told, told.removesuffix(": unknown"), told.split(": ")[-1]])
    ),
    st.sampled_from(
        [
            f'{INIT}exec: "%s": executable file not found in $PATH: unknown',
            f'{INIT}exec: "%s": permission denied: unknown',
            f'{INIT}chdir to cwd ("/%s") set in config.json failed: no such file or directory: '
            "unknown",
            "unable to find user %s: no matching entries in passwd file",
            "Cannot mkdir: /%s is not a directory",
            'invalid mount config for type "bind": bind source path does not exist: /x%s/y',
        ]
    ),
)
@examples(75)
def test_no_name_that_a_stage_chooses_makes_it_the_hosts_fault(name: str, said: str) -> None:
    assert fault_of_docker(said % name) is None


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("/var/tmp/hostler-1000/jobs/a: No space left on device", Fault.HOST),
        ("[Errno 28] No space left on device: '/var/tmp/hostler-1000/jobs/a/log'", Fault.HOST),
        ("python3 cannot be run in /w: Cannot allocate memory", Fault.HOST),
        ("transfer: Disk quota exceeded", Fault.HOST),
        ("train.py cannot be run in /w: Exec format error", None),
        ("python3 cannot be run in /w: Argument list too long", None),
        ("'No space left on device' cannot be run in /w: Permission denied", None),
        ("nosuch: no such program on PATH (/usr/bin)", None),
        ("the agent's answer to job.start cannot be read", None),
    ],
)
def test_what_the_agent_says_of_a_host_without_room(text: str, fault: Fault | None) -> None:
    assert fault_of_agent(text) is fault


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("error setting rlimit type 8: operation not permitted", True),
        (f"{INIT}error during container init: error setting rlimits for ready process: error "
         "setting rlimit type 7: operation not permitted: unknown", True),
        ("OCI runtime create failed: container_linux.go:380: starting container process caused: "
         "process_linux.go:545: container init caused: setting rlimits for ready process caused: "
         "error setting rlimit type 8: operation not permitted: unknown", True),
        ("crun: setrlimit `RLIMIT_MEMLOCK`: Operation not permitted: OCI permission denied", True),
        (f'{INIT}exec: "ulimit": executable file not found in $PATH: unknown', False),
        (f"{INIT}exec /work/setting rlimit: permission denied: unknown", False),
        (f'{INIT}chdir to cwd ("/work/setrlimit") set in config.json failed: no such file', False),
    ],
)  # fmt: skip
def test_who_may_not_raise_limits_is_known_by_dockers_own_words(text: str, refused: bool) -> None:
    assert refuses_limits(text) is refused


GONE = [
    "error creating temporary lease: transport is closing: unavailable",
    f"error creating temporary lease: {DIAL}/run/containerd/containerd.sock: connect: connection "
    'refused": unavailable',
    "error reading from server: EOF: unavailable",
    "transport is closing: unavailable",
]


@pytest.mark.parametrize("text", GONE)
def test_a_pull_without_containerd_is_the_hosts_fault(text: str) -> None:
    assert isinstance(pull_error("gpu1", "bb:1", 0, text), HostFault)


@pytest.mark.parametrize(
    "text",
    [
        "pull access denied for bb, repository does not exist or may require 'docker login'",
        "manifest for x/transport is closing:1 not found: manifest unknown",
        "unknown: error creating temporary lease: transport is closing: unavailable",
        'Get "https://registry/v2/": dial tcp: lookup registry: no such host',
        'Get "https://registry/v2/": net/http: request canceled (Client.Timeout exceeded)',
        "failed to register layer: no space left on device",
    ],
)
def test_what_the_registry_or_the_image_says_is_not(text: str) -> None:
    assert not isinstance(pull_error("gpu1", "bb:1", 0, text), HostFault)
