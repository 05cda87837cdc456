"""A program in a tmux of its own, as a person sees it."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType


class Tmux:
    """Use as a context manager: the server is this object's and ends with it."""

    def __init__(
        self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str],
        columns: int = 160, rows: int = 45,
    ) -> None:  # fmt: skip
        self._name = f"hostler-test-{os.getpid()}-{id(self):x}"
        self._argv, self._cwd, self._size = list(argv), cwd, (columns, rows)
        self._env = {k: v for k, v in env.items() if not k.startswith("TMUX")}

    def __enter__(self) -> Tmux:
        wide, high = map(str, self._size)
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", wide, "-y", high,
                   "-c", str(self._cwd), shlex.join(self._argv))  # fmt: skip
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._tmux("kill-server", check=False)

    def screen(self) -> str:
        """What is shown now; "" once the program has ended."""
        return self._tmux("capture-pane", "-p", check=False)

    def keys(self, *keys: str) -> None:
        """Keys in tmux's names: "Enter", "Escape", "C-p", "j"."""
        self._tmux("send-keys", *keys)

    def type(self, text: str) -> None:
        """Text as it is."""
        self._tmux("send-keys", "-l", text)

    def buffer(self) -> str:
        """What was copied last."""
        return self._tmux("show-buffer", check=False)

    def until(self, wanted: str | Callable[[str], bool], timeout: float = 60.0) -> str:
        """The picture, once it has this text or is as wanted. Each look is a process: asks less
        and less often."""
        is_there = wanted if callable(wanted) else lambda shown: wanted in shown
        ends, pause = time.monotonic() + timeout, 0.05
        while not is_there(shown := self.screen()):
            assert time.monotonic() < ends, f"{wanted!r} did not come:\n{shown}"
            time.sleep(pause)
            pause = min(0.25, pause * 1.3)
        return shown

    def until_gone(self, timeout: float = 60.0) -> None:
        """Until the program has ended."""
        ends = time.monotonic() + timeout
        while self._tmux("list-sessions", check=False).strip():
            assert time.monotonic() < ends, f"it does not end:\n{self.screen()}"
            time.sleep(0.05)

    def _tmux(self, *words: str, check: bool = True) -> str:
        done = subprocess.run(
            ["tmux", "-L", self._name, *words], capture_output=True, text=True, env=self._env,
            timeout=60,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr
        return done.stdout
