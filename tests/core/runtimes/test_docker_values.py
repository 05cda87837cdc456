"""The pure parts of the Docker runtime: options, archives, words for errors, inspected states."""

from __future__ import annotations

import dataclasses
import io
import tarfile
import time
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.base.errors import InputError, NoImage
from hostler.base.mount_targets import read_mount_target
from hostler.base.units import GIB, MIB
from hostler.model.jobs import Mount, Placement
from hostler.runtimes.command import relative, reserved
from hostler.runtimes.docker.build_words import buildkit_trouble, host_trouble
from hostler.runtimes.docker.explain import engine_error, pull_error
from hostler.runtimes.docker.options import (
    DEFAULT_PATH,
    Seen,
    bind_paths,
    container_options,
    labels,
    memory_limit,
    mount_targets,
    with_user_programs,
)
from hostler.runtimes.docker.packing import pack
from hostler.runtimes.docker.pull import PullProgress, pull_for
from hostler.runtimes.docker.workload import epoch_ns, workload_from_inspect
from tests.core.runtimes.support import make_job, silent


@pytest.mark.parametrize("piece", ["/a", "manifest for ", "error running hook", "stderr: "])
def test_whatever_a_host_sends_as_an_error_is_read_quickly(piece: str) -> None:
    began, text = time.process_time(), piece * 200_000
    told = (engine_error("g", "w", 0, text), pull_error("g", "i", 0, text))
    host_trouble("g", "FROM a", text)
    buildkit_trouble("g", text)
    assert time.process_time() - began < 2.0
    assert max(len(error.message) for error in told) < 10_000
    assert "no space" in engine_error("g", "w", 0, f"{text} no space left on device").message


def _env(options: Any) -> dict[str, str]:
    return dict(item.split("=", 1) for item in options["Env"])


def test_every_container_is_confined() -> None:
    options = container_options(make_job("true"))
    host = options["HostConfig"]
    assert options["User"] == "1234:1235"
    assert host["GroupAdd"] == ["1300"]
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["PidsLimit"] == 4096
    assert host["IpcMode"] == "private"
    assert host["RestartPolicy"] == {"Name": "no"}
    assert host["Init"] is True
    assert not {"Privileged", "PidMode", "Binds", "CapAdd", "Devices", "VolumesFrom"} & set(host)
    assert host["LogConfig"]["Type"] == "local"
    limits = container_options(make_job("true", raise_limits=True))["HostConfig"]["Ulimits"]
    assert {each["Name"]: each["Hard"] for each in limits} == {"memlock": -1, "stack": 64 * MIB}
    kept = container_options(make_job("true", raise_limits=False))["HostConfig"]
    assert kept["Ulimits"] == []
    assert host["Memory"] == host["MemorySwap"] == 7 * GIB
    assert host["ShmSize"] == 7 * GIB // 2
    assert options["Cmd"][-1] == "true"
    plain = container_options(make_job("true", plain_shell=True))
    assert plain["Cmd"] == ["sh", "-c", "true"]
    assert options["WorkingDir"] == "/work"


def test_labels_say_whose_it_is_and_cannot_be_forged() -> None:
    job = make_job("true", gpus=("GPU-a", "GPU-b"), labels={"hostler.daemon": "x", "team": "nlp"})
    labels = container_options(job)["Labels"]
    assert labels == {
        "team": "nlp",
        "hostler.daemon": "d" * 32,
        "hostler.attempt": job.attempt_id,
        "hostler.run": "run",
        "hostler.stage": "stage",
        "hostler.owner": "anna",
        "hostler.gpus": "GPU-a,GPU-b",
    }


