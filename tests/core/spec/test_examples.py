"""The pipeline files of examples/ and of docs/serving.md are read, and the small server answers."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hostler.spec.pipeline import read_pipeline
from tests.support.machines.sshd import free_port

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "examples").rglob("*.toml"))
PAGE = (ROOT / "docs/serving.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def services(text: str) -> list[str]:
    """Names of its services."""
    stages = read_pipeline(text, file="pipeline.toml").stages
    return list(dict.fromkeys(s.base for s in stages if s.service is not None))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_read(path: Path) -> None:
    found = services(path.read_text(encoding="utf-8"))
    assert len(found) == (path.name != "pipeline.toml")  # one, as a deploy needs it


def test_the_page_shows_the_examples() -> None:
    assert len(BLOCKS) == 3
    assert all(services(block) == ["serve"] for block in BLOCKS)
    for name in ("vllm", "tgi"):
        assert (ROOT / f"examples/serve/{name}.toml").read_text(encoding="utf-8") in BLOCKS


@pytest.mark.programs
def test_the_small_server_answers_and_ends_what_it_has_begun() -> None:
    port = free_port()
    env = {**os.environ, "HOSTLER_PORT": str(port), "LOADING_S": "0.3", "RELEASE": "7"}
    words = [sys.executable, "-S", str(ROOT / "examples/serve/server.py")]
    with subprocess.Popen(words, env=env, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == f"listening at 127.0.0.1:{port}\n"
            deadline = time.monotonic() + 30
            while ask(port, "/health") != (200, '{"loaded": true}\n'):
                assert time.monotonic() < deadline
            status, said = ask(port, "/")
            assert (status, json.loads(said)) == (200, {"release": "7", "user": "ana"})
            stream = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            stream.request("GET", "/stream")
            answer = stream.getresponse()
            server.send_signal(signal.SIGTERM)
            assert answer.read().decode().endswith("data: another\n\n")
            stream.close()
            assert server.wait(30) == 0
        finally:
            server.kill()


def ask(port: int, path: str) -> tuple[int, str]:
    """A request as the gateway passes it on."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path, headers={"X-Hostler-User": "ana"})
    answer = connection.getresponse()
    found = answer.status, answer.read().decode()
    connection.close()
    return found
