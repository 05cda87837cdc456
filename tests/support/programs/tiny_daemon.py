"""`python tiny_daemon.py VERSION`: a personal daemon that answers /v1/version and /v1/shutdown.

It lies where HOSTLER_STATE says, appends its pid to `started`, and fails if VERSION is "broken".
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))  # a daemon is not given this folder

from tests.support.daemons.scripted_daemon import VERSION, Answer, ScriptedDaemon


def main(version: str) -> None:
    """Serve until told to stop."""
    state = Path(os.environ["HOSTLER_STATE"])
    if version == "broken":
        sys.exit("hostler: the database is full")
    with (state / "started").open("a") as file:
        file.write(f"{os.getpid()}\n")
    path = state / "hostler.sock"
    path.unlink(missing_ok=True)
    stopping = threading.Event()
    daemon = ScriptedDaemon(path, listening=False)
    about = {**VERSION, "version": version, "pid": os.getpid(), "started_at": 0.0}
    daemon.on("GET", "/v1/version", about)

    def shutdown(_asked: object) -> Answer:
        stopping.set()
        return Answer({"stopping": True})

    daemon.on("POST", "/v1/shutdown", shutdown)
    daemon.listen()
    stopping.wait(60)
    daemon.close()
    path.unlink(missing_ok=True)


if __name__ == "__main__":
    main(sys.argv[1])