def test_gpus_are_given_by_uuid_or_not_at_all() -> None:
    job = make_job("true", gpus=("GPU-a",), gpu_access="nvidia")
    options = container_options(job)
    assert options["HostConfig"]["DeviceRequests"] == [
        {"Driver": "nvidia", "DeviceIDs": ["GPU-a"], "Capabilities": [["gpu"]]}
    ]
    assert "NVIDIA_VISIBLE_DEVICES" not in _env(options)
    cdi = container_options(dataclasses.replace(job, gpu_access="cdi"))
    assert cdi["HostConfig"]["DeviceRequests"] == [
        {"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=GPU-a"]}
    ]
    none = container_options(make_job("true", env={"NVIDIA_VISIBLE_DEVICES": "all"}))
    assert "DeviceRequests" not in none["HostConfig"]
    assert _env(none)["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert _env(none)["CUDA_VISIBLE_DEVICES"] == ""


def test_only_containers_with_gpus_past_the_engine_are_asked_whether_they_may_open_them() -> None:
    job = make_job("true", gpus=("GPU-a",), gpu_access="nvidia")
    check = container_options(job)["Healthcheck"]
    assert check["Test"][:2] == ["CMD", "test"]
    assert check["Retries"] == 1
    for other in (make_job("true"), dataclasses.replace(job, gpu_access="cdi")):
        assert container_options(other)["Healthcheck"] == {"Test": ["NONE"]}


def test_what_hostler_says_wins_over_the_stage() -> None:
    job = make_job("true", env={"HOSTLER_RUN": "forged", "A": "b=c"}, checkpoint="ckpt/")
    env = _env(container_options(job))
    assert env["HOSTLER_RUN"] == "run"
    assert env["A"] == "b=c"
    assert env["HOSTLER_METRICS"] == "/work/.hostler/metrics.jsonl"
    assert env["HOSTLER_CHECKPOINT"] == "/work/ckpt"
    assert env["HOME"] == "/work/.hostler/home"


def test_what_was_granted_is_said() -> None:
    job = make_job("true", gpus=("GPU-a", "GPU-b"), gpu_access="nvidia")
    env = _env(container_options(dataclasses.replace(job, cpus=0.5, ram=3 * GIB)))
    granted = [env[f"HOSTLER_{name}"] for name in ("GPU_COUNT", "CPUS", "RAM_BYTES")]
    assert granted == ["2", "0.5", str(3 * GIB)]
    # A container that asks for no memory has a limit all the same.
    limited = container_options(dataclasses.replace(job, ram=None, host_memory=64 * GIB))
    assert _env(limited)["HOSTLER_RAM_BYTES"] == str(limited["HostConfig"]["Memory"])
    unknown = dataclasses.replace(job, ram=None, host_memory=None)
    assert "HOSTLER_RAM_BYTES" not in _env(container_options(unknown))


@pytest.mark.parametrize(
    ("image", "path"),
    [
        (["A=1", "PATH=/opt/conda/bin:/bin"], "/opt/conda/bin:/bin"),
        (["PATH="], DEFAULT_PATH),
        ([], DEFAULT_PATH),
    ],
)
def test_programs_of_the_user_come_after_the_images_path(image: list[str], path: str) -> None:
    body = with_user_programs(container_options(make_job("true")), image)
    assert _env(body)["PATH"] == f"{path}:/work/.hostler/home/.local/bin"


def test_a_path_that_the_stage_sets_stays() -> None:
    body = container_options(make_job("true", env={"PATH": "/mine"}))
    assert with_user_programs(body, ["PATH=/bin"]) == body


def test_commands_of_slurm_come_before_every_path() -> None:
    job = make_job("true", slurm_commands=True)
    env = _env(with_user_programs(container_options(job), ["PATH=/bin"]))
    assert env["PATH"] == "/.hostler-commands:/bin:/work/.hostler/home/.local/bin"
    assert env["HOSTLER_COMMANDS"] == "/.hostler-commands"
    mine = dataclasses.replace(job, env={"PATH": "/mine"})
    body = with_user_programs(container_options(mine), ["PATH=/bin"])
    assert _env(body)["PATH"] == "/.hostler-commands:/mine"


def test_commands_of_slurm_are_not_the_stages_to_change() -> None:
    packed = pack(make_job("true", slurm_commands=True), [])
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        found = {entry.name: entry for entry in tar if entry.name.startswith(".hostler")}
    assert {(entry.uid, entry.gid, entry.mode) for entry in found.values()} == {(0, 0, 0o755)}
    assert ".hostler-commands/srun" in found


def test_home_is_the_persons_own_where_it_is_mounted() -> None:
    mounted = make_job("true", mounts=(Mount("/home"),))
    assert _env(container_options(mounted))["HOME"] == "/home/anna"
    beside = make_job("true", mounts=(Mount("/home/ann"),))
    assert _env(container_options(beside))["HOME"] == "/work/.hostler/home"


def _binds(options: Any) -> list[dict[str, Any]]:
    return [mount for mount in options["HostConfig"]["Mounts"] if mount["Type"] == "bind"]


def test_mounts_follow_the_host_and_are_read_only_unless_asked() -> None:
    job = make_job("true", mounts=(Mount("/data/"), Mount("/scratch", read_only=False)))
    seen = {"/data/": Seen("/net/nas/data"), "/scratch": Seen("/scratch", private=True)}
    binds = _binds(container_options(job, seen))
    # Where the link led when it was looked at: Docker follows none that is changed afterwards.
    assert [(b["Source"], b["Target"], b["ReadOnly"]) for b in binds] == [
        ("/net/nas/data", "/data", True),
        ("/scratch", "/scratch", False),
    ]
    assert [b["BindOptions"]["Propagation"] for b in binds] == ["rslave", "rprivate"]


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/etc",
        "/etc/",
        "//etc",
        "/data/../etc",
        "/etc/ssh",
        "/proc/1",
        "/sys/fs/cgroup",
        "/dev/sda",
        "/dev/shm/x",
        "/boot/grub",
        "/run/systemd",
        "/run/media",
        "/var/run/dbus",
        "/var/run/docker.sock",
        "/proc",
        "data",
        "/work",
        "/var",
        "/var/lib/docker",
        "/var/lib/docker/volumes/x",
        "/run/containerd",
        "/run/user/1/docker.sock",
        "/run/user/1000",
    ],
)
def test_what_would_give_the_host_away_is_never_mounted(path: str) -> None:
    with pytest.raises(InputError):
        container_options(make_job("true", mounts=(Mount(path),)))


