"""The trees of the two container images, as tar archives for `docker import`.

Nothing is pulled: busybox comes from this machine, Python from the hosts' Debian base.
"""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
from collections.abc import Collection
from pathlib import Path

from tests.lab.layout import LabError

CHANGES = (
    "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "ENV LANG=C.UTF-8",
    'CMD ["/bin/sh"]',
)
"""`docker import --change` for both images."""

_FOLDERS = ("dev", "etc", "proc", "root", "sys", "tmp", "usr/bin", "usr/lib", "usr/sbin", "var/tmp")
_LINKS = {"bin": "usr/bin", "lib": "usr/lib", "sbin": "usr/sbin", "lib64": "usr/lib64"}
_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
# Of the standard library, what no job of a test needs.
_SKIPPED = re.compile(
    r"/(test|idlelib|turtledemo|tkinter|ensurepip|lib2to3|pydoc_data|__pycache__)(/|$)"
)
_LIBRARIES = Path("usr/lib/x86_64-linux-gnu")


def busybox(target: Path) -> None:
    """A tree with a static busybox and a link for each of its tools."""
    with tarfile.open(target, "w") as tar:
        _skeleton(tar)
        _busybox(tar)


def python(target: Path, base: Path) -> None:
    """The same, and the base's python3 with its standard library and shared libraries. Its `test`
    is the base's too: it asks the kernel, where that of busybox reckons by itself."""
    with tarfile.open(target, "w") as tar:
        _skeleton(tar)
        _busybox(tar, but=("test",))
        tar.add(base / "usr/bin/test", "usr/bin/test")
        _folder(tar, "usr/lib64")
        _folder(tar, str(_LIBRARIES))  # also where the referee puts libnvidia-ml.so.1
        binary = (base / "usr/bin/python3").resolve()
        tar.add(binary, f"usr/bin/{binary.name}")
        for link in ("python3", "python"):
            _link(tar, f"usr/bin/{link}", binary.name)
        library = f"usr/lib/{binary.name}"
        tar.add(base / library, library, filter=_wanted)
        modules = list((base / library / "lib-dynload").glob("*.so"))
        for path in sorted(_needed(base, [binary, *modules])):
            tar.add((base / path.lstrip("/")).resolve(), path.lstrip("/"))


def _wanted(item: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if _SKIPPED.search(item.name) else item


def _needed(base: Path, binaries: list[Path]) -> set[str]:
    """Shared libraries of programs of the base, as `ldd` in it says; with the loader."""
    inside = ["/" + str(path.relative_to(base)) for path in binaries]
    done = subprocess.run(
        ["chroot", base, "ldd", *inside], capture_output=True, text=True, check=False
    )
    found = set(re.findall(r"=> (/\S+) \(", done.stdout))
    loader = set(re.findall(r"^\s+(/lib64/\S+) \(", done.stdout, re.MULTILINE))
    if not found or not loader:
        raise LabError(f"ldd in {base} found no libraries: {done.stderr.strip()}")
    # /lib is a link in the image as in the base: name files where they really are.
    return {re.sub(r"^/(lib|lib64)/", r"/usr/\1/", path) for path in found | loader}


def _skeleton(tar: tarfile.TarFile) -> None:
    for name in _FOLDERS:
        _folder(tar, name, 0o1777 if name.endswith("tmp") else 0o755)
    for name, to in _LINKS.items():
        _link(tar, name, to)
    for name, text in _FILES.items():
        item = tarfile.TarInfo(name)
        item.size, item.mode = len(text.encode()), 0o644
        tar.addfile(item, io.BytesIO(text.encode()))


def _folder(tar: tarfile.TarFile, name: str, mode: int = 0o755) -> None:
    item = tarfile.TarInfo(name)
    item.type, item.mode = tarfile.DIRTYPE, mode
    tar.addfile(item)


def _link(tar: tarfile.TarFile, name: str, to: str) -> None:
    item = tarfile.TarInfo(name)
    item.type, item.linkname = tarfile.SYMTYPE, to
    tar.addfile(item)


def _busybox(tar: tarfile.TarFile, but: Collection[str] = ()) -> None:
    path = next((p for p in map(Path, ("/bin/busybox", "/usr/bin/busybox")) if p.exists()), None)
    if path is None:
        raise LabError("busybox is not installed: see tests/lab/packages.txt")
    tar.add(path.resolve(), "usr/bin/busybox")
    tools = subprocess.run([path, "--list"], capture_output=True, text=True, check=True)
    for name in tools.stdout.split():
        if name not in ("busybox", *but):
            _link(tar, f"usr/bin/{name}", "busybox")
