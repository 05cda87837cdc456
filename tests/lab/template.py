"""The template disk: a host is booted once, both images are imported, its disk is kept.

Copying it takes a fraction of a second; loading the images in every host would take seconds.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

from tests.lab import clean, images
from tests.lab.build import cached, digest
from tests.lab.disk import copy_disk, edit_disk, new_disk
from tests.lab.files import write_share
from tests.lab.host import Host, HostState
from tests.lab.kit import Kit
from tests.lab.layout import BUSYBOX, CACHE, HERE, PYTHON, LabPaths
from tests.lab.net import Net
from tests.lab.system import wait_until

_TREES = {BUSYBOX: "busybox.tar", PYTHON: "python.tar"}


def complete(kit: Kit) -> Kit:
    """The kit with its template disk, made if the cache has none (about 20 s)."""
    sources = [(HERE / name).read_bytes() for name in ("images.py", "template.py", "disk.py")]
    key = digest(kit.base.name, *sources)
    template = cached(f"template-{key}.img", lambda target: _make(kit, target))
    return dataclasses.replace(kit, template=template)


def archive(image: str) -> Path:
    """The image as an archive for `docker load`; there once a lab was up."""
    return CACHE / "images" / _TREES[image]


def _make(kit: Kit, target: Path) -> None:
    lab = LabPaths("hlabbase")
    host = Host(
        HostState("gpu1", 1, without=["nvml", "nvidia-docker"]), lab, Net("hlabbase", 0), kit
    )
    clean.destroy(lab.name)  # what a builder that was killed left
    for folder in (host.paths.stage, lab.referee, host.paths.share):
        folder.mkdir(parents=True)
    try:
        new_disk(host.paths.disk)
        write_share(host, lab, kit, hosts="127.0.0.1 localhost\n")
        host.boot()
        host.wait_docker()
        _import(host, kit)
        _stop_docker(host)
        host.power_off()
        # Each host is to have an engine id, and a root, of its own.
        edit_disk(host.paths.disk, "rm -rf upper work docker/engine-id docker/filler")
        copy_disk(host.paths.disk, target)
    finally:
        clean.destroy(lab.name)


def _import(host: Host, kit: Kit) -> None:
    share = host.paths.share
    images.busybox(share / _TREES[BUSYBOX])
    images.python(share / _TREES[PYTHON], kit.base)
    changes = [word for change in images.CHANGES for word in ("--change", change)]
    (CACHE / "images").mkdir(exist_ok=True)
    for image, tree in _TREES.items():
        host.docker("import", *changes, f"/run/hostler-lab/{tree}", image)
        host.docker("save", "-o", f"/run/hostler-lab/saved-{tree}", image)
        shutil.copy(share / f"saved-{tree}", archive(image).with_suffix(".part"))
        os.replace(archive(image).with_suffix(".part"), archive(image))


def _stop_docker(host: Host) -> None:
    pid = host.docker_pid()
    assert pid is not None
    host.kill(pid, 15)
    wait_until(lambda: not host.runs(pid), "the end of dockerd")