@pytest.mark.parametrize("real", ["/", "/etc/ssh", "//etc", "/data/../run/x", "data"])
def test_a_link_to_what_would_give_the_host_away_is_not_either(real: str) -> None:
    job = make_job("true", mounts=(Mount("/data"),))
    with pytest.raises(InputError):
        container_options(job, {"/data": Seen(real)})


@pytest.mark.parametrize("path", ["/data", "/etcetera", "/run/media/anna/disk", "/var/lib/data"])
def test_folders_of_data_are_mounted(path: str) -> None:
    options = container_options(make_job("true", mounts=(Mount(path),)))
    assert [bind["Source"] for bind in _binds(options)] == [path]


def test_a_mount_may_appear_at_another_path() -> None:
    job = make_job(
        "true",
        mounts=(Mount("/lab/work", target="/root/.cache/hf"), Mount("/lab/out", False, "/output")),
    )
    binds = _binds(container_options(job, {"/lab/work": Seen("/nas/work")}))
    assert [(b["Source"], b["Target"], b["ReadOnly"]) for b in binds] == [
        ("/nas/work", "/root/.cache/hf", True),
        ("/lab/out", "/output", False),
    ]
    assert mount_targets(job) == ["/root/.cache/hf", "/output"]
    assert bind_paths(job) == ["/lab/work", "/lab/out"]
    elsewhere = make_job("true", mounts=(Mount("/home", target="/output"),))
    assert _env(container_options(elsewhere))["HOME"] == "/work/.hostler/home", "it is not there"


CLOSED = [
    "/", "/work", "/work/x", "/run", "/run/secrets", "/run/secrets/x", "/var", "/var/run",
    "/var/run/secrets", "/proc", "/proc/1", "/sys", "/dev", "/dev/shm", "/etc", "/etc/ssl", "/usr",
    "/usr/bin", "/usr/lib/x", "/lib", "/lib64", "/bin", "/sbin", "/usr/share",
    "/usr/local", "/usr/local/cuda", "/usr/local/cuda/compat", "/usr/local/cuda-12.4/lib64",
    "output", "", "/a/../work", "/a/", "//a", "/a//b", "/./a", "/a/.", "/a\nb",
]  # fmt: skip


