"""An image of one host, made there or built by a stage, is brought to others without a network."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from hostler.base.units import KIB, MIB
from tests.lab.host import Host
from tests.lab.lab import Lab
from tests.lab.layout import BUSYBOX
from tests.support.machines.desk import Desk, desk_folder, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

IMAGE = "lab/only-here:1"
ONE = f"""
name = "t"
[defaults]
image = "{IMAGE}"
code = "none"
[stages.one]
command = ["cat", "/marker"]
resources = {{ host = "gpu2" }}
"""
TWO = """
[stages.two]
command = ["cat", "/marker"]
resources = { host = "gpu3" }
"""
SETUP = """
[stages.set-up-on-{host}]
setup = "echo made by $(id -u) >> /marker"
command = ["cat", "/marker"]
resources = {{ host = "{host}" }}
"""
BUILD = """
name = "built"
[stages.image]
kind = "build"
resources = { host = "gpu1" }
"""
USER = """
[stages.on-{host}]
image = "image"
code = "none"
command = ["tail", "-n", "1", "/code"]
resources = {{ host = "{host}" }}
"""
DOCKERFILE = """\
FROM lab/base:1
COPY code /code
CMD ["tail", "-n", "1", "/code"]
"""


NO_SPACE = "no space on gpu2"
STEPS = (
    "after_image_tag", "after_image_blob", "after_image_push", "after_image_take",
    "after_image_put", "after_image_load", "after_create",
)  # fmt: skip


def make_image(host: Host, marker: str, size: int = 0) -> None:
    """An image with a layer of its own, as a person makes one by hand; so many MiB of noise."""
    noise = f"head -c {size * MIB} /dev/urandom > /noise"
    host.docker("run", "--name", "made", BUSYBOX, "sh", "-c", f"echo {marker} > /marker; {noise}")
    host.docker("commit", "made", IMAGE)
    host.docker("rm", "made")


def names(host: Host) -> set[str]:
    """Of all images there."""
    shown = host.docker("images", "--format", "{{.Repository}}:{{.Tag}}")
    return set(shown.split())


def image_of(run: dict[str, Any]) -> str:
    """The id of what its stage `image` built."""
    (built,) = [each for each in run["stages"] if each["name"] == "image"]
    return str(built["attempts"][-1]["image_digest"])


def blob_bytes(host: Host) -> int:
    """Of all that daemons sent there and that is still there, also those of other tests."""
    blobs = "cat /var/tmp/hostler-*/blobs/* 2>/dev/null | wc -c"
    return int(host.exec(["sh", "-c", blobs]).stdout)


def told(run: dict[str, Any]) -> list[str]:
    """Why its attempts ended as they did."""
    return [str(each["detail"]) for stage in run["stages"] for each in stage["attempts"]]


def test_an_image_of_one_host_is_brought_to_those_that_need_it(clean_lab: Lab, desk: Desk) -> None:
    source, *targets = [clean_lab.host(name) for name in ("gpu1", "gpu2", "gpu3")]
    make_image(source, "first")
    before, held = names(source), {target.name: blob_bytes(target) for target in targets}
    run_id = desk.submit(ONE + TWO)
    run = desk.ended(run_id)
    assert run["outcome"] == "succeeded", told(run)
    assert [desk.output(run_id, name) for name in ("one", "two")] == ["first\n"] * 2
    assert names(source) == before
    for target in targets:
        assert IMAGE not in names(target)
        assert any("/only-here:" in name for name in names(target))
        assert blob_bytes(target) - held[target.name] < 100_000
    listed = desk.ok("images", "ls", "--json").json
    assert [(each["name"], each["host"]) for each in listed["images"]] == [(IMAGE, "gpu1")]
    sent = desk.ok("images", "send", IMAGE, "gpu2", "gpu3").out
    assert sent.count("/only-here:") == 2
    both = desk.run(ONE + "".join(SETUP.format(host=target.name) for target in targets))
    assert both["outcome"] == "succeeded", told(both)
    for target in targets:
        said = desk.output(both["run_id"], f"set-up-on-{target.name}")
        assert said.endswith("first\nmade by 0\n")
    lost = desk.hostler("images", "send", "lab/nowhere:1", "gpu2")
    assert lost.code == 1
    assert "no connected host besides gpu2 has lab/nowhere:1" in lost.out
    source.docker("rmi", IMAGE)
    wait_until(
        lambda: not any(target.containers_of(both["run_id"]) for target in targets),
        "its containers are removed",
    )
    for target in targets:
        made = [name for name in names(target) if "/only-here:" in name]
        target.docker("rmi", *made)
    again = desk.run(ONE + TWO)
    assert again["outcome"] == "succeeded", told(again)
    assert all(any("/only-here:" in name for name in names(target)) for target in targets)
    desk.ok("images", "rm", IMAGE)
    desk.ok("gc", "-y")
    assert not any("/only-here:" in name for target in targets for name in names(target))


@contextmanager
def containerd_store(host: Host) -> Iterator[None]:
    """The host's Docker keeps its images in containerd's store meanwhile."""
    settings = "/etc/docker/daemon.json"
    had = host.exec(["cat", settings], check=False).stdout
    try:
        host.kill_docker()
        host.exec(["mkdir", "-p", "/etc/docker"])
        text = '{"features": {"containerd-snapshotter": true}}'
        host.exec(["tee", settings], text=text)
        host.start_docker(driver="overlayfs")
        yield
    finally:
        host.kill_docker()
        host.exec(["tee", settings], text=had) if had else host.exec(["rm", settings])
        host.start_docker()


def cached(host: Host) -> int:
    """Bytes that came to the host: nothing is removed there."""
    return int(host.exec(["sh", "-c", "cat /var/tmp/hostler-*/blobs/* | wc -c"]).stdout)


def kept(desk: Desk) -> int:
    """Bytes that the daemon keeps: images, and sources of runs."""
    blobs = (desk.state / "content").rglob("*")
    return sum(blob.stat().st_size for blob in blobs if blob.is_file())


def test_a_built_image_runs_on_hosts_of_both_stores_and_a_change_moves_little(
    clean_lab: Lab, desk: Desk
) -> None:
    """Base of 8 MiB, code of 1 MiB."""
    hosts = [clean_lab.host(name) for name in ("gpu1", "gpu2", "gpu3")]
    source, *targets = hosts
    source.docker(
        "run", "--name", "base", BUSYBOX, "dd", "if=/dev/urandom", "of=/base", "bs=1M", "count=8"
    )
    source.docker("commit", "base", "lab/base:1")
    source.docker("rm", "base")
    (desk.work / "Dockerfile").write_text(DOCKERFILE)
    noise, pipeline = os.urandom(MIB), BUILD + "".join(USER.format(host=h.name) for h in hosts)
    with containerd_store(hosts[2]):
        for line in ("first", "second"):
            before = [*map(cached, targets), kept(desk)] if line == "second" else []
            (desk.work / "code").write_bytes(noise + f"\n{line}\n".encode())
            begun = time.monotonic()
            run = desk.run(pipeline)
            took = time.monotonic() - begun
            assert run["outcome"] == "succeeded", told(run)
            said = [desk.output(run["run_id"], f"on-{host.name}") for host in hosts]
            assert said == [f"{line}\n"] * 3
        moved = {h.name: cached(h) - was for h, was in zip(targets, before, strict=False)}
        assert all(MIB < size < 1.1 * MIB + 64 * KIB for size in moved.values())
        print(f"a changed line on three hosts: {took:.1f} s, bytes moved to each: {moved}")
        by_id = USER.format(host="gpu3").replace('"image"', f'"{image_of(run)}"')
        again = desk.run(f'name = "by-id"\n{by_id}')
        assert desk.output(again["run_id"], "on-gpu3") == "second\n", told(again)
        assert any(f"/{run['run_id']}:image" in name for name in names(source))
        desk.ok("rm", run["run_id"], "-y")
        desk.ok("gc", "-y")
        assert not any(f"/{run['run_id']}:image" in name for name in names(source))
        source_of_run = MIB + 64 * KIB
        assert kept(desk) - before[-1] < 1.1 * MIB + 64 * KIB + source_of_run


@pytest.mark.hosts("gpu1", "gpu2")
def test_a_daemon_that_is_killed_at_each_step_goes_on(clean_lab: Lab, desk: Desk) -> None:
    source, target = clean_lab.host("gpu1"), clean_lab.host("gpu2")
    make_image(source, "killed")
    run_id = ""
    for point in STEPS:
        desk.more_env = {"HOSTLER_FAILPOINTS": f"{point}:kill"}
        with contextlib.suppress(AssertionError):  # it may die before it answers
            desk.start_daemon()
        run_id = run_id or desk.submit(ONE)
        desk.wait_death(desk.daemon_pid(), 60)
    desk.more_env = {}
    desk.start_daemon()
    run = desk.ended(run_id)
    assert run["outcome"] == "succeeded", told(run)
    assert len(run["stages"][0]["attempts"]) == 1
    assert desk.output(run_id, "one") == "killed\n"
    wait_until(lambda: not any(n.startswith("127.") for n in names(source)), "a name is left")
    assert IMAGE not in names(target)


def received(host: Host) -> int:
    """Bytes that came to it over the lab's network."""
    return int(host.exec(["cat", "/sys/class/net/eth0/statistics/rx_bytes"]).stdout)


