"""The parts of the log view that need no screen."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest

from hostler_tui.line_edit import LineEdit
from hostler_tui.log import hits as log_hits
from hostler_tui.log.hits import Hits, search
from hostler_tui.log.index import Segment
from hostler_tui.log.place import down, on_screen, top_for_end, up
from hostler_tui.log.search import matching_lines, needle_of
from hostler_tui.log.spool import Spool, copy_of_lines, save_log
from hostler_tui.log.text import MOST_CELLS, pieces, plain_text, rows_of_line
from hostler_tui.palette import Palette


def lines_of(segment: Segment, data: bytes) -> list[bytes]:
    spans = [segment.span(number) for number in range(len(segment))]
    return [data[a - segment.begin : b - segment.begin] for a, b in spans]


def spool_of(data: bytes) -> Spool:
    spool = Spool()
    spool.write(spool.front, data)
    return spool


@pytest.mark.parametrize("seed", range(20))
def test_lines_are_those_of_the_whole_however_the_bytes_come(seed: int) -> None:
    chance = random.Random(seed)
    data = bytes(chance.choice(b"ab\n\n") for _ in range(chance.randrange(0, 60)))
    segment, at = Segment(), 0
    while at < len(data):
        step = chance.randrange(1, 9)
        segment.feed(data[at : at + step])
        at += step
    assert lines_of(segment, data) == data.splitlines(keepends=True)
    assert segment.whole == data.count(b"\n")


@pytest.mark.parametrize("cut", range(12))
def test_two_segments_become_the_whole(cut: int) -> None:
    data = b"one\ntwo\nfou"
    front, tail, whole = Segment(), Segment(cut), Segment()
    front.feed(data[:cut])
    tail.feed(data[cut:])
    whole.feed(data)
    shown = lines_of(tail, data[cut:])
    before = front.join(tail)
    assert lines_of(front, data) == lines_of(whole, data)
    if shown:
        assert lines_of(front, data)[before].endswith(shown[0])
    assert front.whole == whole.whole


def test_blocks_are_whole_lines_and_leave_none_out() -> None:
    segment = Segment()
    segment.feed(b"".join(b"x" * n + b"\n" for n in range(40)))
    blocks = list(segment.blocks(3, 40, 50))
    assert blocks[0][0] == 3
    assert blocks[-1][1] == 40
    assert all(a[1] == b[0] for a, b in itertools.pairwise(blocks))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("loss", [0, 2]), ("Loss", [2]), ("loss=1.7", [0]), ("^b", [1]), ("1\\.7$", [0]),
        ("[", [3]), ("x", []), ("é", [4]), ("", []),
    ],
)  # fmt: skip
def test_what_is_looked_for(text: str, found: list[int]) -> None:
    block = "a loss=\x1b[31m1.7\nb\nLoss 2\n[3]\né\n".encode()
    if text:
        assert list(matching_lines(needle_of(text), block)) == found


@pytest.mark.parametrize("text", [
    "(a+)+$", "((a*)*)x", "(b|a{1,}){2,}$", "(a+?)+$", "(a|a)*x", "(a|aa)+$", "(.*a){30}x",
    "a*a*a*a*a*a*x", "(aa?)+x", "([^x]+a)+x", "(\\w+a)*x",
])  # fmt: skip
def test_an_expression_that_may_take_for_ever_is_taken_as_it_stands(text: str) -> None:
    block = b"a" * 60 + b"b\n" + text.encode() + b"\n"
    assert list(matching_lines(needle_of(text), block)) == [1]


def test_repeated_groups_are_expressions_all_the_same() -> None:
    block = b"1 22 333 x\n(\\d+ )+x\nf(a+)*2\n"
    assert list(matching_lines(needle_of(r"(\d+ )+x"), block)) == [0]
    assert list(matching_lines(needle_of(r"f\(a\+\)\*2"), block)) == [2]
    assert list(matching_lines(needle_of(r"1.*[*+]?3+ x"), block)) == [0]


def test_a_search_finds_what_a_plain_reading_finds() -> None:
    data = b"".join(b"line %d %s\n" % (n, b"hit" if n % 7 == 3 else b"") for n in range(5000))
    spool, told = spool_of(data), list[int]()
    lines = search(spool, needle_of("HIT".lower()), 0, 5000, first_hit=told.append)
    assert list(lines) == [n for n in range(5000) if n % 7 == 3]
    assert told == [lines[-1]]
    hits = Hits(needle_of("hit"))
    hits.add(lines, 5000)
    assert hits.next(3, 1) == 10
    assert hits.next(3, -1) == lines[-1]
    assert hits.next(4, -1) == 3
    spool.close()


def test_colours_stay_and_nothing_else_does() -> None:
    data = b"\x1b[1;31mred\x1b[0m \x1b[38;5;9mx\x1b]52;c;UFdO\x07\x1b[2Jy\x1b\x07z\x9b\n"
    shown = pieces(data, color=True)
    assert shown[0][0] == "red"
    assert shown[0][1].bold
    assert shown[0][1].color is not None
    text = "".join(part for part, _ in shown)
    assert text == "red xy␛␇z�"
    assert all(style.color is None for _, style in pieces(data, color=False))
    assert plain_text(data) == text


def test_a_line_that_rewrote_itself_shows_its_end() -> None:
    assert plain_text(b" 1%\r 50%\r100%\r\n") == "100%"


def test_very_long_lines_are_cut_for_the_screen_and_not_in_the_copy() -> None:
    data = b"x" * 100_000
    assert len(pieces(data, color=True)[0][0]) == MOST_CELLS
    spool = spool_of(data)
    assert copy_of_lines(spool, [0]) == "x" * 100_000
    spool.close()


def test_rows_are_as_wide_as_the_screen() -> None:
    palette = Palette("dark")
    data = "0123456789abcé日本語".encode()
    wrapped = rows_of_line(data, palette, 10, None, None)
    assert [row.cell_length for row in wrapped] == [10, 10]
    assert wrapped[0].text == "0123456789"
    (cut,) = rows_of_line(data, palette, 5, 3, needle_of("45").shown)
    assert cut.text == "34567"
    marked = [part.text for part in cut if part.style and part.style.bgcolor]
    assert marked == ["45"]


def test_places_with_lines_of_several_rows() -> None:
    rows = [1, 3, 2].__getitem__
    assert on_screen((0, 0), 4, 3, rows) == [(0, 0), (1, 0), (1, 1), (1, 2)]
    assert top_for_end(3, 4, rows) == (1, 1)
    assert down((0, 0), 3, 3, rows) == (1, 2)
    assert down((0, 0), 99, 3, rows) == (2, 1)
    assert up((2, 1), 2, rows) == (1, 2)
    assert up((2, 1), 99, rows) == (0, 0)


def test_saving_says_where_and_never_overwrites(tmp_path: Path) -> None:
    spool, path = spool_of(b"a\n\x1b[31mb\n"), tmp_path / "log"
    assert save_log(spool, path)[1] == "information"
    assert path.read_bytes() == b"a\n\x1b[31mb\n"
    assert "exists already" in save_log(spool, path)[0]
    assert "cannot save" in save_log(spool, tmp_path / "no" / "log")[0]
    spool.close()


def test_a_line_is_typed() -> None:
    edit = LineEdit.of("ac")
    for key, character in (("left", None), ("b", "b"), ("end", None), ("backspace", None)):
        edit = edit.key(key, character) or edit
    assert edit == LineEdit("ab", 2)
    assert edit.key("f5", None) is None
    assert edit.insert("x\x1b\ny").text == "abx"


def test_lines_of_many_megabytes_are_searched_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_hits, "BLOCK", 1000)
    monkeypatch.setattr(log_hits, "MOST", 4000)
    monkeypatch.setattr(log_hits, "OVERLAP", 50)
    long = bytearray(b"." * 20_000)
    long[3998:4003] = b"acros"
    spool = spool_of(b"a\n" + bytes(long) + b"\nb acros\n" + b"." * 9000 + b"\nacros\n")
    assert list(search(spool, needle_of("acros"), 0, 5)) == [1, 2, 4]
    spool.close()