@pytest.mark.parametrize("target", CLOSED)
def test_no_mount_appears_where_others_have_files(target: str) -> None:
    with pytest.raises(ValueError, match=r"path|mounted|empty|line"):
        read_mount_target(target)
    with pytest.raises(InputError):
        container_options(make_job("true", mounts=(Mount("/data", target=target),)))


@pytest.mark.parametrize(
    "target", ["/output", "/workspace", "/root/.cache", "/usr/local/x", "/runs"]
)
def test_other_places_are_open(target: str) -> None:
    assert read_mount_target(target) == target


@pytest.mark.parametrize(
    "mounts",
    [
        (Mount("/a", target="/x"), Mount("/b", target="/x")),
        (Mount("/a", target="/x"), Mount("/b", target="/x/y/z")),
        (Mount("/a", target="/x/y"), Mount("/x")),
        (Mount("/a", target="/x"), Mount("/x/y/")),
        (Mount("/a", target="/home/anna/x/y"),),
    ],
)
def test_no_mount_lies_in_another(mounts: tuple[Mount, ...]) -> None:
    """Docker would make the inner one's folder in the outer one's, as root and through links."""
    with pytest.raises(InputError, match="one is inside the other"):
        container_options(make_job("true", mounts=mounts, code_path="/home/anna/x"))


@pytest.mark.parametrize("path", ["/etc", "/var/lib/docker", "/"])
def test_another_path_opens_no_folder_of_the_host(path: str) -> None:
    with pytest.raises(InputError, match="never mounted"):
        container_options(make_job("true", mounts=(Mount(path, target="/x"),)))
    job = make_job("true", mounts=(Mount("/data", target="/x"),))
    with pytest.raises(InputError, match="never mounted"):
        container_options(job, {"/data": Seen(path)})


def test_code_here_is_seen_also_where_its_folder_is_mounted_elsewhere() -> None:
    job = make_job("true", mounts=(Mount("/home/a", False, "/x"),), code_path="/home/a")
    binds = _binds(container_options(job))
    assert [(b["Source"], b["Target"]) for b in binds] == [
        ("/home/a", "/x"),
        ("/home/a", "/home/a"),
    ]


def test_code_here_is_the_folder_itself() -> None:
    options = container_options(make_job("true", code_path="/home/anna/x", workdir="sub"))
    assert options["WorkingDir"] == "/home/anna/x/sub"
    (bind,) = _binds(options)
    assert (bind["Source"], bind["ReadOnly"]) == ("/home/anna/x", False)


def test_limits() -> None:
    assert memory_limit(make_job("true", ram=GIB)) == GIB
    assert memory_limit(make_job("true", host_memory=64 * GIB)) == 56 * GIB
    assert memory_limit(make_job("true", host_memory=2 * GIB)) == GIB
    assert memory_limit(make_job("true", host_memory=None)) is None
    log = container_options(make_job("true", log_cap=8 * MIB))["HostConfig"]["LogConfig"]["Config"]
    assert log == {"max-size": f"{2 * MIB}b", "max-file": "5", "compress": "false"}


@pytest.mark.parametrize(
    "changes", [{"uid": None}, {"image": None}, {"checkpoint": "../x", "checkpoint_key": "k"}]
)
def test_what_cannot_be_a_container_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        container_options(make_job("true", **changes))


@given(st.text(alphabet="a./\0", max_size=12))
def test_relative_paths_stay_inside(path: str) -> None:
    try:
        clean = relative(path)
    except InputError:
        return
    assert not clean.startswith(("/", "../"))
    assert clean not in (".", "..")
    assert ".." not in clean.split("/")
    assert relative(clean) == clean


def test_folders_come_with_their_parents_first() -> None:
    job = make_job(
        "true", checkpoint="a/b", workdir="c", placements=(Placement("0" * 64, 1, "inputs/x"),)
    )
    assert reserved(job) == [".hostler", "a", "a/b", "inputs", "inputs/x"]


def _tar(*entries: tarfile.TarInfo) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for entry in entries:
            tar.addfile(entry, io.BytesIO(b"x" * entry.size))
    return made.getvalue()


def _entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.mode = kind, link, 0o750
    entry.size = 3 if kind == tarfile.REGTYPE else 0
    return entry


