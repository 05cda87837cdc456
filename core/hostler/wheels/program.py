"""The separate process that downloads wheels with pip or lists the available ones: pip's arguments,
limits of memory and pages, exit codes.

Run by `python -I`, with what is wanted as JSON on stdin (no argument shows where packages come
from), an empty environment, and an empty folder. It ends with its daemon. pip is that
of this Python, or the one that Python brings along for new virtual environments.

pip can choose wheels for another Python and platform, but evaluates conditions (`; python_version <
"3.9"`) by the Python that it runs in. Those of the host are put in their place.

Standard library only: it imports nothing of Hostler.
"""

from __future__ import annotations

import ctypes
import html.parser
import json
import os
import resource
import signal
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TypedDict

NO_PIP, STRANGE_PIP, UNREACHABLE = 90, 91, 92
"""The program's own exit codes."""
_MEMORY = 3 * 1024**3
_MOST_PAGE = 64 * 1024**2
_MOST_FILES = 20_000
_PATIENCE = 15
_PR_SET_PDEATHSIG = 1


class Asked(TypedDict):
    """The request on stdin."""

    mode: str
    """"download" or "list"."""
    parent: int
    """The daemon's process id."""
    size: int
    seconds: int
    index: str | None
    folder: str | None
    names: list[str]
    """The packages to list."""
    file: str
    """The requirements."""
    dest: str
    python: str
    abi: str
    platforms: list[str]
    markers: dict[str, str]


def main() -> int:
    """Carry out the request on stdin."""
    asked: Asked = json.load(sys.stdin)
    _bind_to(asked["parent"])
    _limit(asked["size"], asked["seconds"])
    os.nice(5)
    if asked["mode"] == "list":
        return _list(asked)
    return _download(asked)


def _bind_to(parent: int) -> None:
    """Die with the daemon, also if it is killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _limit(size: int, seconds: int) -> None:
    """Limit this process: an index, or the metadata of a wheel, may be hostile."""
    for kind, most in (
        (resource.RLIMIT_FSIZE, size),
        (resource.RLIMIT_AS, _MEMORY),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))
    signal.alarm(seconds)


def _download(asked: Asked) -> int:
    if not _find_pip():
        return NO_PIP
    try:
        from pip._internal.cli.main import main as pip_main
        from pip._vendor.packaging import markers

        own = markers.default_environment
    except (ImportError, AttributeError):
        return STRANGE_PIP
    given = asked["markers"]
    vars(markers)["default_environment"] = lambda: {**own(), **given}
    return int(pip_main(_arguments(asked)))


def _find_pip() -> bool:
    try:
        import pip  # noqa: F401

        return True
    except ImportError:
        pass
    try:
        import ensurepip
    except ImportError:
        return False
    folder = Path(ensurepip.__file__).parent / "_bundled"
    for place in (folder, Path(getattr(ensurepip, "_WHEEL_PKG_DIR", None) or folder)):
        for wheel in sorted(place.glob("pip-*.whl")):
            sys.path.insert(0, str(wheel))
            return True
    return False


def _arguments(asked: Asked) -> list[str]:
    source = ["--index-url", asked["index"]] if asked["index"] else ["--no-index"]
    source += ["--find-links", asked["folder"]] if asked["folder"] else []
    platforms = [word for each in asked["platforms"] for word in ("--platform", each)]
    return [
        "--isolated", "--disable-pip-version-check", "--no-input", "--no-cache-dir", "--no-color",
        "--retries", "2", "--timeout", str(_PATIENCE),
        "download", "--only-binary=:all:", "--progress-bar", "off", "--dest", asked["dest"],
        "--implementation", "cp", "--python-version", asked["python"], "--abi", asked["abi"],
        *platforms, *source, "-r", asked["file"],
    ]  # fmt: skip


def _list(asked: Asked) -> int:
    """Print the names of all files of each package, as JSON."""
    found: dict[str, list[str]] = {}
    for name in asked["names"]:
        try:
            files = _in_folder(asked["folder"]) if asked["folder"] else []
            files += _in_index(asked["index"], name) if asked["index"] else []
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            sys.stdout.write(f"{reason}\n")
            return UNREACHABLE
        found[name] = files[:_MOST_FILES]
    sys.stdout.write(json.dumps(found))
    return 0


def _in_folder(folder: str) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def _in_index(index: str, name: str) -> list[str]:
    address = f"{index}/{urllib.parse.quote(name)}/"
    request = urllib.request.Request(address, headers={"Accept": "text/html"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:  # noqa: S310
            page = answer.read(_MOST_PAGE)
    except urllib.error.HTTPError as error:
        if error.code in (404, 410):
            return []
        raise
    links = _Links()
    links.feed(page.decode("utf-8", "replace"))
    return links.files


class _Links(html.parser.HTMLParser):
    """Names of the files to which a page links."""

    def __init__(self) -> None:
        super().__init__()
        self.files: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a link."""
        target = dict(attrs).get("href")
        if tag == "a" and target and len(self.files) < _MOST_FILES:
            path = urllib.parse.unquote(urllib.parse.urlsplit(target).path)
            self.files.append(path.rpartition("/")[2])


if __name__ == "__main__":
    sys.exit(main())