@pytest.mark.hosts("gpu1", "gpu2")
def test_a_transfer_that_is_cut_in_the_middle_goes_on_at_the_byte(
    clean_lab: Lab, desk: Desk
) -> None:
    """Of a layer of 32 MiB, cut by kill -9 of the daemon."""
    source, target = clean_lab.host("gpu1"), clean_lab.host("gpu2")
    make_image(source, "cut", size=32)

    def there() -> int:
        parts = (target.root / "var/tmp").glob("hostler-*/blobs/*.part")
        return max((part.stat().st_size for part in parts), default=0)

    run_id = desk.submit(ONE)
    wait_until(lambda: there() > 8 * MIB, "nothing comes", 60, every=0.02)
    desk.kill_daemon()
    had, before = there(), received(target)
    desk.start_daemon()
    run = desk.ended(run_id)
    assert run["outcome"] == "succeeded", told(run)
    moved = received(target) - before
    print(f"of 32 MiB {had} bytes had come before the cut, {moved} came after it")
    assert moved < 32 * MIB - had + 4 * MIB


@contextmanager
def filled(host: Host, left: int) -> Iterator[None]:
    """So many bytes are left meanwhile of the disk of the host's Docker."""
    free = host.exec(["df", "-B1", "--output=avail", "/var/lib/docker"]).stdout.split()[-1]
    host.exec(["fallocate", "-l", str(int(free) - left), "/var/lib/docker/fill"])
    try:
        yield
    finally:
        host.exec(["rm", "/var/lib/docker/fill"])