def test_packed_files_belong_to_the_person() -> None:
    long = "d/" + "n" * 150
    archive = _tar(
        _entry(long), _entry("l", tarfile.LNKTYPE, long), _entry("s", tarfile.SYMTYPE, "l")
    )
    packed = pack(make_job("true"), [("in", archive)])
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        found = {entry.name: entry for entry in tar}
    assert list(found) == [
        "work", "work/.hostler", "work/.hostler/home", "work/.hostler/metrics.jsonl", "work/in",
        "work/in/d", f"work/in/{long}", "work/in/l", "work/in/s",
    ]  # fmt: skip
    # Root reads the metrics: their folder is not the stage's, which may write the file alone.
    roots = [found.pop("work/.hostler"), found.pop("work/.hostler/metrics.jsonl")]
    assert [(entry.uid, entry.mode) for entry in roots] == [(0, 0o755), (0, 0o666)]
    assert {(entry.uid, entry.gid) for entry in found.values()} == {(1234, 1235)}
    assert found[f"work/in/{long}"].mode == 0o750
    assert found["work/in/l"].linkname == f"work/in/{long}"
    assert found["work/in/s"].linkname == "l"


@pytest.mark.parametrize("archive", [b"no tar at all", _tar(_entry("../x"))])
def test_a_bad_archive_is_refused(archive: bytes) -> None:
    with pytest.raises(InputError):
        pack(make_job("true"), [("", archive)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mkdir /var/lib/docker/overlay2/x: no space left on device",
         "no space on gpu1: /var/lib/docker/overlay2/x"),
        ("write /data/docker/x: no space left on device", "no space on gpu1: /data/docker/x"),
        ("no space left on device", "no space on gpu1: Docker's data folder"),
        ("chown /var/lib/docker/overlay2/fb0-init/work/work: no such file or directory",
         "Docker on gpu1 cannot make the folders of a container"),
        ('could not select device driver "nvidia" with capabilities: [[gpu]]',
         "Docker on gpu1 has no way to give GPUs to containers"),
        ("nvidia-container-cli: device error: GPU-x: unknown device",
         "Docker on gpu1 does not know the GPU: "
         "nvidia-container-cli: device error: GPU-x: unknown device"),
        ("invalid mount config: bind source path does not exist: /data",
         "/data does not exist on gpu1"),
        ('exec: "pyton": executable file not found in $PATH',
         "command 'pyton' was not found in the image"),
        ("Got permission denied while trying to connect to the Docker daemon socket",
         "this login may not use Docker on gpu1"),
        ("something else", "starting: something else"),
        ("", "starting: Docker answered 500"),
    ],
)  # fmt: skip
def test_refusals_in_words(text: str, message: str) -> None:
    error = engine_error("gpu1", "starting", 500, text)
    assert (error.message, error.status, error.host) == (message, 500, "gpu1")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("pull access denied for x, repository does not exist", "refused x"),
        ("Head https://r/v2/x: unauthorized: authentication required", "refused x"),
        ("manifest for x:y not found: manifest unknown: manifest unknown", "there is no image x"),
        ("Get https://registry-1.docker.io/v2/: dial tcp: lookup: no such host", "cannot reach"),
        ("toomanyrequests: You have reached your pull rate limit", "pull limit"),
        ("failed to register layer: no space left on device", "no space on gpu1"),
        ("what", "pulling x: what"),
    ],
)
def test_failed_pulls_in_words(text: str, part: str) -> None:
    assert part in pull_error("gpu1", "x", 0, text).message


def _inspected(**state: Any) -> dict[str, Any]:
    labels = {"hostler.daemon": "d", "hostler.attempt": "a", "hostler.gpus": ""}
    zero = "0001-01-01T00:00:00Z"
    begin = {"Status": "created", "Running": False, "ExitCode": 0, "StartedAt": zero}
    return {
        "Id": "c1", "Name": "/hostler-d-a", "Config": {"Labels": labels},
        "State": {**begin, "FinishedAt": zero, **state},
    }  # fmt: skip


