from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.cli.log_output import LogPrinter, safe_text
from tests.support.daemons.commandline import Tty

RED = "\x1b[31m"


def printed(*parts: bytes, color: str = "always", raw: bool = False, grep: str = "") -> str:
    stream = Tty()
    pattern = re.compile(grep.encode()) if grep else None
    printer = LogPrinter(color=color, raw=raw, grep=pattern, stream=stream)
    for part in parts:
        printer.write(part)
    printer.finish()
    return stream.getvalue()


def test_colours_stay_and_are_reset() -> None:
    assert printed(b"\x1b[31mred\n") == f"{RED}red\n\x1b[0m"
    assert printed(b"\x1b[31mred\n", color="never") == "red\n"


@pytest.mark.parametrize(
    "evil",
    [b"\x1b]0;title\x07", b"\x1b]52;c;eA==\x1b\\", b"\x1b[2J", b"\x1bc", b"\x9b2J", b"\x1b[6n",
     "\u202e".encode(), b"\x1b(0", b"\x08\x08"],
)  # fmt: skip
def test_nothing_else_reaches_the_terminal(evil: bytes) -> None:
    for cut in range(len(evil) + 1):
        text = printed(b"a" + evil[:cut], evil[cut:] + b"b\n")
        assert not set(text) & set("\x1b\x07\x08\x9b\u202e")
        assert text.startswith("a")
        assert text.endswith("b\n")


def test_progress_bars_rewrite_their_own_line() -> None:
    assert printed(b"10%\r", b"20%\r\nend\n") == "10%\r\x1b[K20%\nend\n"


@given(st.lists(st.binary(max_size=12), max_size=8))
def test_pieces_do_not_matter(parts: list[bytes]) -> None:
    assert printed(*parts) == printed(b"".join(parts))


@given(st.text(alphabet="é日a\x1b[m31;\r\n", max_size=40))
def test_escapes_that_remain_are_ours_or_colours(text: str) -> None:
    shown = safe_text(text, color=True)
    rest = re.sub(r"\x1b\[[0-9;:]*m|\r\x1b\[K", "", shown)
    assert "\x1b" not in rest
    assert "\r" not in rest
    assert "\x1b[3" not in safe_text(text, color=False)


def test_letters_cut_in_two_are_put_together() -> None:
    data = "é日\n".encode()
    assert printed(data[:1], data[1:3], data[3:]) == "é日\n"
    assert printed(b"\xff\xfe\n") == "\ufffd\ufffd\n"


def test_grep_keeps_whole_lines() -> None:
    assert printed(b"los", b"s=1\nacc=2\nloss=nan", grep="loss") == "loss=1\nloss=nan\n"


def test_raw_passes_everything() -> None:
    stream = io.TextIOWrapper(io.BytesIO())
    printer = LogPrinter(raw=True, stream=stream)
    printer.write(b"\x1b[2J\xff")
    printer.finish()
    assert stream.buffer.getvalue() == b"\x1b[2J\xff"