@pytest.mark.hosts("gpu3")
def test_a_disk_that_is_full_while_an_image_is_built_is_told(clean_lab: Lab, desk: Desk) -> None:
    """More is left than a host needs for a stage, and less than the build writes."""
    host = clean_lab.host("gpu3")
    text = f"FROM {BUSYBOX}\nRUN dd if=/dev/zero of=/big bs=1M count=300\n"
    (desk.work / "Dockerfile").write_text(text)
    with filled(host, 240 * MIB):
        failed = desk.hostler("build", "--host", "gpu3")
        assert failed.code == 6
        assert "no space on gpu3 while building: [2/2] RUN dd " in failed.err
        assert "hostler gc" in failed.err
        free = host.exec(["df", "-B1", "--output=avail", "/var/lib/docker"]).stdout.split()[-1]
        assert int(free) > 100 * MIB  # Docker has removed what it had written


@pytest.mark.hosts("gpu1", "gpu2")
def test_a_full_disk_and_a_killed_docker_end_no_run(clean_lab: Lab, desk: Desk) -> None:
    """The stage waits for the host, says why, and goes on when it is well again."""
    source, target = clean_lab.host("gpu1"), clean_lab.host("gpu2")
    make_image(source, "full", size=8)
    with filled(target, 11 * MIB):
        run_id = desk.submit(f"{ONE}keep = []\n")

        wait_until(lambda: NO_SPACE in desk.why(run_id), "it says that the disk is full", 60)
        assert NO_SPACE in desk.ok("why", run_id).out
    desk.ok("undrain", "gpu2")
    run = desk.ended(run_id)
    assert run["outcome"] == "succeeded", told(run)
    make_image(source, "dead", size=8)
    desk.ok("daemon", "stop")
    desk.more_env = {"HOSTLER_FAILPOINTS": "after_image_tag:hang=3"}
    desk.start_daemon()
    run_id = desk.submit(ONE)
    wait_until(lambda: any(n.startswith("127.") for n in names(source)), "no push begins", 60)
    source.kill_docker()
    source.start_docker()
    run = desk.ended(run_id)
    assert run["outcome"] == "succeeded", told(run)
    wait_until(lambda: not any(n.startswith("127.") for n in names(source)), "a name is left")