def test_labels_that_an_image_brought_along_make_nothing_ours() -> None:
    """Docker gives an image's labels to each of its containers; the name is Hostler's alone."""
    assert workload_from_inspect(_inspected()) is not None
    for name in ("/box", "/hostler-d-b", "/hostler-e-a", "", "/x/hostler-d-a"):
        assert workload_from_inspect({**_inspected(), "Name": name}) is None
    job = make_job("true", daemon_id="d" * 32)
    made: Any = {"Id": "c1", "Name": f"/{job.name}", "Config": {"Labels": labels(job)}, "State": {}}
    assert workload_from_inspect(made) is not None


def test_states() -> None:
    created = workload_from_inspect(_inspected())
    assert created is not None
    assert (created.created_only, created.exit_code, created.started_at) == (True, None, None)
    running = workload_from_inspect(
        _inspected(Status="running", Running=True, StartedAt="2026-11-24T14:16:36.25Z")
    )
    assert running is not None
    assert (running.running, running.exit_code, running.finished_at) == (True, None, None)
    assert running.started_at == 1795529796.25
    ended = workload_from_inspect(
        _inspected(
            Status="exited", ExitCode=137, OOMKilled=True, StartedAt="2026-11-24T14:16:36Z",
            FinishedAt="2026-11-24T15:16:36+01:00",
        )
    )  # fmt: skip
    assert ended is not None
    assert (ended.exit_code, ended.signal, ended.oom_killed) == (137, 9, True)
    assert ended.started_at == ended.finished_at
    assert workload_from_inspect({"Id": "x", "Config": {"Labels": None}, "State": {}}) is None


@pytest.mark.parametrize(
    ("status", "codes", "cut_off"),
    [
        ("unhealthy", [0, 1], True),
        ("unhealthy", [-1], False),  # an image without `test`, or no process more allowed
        ("unhealthy", [1, 127], False),
        ("unhealthy", [], False),
        ("healthy", [1, 0], False),
        ("starting", [1], False),
    ],
)
def test_only_a_check_that_was_made_tells_of_a_lost_way(
    status: str, codes: list[int], cut_off: bool
) -> None:
    health = {"Status": status, "Log": [{"ExitCode": code} for code in codes]}
    for state in ({"Status": "running", "Running": True}, {"Status": "exited", "ExitCode": 1}):
        found = workload_from_inspect(_inspected(**state, Health=health))
        assert found is not None
        assert found.gpu_cut_off is cut_off


@given(st.text(max_size=40))
def test_no_text_is_a_time_by_accident(text: str) -> None:
    assert epoch_ns(text) is None


def test_pull_progress_adds_up_layers() -> None:
    state = PullProgress()
    assert (state.done, state.total) == (0, None)
    for layer, status, current in (("a", "Downloading", 10), ("b", "Downloading", 5)):
        detail: Any = {"current": current, "total": 100}
        state.update({"id": layer, "status": status, "progressDetail": detail})
    state.update({"id": "a", "status": "Extracting", "progressDetail": {"current": 1, "total": 9}})
    assert (state.done, state.total) == (15, 200)
    state.update({"id": "b", "status": "Download complete", "progressDetail": {}})
    state.update({"status": "Digest: sha256:0"})
    assert (state.done, state.total) == (110, 200)


def test_push_progress_adds_up_layers() -> None:
    state = PullProgress()
    for layer, current in (("a", 10), ("b", 5)):
        detail: Any = {"current": current, "total": 100}
        state.update({"id": layer, "status": "Pushing", "progressDetail": detail})
    state.update({"id": "a", "status": "Pushed", "progressDetail": {}})
    state.update({"id": "c", "status": "Layer already exists", "progressDetail": {}})
    assert (state.done, state.total) == (105, 200)


@pytest.mark.parametrize("changes", [
    {"image": f"sha256:{'a' * 64}"}, {"image": "image", "image_digest": f"sha256:{'a' * 64}"},
])  # fmt: skip
async def test_an_id_is_asked_of_no_registry(changes: dict[str, Any]) -> None:
    """Then the image is copied from another host."""
    link: Any = SimpleNamespace(host="gpu1")
    engine: Any = None
    with pytest.raises(NoImage, match="no reachable host, gpu1 included, has the image"):
        await pull_for(link, engine, make_job("true", **changes), silent)
