from __future__ import annotations

from itertools import pairwise
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.base.wire import Response, WireError, encode_request, quote, target

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Hostler-Attempt: a-1\r\n\r\n"
    b"5;x=y\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\n\r\n"
)
SIZED = b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nabc"
UNSIZED = b"HTTP/1.0 200 OK\r\n\r\nall of it"


def feed_in_pieces(response: Response, data: bytes, cuts: list[int]) -> bytes:
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    return b"".join(response.feed(data[a:b]) for a, b in pairwise(places))


@given(st.lists(st.integers(0, len(CHUNKED)), max_size=30))
def test_a_chunked_answer_is_the_same_however_it_is_cut(cuts: list[int]) -> None:
    response = Response()
    assert feed_in_pieces(response, CHUNKED, cuts) == b"hello world"
    assert response.done
    assert (response.status, response.headers["x-hostler-attempt"]) == (200, "a-1")


@given(st.lists(st.integers(0, len(SIZED)), max_size=10))
def test_a_sized_answer_is_the_same_however_it_is_cut(cuts: list[int]) -> None:
    response = Response()
    assert feed_in_pieces(response, SIZED, cuts) == b"abc"
    assert response.done
    assert response.status == 404


def test_an_answer_without_length_ends_with_the_connection() -> None:
    response = Response()
    assert response.feed(UNSIZED) == b"all of it"
    assert not response.done
    response.end()
    assert response.done


@pytest.mark.parametrize("whole", [CHUNKED, SIZED])
def test_a_cut_answer_is_an_error(whole: bytes) -> None:
    for length in range(1, len(whole) - 4):
        response = Response()
        response.feed(whole[:length])
        if not response.done:
            with pytest.raises(WireError, match="closed in the middle"):
                response.end()


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: \xb2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"HTTP/1.1 \xb200 OK\r\n\r\n",
        b"x" * 70000,
    ],
)
def test_what_is_not_http_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        Response().feed(data)


@pytest.mark.parametrize(
    "sent",
    [b"-5\r\n", b"+5\r\nhello", b"1_0\r\n", b" 5\r\nhello", b"0x5\r\n", b"\r\n",
     b"f" * 19 + b"\r\n", b"5\r\nhello!!\r\n0\r\n\r\n", b"1" * 70000],
)  # fmt: skip
def test_a_chunk_has_a_size_in_hex_and_ends_where_it_says(sent: bytes) -> None:
    with pytest.raises(WireError, match="malformed"):
        Response().feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + sent)


def test_interim_answers_without_end_are_passed_over() -> None:
    response = Response()
    assert response.feed(b"HTTP/1.1 100 Continue\r\n\r\n" * 5000 + SIZED) == b"abc"


def test_an_interim_answer_is_passed_over() -> None:
    response = Response()
    assert response.feed(b"HTTP/1.1 100 Continue\r\n\r\n" + SIZED) == b"abc"
    assert response.status == 404


def test_a_head_answer_has_no_body() -> None:
    response = Response(head_only=True)
    response.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n")
    assert response.done


@given(st.text())
def test_quoting_keeps_every_text(text: str) -> None:
    if text.isprintable() or text.isascii():
        quoted = quote(text)
        assert unquote(quoted) == text
        assert quoted.isascii()
        assert not set(quoted) & set("/?&= \r\n")


def test_targets_leave_out_what_is_not_given() -> None:
    query = {"follow": True, "tail": 0, "offset": None, "x": False}
    assert target(["runs", "a/b", "logs"], query) == "/v1/runs/a%2Fb/logs?follow=1&tail=0"
    assert target(["gpus"], {"x": None}) == "/v1/gpus"
    assert target(["x"], {"p": ("a=1", "b"), "q": ()}) == "/v1/x?p=a%3D1&p=b"


def test_requests_announce_their_bodies() -> None:
    posted = encode_request("POST", "/v1/gc", body=b"{}")
    assert posted.startswith(b"POST /v1/gc HTTP/1.1\r\n")
    assert posted.endswith(b"Content-Length: 2\r\n\r\n{}")
    assert b"Content-Length" not in encode_request("GET", "/v1/gpus")
    assert b"Content-Length: 7\r\n" in encode_request("PUT", "/x", length=7)
