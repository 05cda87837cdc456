"""How an image runs, by its Dockerfile."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.base.image_settings import ImageSettings, settings_of

WHOLE = """
# syntax=docker/dockerfile:1
ARG PORT=9000
FROM python:3.12 AS base
ENV HOME_OF=/app PORT=8000
WORKDIR $HOME_OF
EXPOSE ${PORT}
CMD ["python3", "base.py"]

FROM node AS assets
EXPOSE 3000
CMD npm start

FROM base
WORKDIR src
RUN <<END
CMD ["not", "this"]
EXPOSE 1
END
HEALTHCHECK --interval=5s \\
  CMD curl -f http://localhost:8000/health?x=1 || exit 1
CMD exec python3 serve.py --port $PORT
"""


def test_the_last_stage_counts_with_what_it_begins_with() -> None:
    found = settings_of(WHOLE)
    assert found.command == ("/bin/sh", "-c", "exec python3 serve.py --port $PORT")
    assert (found.ports, found.folder) == ((8000,), "/app/src")
    assert (found.health, found.has_entrypoint) == ("/health?x=1", False)


@pytest.mark.parametrize(
    ("lines", "command", "has_entrypoint"),
    [
        (["CMD ['a']"], ("/bin/sh", "-c", "['a']"), False),
        (['CMD ["a", 1]'], ("/bin/sh", "-c", '["a", 1]'), False),
        (['SHELL ["bash", "-ec"]', "CMD a b"], ("bash", "-ec", "a b"), False),
        (['ENTRYPOINT ["a"]'], (), True),
        (['CMD ["b"]', 'ENTRYPOINT ["a"]'], ("b",), True),
        (['ENTRYPOINT ["a"]', 'CMD ["b"]'], ("b",), True),
        (["CMD"], (), False),
    ],
)
def test_commands_as_docker_reads_them(
    lines: list[str], command: tuple[str, ...], has_entrypoint: bool
) -> None:
    found = settings_of("\n".join(("FROM x", *lines)))
    assert (found.command, found.has_entrypoint) == (command, has_entrypoint)


def test_an_entrypoint_forgets_the_command_of_the_stage_before() -> None:
    found = settings_of('FROM x AS a\nCMD ["b"]\nFROM a\nENTRYPOINT ["c"]\n')
    assert (found.command, found.has_entrypoint) == ((), True)


@pytest.mark.parametrize(
    ("said", "ports"),
    [
        ("80 443/tcp 53/udp", (80, 443)),
        ("7000-7010", ()),
        ("$NOBODY", ()),
        ("8000\nEXPOSE 8000/tcp", (8000,)),
        ("999999999999", ()),
    ],
)
def test_ports(said: str, ports: tuple[int, ...]) -> None:
    assert settings_of(f"FROM x\nEXPOSE {said}\n").ports == ports


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ("CMD wget -q -O- 'http://127.0.0.1/'", "/"),
        ('CMD ["curl", "-f", "http://0.0.0.0:${PORT}/up"]', "/up"),
        ("CMD curl http://localhost:80", "/"),
        ("CMD curl http://example.org/x", ""),
        ("NONE", ""),
    ],
)
def test_the_path_that_a_health_check_asks_for(said: str, path: str) -> None:
    assert settings_of(f"FROM x\nHEALTHCHECK {said}\n").health == path


def test_no_dockerfile_takes_long_to_read() -> None:
    lines = ["WORKDIR a", "EXPOSE 1 2", "ENV A=b C=d", "CMD x", "HEALTHCHECK CMD http://localhost"]
    many = settings_of("\n".join(["FROM x", *lines * 2000]))
    assert len(many.folder) <= 4096
    assert settings_of("FROM x\nCMD " + "[" * 200_000).command[0] == "/bin/sh"


@given(st.text(max_size=300))
def test_whatever_somebody_writes_is_read(text: str) -> None:
    assert isinstance(settings_of(text), ImageSettings)
    assert isinstance(settings_of(f"FROM a\nCMD {text}\nEXPOSE {text}"), ImageSettings)
