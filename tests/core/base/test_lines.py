"""Lines out of what arrives in pieces."""

from __future__ import annotations

from hostler.base.text import Lines


def test_lines_are_cut_wherever_the_pieces_end() -> None:
    cut = Lines()
    assert cut.feed(b"a") == []
    assert cut.feed(b"b\nc\n\nd") == [b"ab", b"c", b""]
    assert cut.waiting == 1
    assert cut.feed(b"\n") == [b"d"]
    assert cut.rest() == b""


def test_a_line_without_end_is_counted_and_can_be_taken() -> None:
    """As lines of progress by carriage returns are."""
    cut = Lines()
    for _ in range(1024):
        cut.feed(b"x" * 65536)
    assert cut.waiting == 64 * 1024 * 1024
    assert len(cut.rest()) == 64 * 1024 * 1024
    assert cut.waiting == 0
