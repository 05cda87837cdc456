"""Files of pipelines and configs with bytes flipped, pieces of others in them, nested deep."""

from __future__ import annotations

import random
import re
from pathlib import Path

from hostler.base.errors import ConfigError, InputError, PipelineError
from hostler.spec.config import read_config
from hostler.spec.pipeline import read_pipeline
from tests.fuzz.names import NASTY
from tests.fuzz.trial import Area

_ROOT = Path(__file__).resolve().parents[2]


def _fenced(page: str) -> list[bytes]:
    text = (_ROOT / "docs" / page).read_text()
    return [found.encode() for found in re.findall(r"```toml\n(.*?)```", text, re.DOTALL)]


SOUND = [
    (_ROOT / "examples/digits/pipeline.toml").read_bytes(),
    (_ROOT / "config.example.toml").read_bytes(),
    *_fenced("pipeline.md"),
    *_fenced("config.md"),
]
_TOKENS = [
    b"[", b"]", b"[[", b"{", b"}", b"=", b".", b",", b'"""', b"'''", b'"', b"'", b"#", b"\n", b"\r",
    b"inf", b"nan", b"-0", b"1e999", b"0x", b"9" * 30, b"1979-05-27", b"true", b"\\u0000", b"\\",
    b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\0", b"{params.x}", b"{matrix.i}", b"a.*.o",
    b"[stages.a]\n", b"[stages.a.resources]\n", b"[defaults]\n", b"[hosts.x]\n", b"gpus = 1\n",
    b"command = 'x'\n", b"matrix = { i = [1,2] }\n", b"needs = ['a']\n", b"[mounts.d]\n",
]  # fmt: skip
_DEEP = (b"[", b"{a=", b"a.", b"[a.", b"[[", b'"""', b"(", b"[{x=[", b"'a'.")


def make(chance: random.Random) -> tuple[str, str]:
    """Which reader, and the text."""
    data = bytearray(chance.choice(SOUND))
    for _ in range(chance.randrange(1, 5)):
        _change(data, chance)
    errors = "surrogateescape" if chance.random() < 0.2 else "replace"
    return chance.choice(("pipeline", "config")), data.decode("utf-8", errors)


def _change(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data) + 1)
    what = chance.random()
    if what < 0.35 and at < len(data):
        data[at] ^= 1 << chance.randrange(8)
    elif what < 0.6:
        data[at:at] = chance.choice(_TOKENS)
    elif what < 0.75:
        other = chance.choice(SOUND)
        begin = chance.randrange(len(other))
        data[at:at] = other[begin : begin + chance.randrange(1, 400)]
    elif what < 0.85:
        del data[at : at + chance.randrange(1, 100)]
    elif what < 0.95:
        data[at:at] = chance.choice(NASTY).encode("utf-8", "surrogatepass")
    elif what < 0.999:
        data[at:at] = chance.choice(_DEEP) * chance.choice((5, 20, 200, 2000))
    else:
        data[at:at] = chance.choice(_DEEP) * 100_000


def check(given: tuple[str, str], folder: Path) -> None:
    """A value, or an error with a problem that has words, and a line of the file where known."""
    kind, text = given
    try:
        if kind == "pipeline":
            read_pipeline(text, file="f", glob=lambda pattern: [pattern])
        else:
            read_config(text, file="f")
    except (PipelineError, ConfigError) as error:
        _said(error, text.count("\n") + 1)


def _said(error: InputError, lines: int) -> None:
    assert error.problems, error
    for problem in error.problems:
        assert problem.message, error
        assert problem.line is None or 1 <= problem.line <= lines, problem
    assert "\x1b" not in str(error), error
    assert "\u202e" not in str(error), error


AREA = Area("toml", few=400, many=1_000_000, make=make, check=check)