SITE = f"""\
FROM {BUSYBOX}
COPY index.html /www/index.html
EXPOSE 8000
CMD exec busybox httpd -f -p $HOSTLER_PORT -h /www
"""


@pytest.mark.hosts("gpu1", "gpu2")
def test_a_folder_with_a_dockerfile_is_deployed(clean_lab: Lab, desk: Desk) -> None:
    def answer() -> str:
        *_, shown = desk.services()
        (replica,) = shown["replicas"]
        ask = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())"
        address = f"http://127.0.0.1:{replica['port']}/"
        host = clean_lab.host(replica["host"])
        return host.exec(["python3", "-c", ask, address]).stdout.strip()

    def version(text: str, *lines: str) -> None:
        (desk.work / "index.html").write_text(text)
        (desk.work / "Dockerfile").write_text("\n".join((SITE, *lines)))

    version("first")
    assert 'name = "work"' in desk.ok("deploy", "--print").out
    assert "work serves release 1" in desk.ok("deploy", "-y").out
    assert answer() == "first"
    kept = "unchanged, not run again: image"
    assert kept in desk.ok("deploy", "--env", "A=b", "--plan").out
    desk.ok("deploy", "-y", "--env", "A=b")
    version("broken", "RUN echo no room for this; false")
    failed = desk.hostler("deploy", "-y")
    assert (failed.code, answer()) == (6, "first")
    assert "the last of image:" in failed.err
    assert "  no room for this" in failed.err or "echo no room for this" in failed.err
    version("second")
    assert "code: " in desk.ok("deploy", "--plan").out
    desk.ok("deploy", "-y")
    assert answer() == "second"
    desk.ok("rollback", "work", "-y")
    assert answer() == "first"
    stages = desk.show(desk.releases("work")[0]["run_id"])["stages"]
    assert [stage["kept"] for stage in stages] == [True, False]


@pytest.mark.hosts("gpu1", "gpu2")
def test_a_name_for_an_image_is_each_persons_own(clean_lab: Lab, desk: Desk) -> None:
    """Of two people who build under one name on one host."""
    with desk_folder() as folder:
        people = {
            "ana": desk,
            "bo": Desk.at_lab(clean_lab, folder, user="bo", hosts=("gpu1", "gpu2")),
        }
        for name, person in people.items():
            (person.work / "Dockerfile").write_text(f"FROM {BUSYBOX}\nRUN echo {name} > /marker\n")
            person.ok("build", "--host", "gpu1", "-t", "train")
        for name, person in people.items():
            asked = ("--image", "train", "--host", "gpu2", "--", "cat", "/marker")
            run_id = person.ok("run", "-d", *asked).out.strip()
            assert person.ended(run_id)["outcome"] == "succeeded"
            assert person.output(run_id, "run") == f"{name}\n"
        people["bo"].close()
    assert "train:latest" not in names(clean_lab.host("gpu1"))
