"""The second half of `make demo`: the trained model answers, another release takes over under load,
and is rolled back.

    demo_serving.py gateway                    a section of config.toml, where HAProxy is found
    demo_serving.py serve HOSTLER FOLDER DATA  in FOLDER: serve.toml, and the model in best/
    demo_serving.py gone PORT                  wait until nothing listens there any more
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from hostler.gateway.program import GET_IT, OLDEST, version_of

PLACES = ("/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/usr/bin")
WITHIN_S = 60.0
PAUSE_S = 0.2
"""Between two requests of the load."""
SHADES = " .:oO#"
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))

T = TypeVar("T")
Image = tuple[list[float], int]
"""64 pixels, and the digit that it is."""


class Load(threading.Thread):
    """Somebody who asks all the while."""

    def __init__(self, url: str, images: Sequence[Image]) -> None:
        super().__init__(daemon=True)
        self.releases: Counter[str] = Counter()
        self.right = 0
        self.failed: list[str] = []
        self._url, self._images = url, images
        self._over = threading.Event()

    def run(self) -> None:
        """One request after another."""
        number = 0
        while not self._over.wait(PAUSE_S):
            pixels, digit = self._images[number % len(self._images)]
            number += 1
            try:
                said = ask(self._url, pixels)
            except (OSError, ValueError) as error:
                self.failed.append(str(error))
                continue
            self.releases[str(said["release"])] += 1
            self.right += said["digit"] == digit

    def stop(self) -> int:
        """Tell what came of it; 1 where a request failed."""
        self._over.set()
        self.join()
        answered = self.releases.total()
        by = ", ".join(f"{count} by the {name}" for name, count in self.releases.items())
        print(
            f"\n{answered + len(self.failed)} requests meanwhile, {len(self.failed)} failed; "
            f"answered: {by} release; {self.right} digits were read correctly",
            flush=True,
        )
        for error in self.failed[:5]:
            print(f"  failed: {error}", flush=True)
        return int(bool(self.failed))


def main(words: Sequence[str]) -> int:
    """The exit code."""
    match words:
        case ["gateway"]:
            print(gateway_section(), end="")
            return 0
        case ["serve", hostler, folder, data]:
            return serve(hostler, Path(folder), read_images(Path(data)))
        case ["gone", port]:
            return gone(int(port))
    print(__doc__, file=sys.stderr)
    return 2


def gateway_section() -> str:
    """Nothing, where there is no HAProxy that is new enough."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *PLACES])
    program = shutil.which("haproxy", path=path)
    if program is None:
        return ""
    said = subprocess.run([program, "-v"], capture_output=True, text=True, check=False).stdout
    if (version_of(said) or (0, 0)) < OLDEST:
        return ""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return f'\n[gateway]\nhost = "here"\nport = {port}\nhaproxy = {json.dumps(program)}\n'


def serve(hostler: str, folder: Path, images: Sequence[Image]) -> int:
    """All of it; 1 where something failed."""
    os.chdir(folder)
    command(hostler, "deploy", "serve.toml")
    url = wait_for(lambda: address(hostler), "the service has an address")
    wait_for(lambda: first_answer(url), f"{url} answers")
    command(hostler, "services")
    show_answer(url, images[0])
    if not has_gateway():
        return without_gateway(hostler, images[0])
    print(f"\nFrom now on somebody asks {1 / PAUSE_S:.0f} times a second.", flush=True)
    load = Load(url, images)
    load.start()
    command(hostler, "deploy", "serve.toml", "--env", "RELEASE=second")
    show_answer(url, images[1])
    command(hostler, "rollback", "digits")
    show_answer(url, images[2])
    failed = load.stop()
    time.sleep(3.0)  # the gateway's log is read every two seconds
    command(hostler, "releases", "digits")
    return failed


def without_gateway(hostler: str, image: Image) -> int:
    """The same with a gap, and no load."""
    print(
        f"\nThere is no HAProxy {'.'.join(map(str, OLDEST))} or newer here: the service is reached "
        f"at its own port, and does not answer while a release takes over. To get one: {GET_IT}.",
        flush=True,
    )
    command(hostler, "deploy", "serve.toml", "--env", "RELEASE=second")
    command(hostler, "rollback", "digits")
    show_answer(wait_for(lambda: address(hostler), "the service has an address"), image)
    command(hostler, "releases", "digits")
    return 0


def command(hostler: str, *words: str) -> None:
    """Show it, and run it. Raises SystemExit where it fails."""
    more = ("-y", "--timeout", "2m") if words[0] in ("deploy", "rollback") else ()
    shown = " ".join(words)
    bold, plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")
    print(f"\n{bold}$ hostler {shown}{plain}", flush=True)
    done = subprocess.run([hostler, *words, *more], stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


def address(hostler: str) -> str | None:
    """Where the service is reached, once it is."""
    said = subprocess.run(
        [hostler, "services", "--json"], capture_output=True, text=True, check=False
    )
    if said.returncode:
        return None
    for service in json.loads(said.stdout)["services"]:
        if service["url"] is not None:
            return str(service["url"])
        for replica in service["replicas"]:
            if not has_gateway() and replica["state"] == "ready" and replica["port"]:
                return f"http://127.0.0.1:{replica['port']}/"
    return None


def has_gateway() -> bool:
    """Whether the config of the demo has one."""
    return "[gateway]" in Path(os.environ["HOSTLER_CONFIG"]).read_text()


def show_answer(url: str, image: Image) -> None:
    """An image, and what the model sees in it."""
    pixels, _digit = image
    said = ask(url, pixels)
    print(f"\n$ curl -d @image.json {url}\n{json.dumps(said)}", flush=True)
    for row in range(8):
        line = pixels[8 * row : 8 * row + 8]
        dots = "".join(2 * SHADES[min(len(SHADES) - 1, int(len(SHADES) * dot))] for dot in line)
        print(f"    {dots.rstrip()}", flush=True)


def ask(url: str, pixels: Sequence[float]) -> dict[str, object]:
    """The model's answer. Raises OSError, ValueError."""
    request = urllib.request.Request(url, json.dumps(list(pixels)).encode())  # noqa: S310
    with OPENER.open(request, timeout=10) as answer:
        found: dict[str, object] = json.load(answer)
        return found


def first_answer(url: str) -> dict[str, object] | None:
    """None: it does not answer yet."""
    try:
        return ask(url, [0.0] * 64)
    except (OSError, ValueError):
        return None


def wait_for(condition: Callable[[], T | None], what: str) -> T:
    """What it gives, once that is something."""
    deadline = time.monotonic() + WITHIN_S
    while (found := condition()) is None:
        if time.monotonic() > deadline:
            raise SystemExit(f"{what}: that never came true")
        time.sleep(0.2)
    return found


def read_images(path: Path) -> list[Image]:
    """The last ones of the data set."""
    with gzip.open(path, "rt", newline="") as file:
        rows = list(csv.reader(file))[-200:]
    return [([int(pixel) / 16 for pixel in row[:64]], int(row[64])) for row in rows]


def gone(port: int) -> int:
    """1 where something still listens."""
    deadline = time.monotonic() + WITHIN_S / 2
    while time.monotonic() < deadline:
        with socket.socket() as asked:
            if asked.connect_ex(("127.0.0.1", port)) != 0:
                return 0
        time.sleep(0.1)
    return 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
