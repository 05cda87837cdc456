"""Counted requests, refusals in words, and versions."""

from __future__ import annotations

import json
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.gateway.program import version_of
from hostler.gateway.refusals import ports_of, why
from hostler.gateway.states import log_sessions_of
from hostler.gateway.traffic import Counted, news, read_counts
from hostler.link.answers import checked
from hostler.model.traffic import Traffic, together
from hostler_agent.gatewaylog import STEPS, Counts, Frames, Line, parse, step_of


def test_lines_of_the_log() -> None:
    assert parse(b"hostler1 s.digits a1 200 0 1 12 --") == Line("digits", "a1", 200, 13, False)
    assert parse(b"hostler1 s.digits a1 200 3 1 12 SD") == Line("digits", "a1", 200, 16, True)
    assert parse(b"hostler1 s.digits <NOSRV> 503 -1 -1 -1 SC\n") == Line(
        "digits", "<NOSRV>", 503, None, False
    )
    for bad in (
        b"", b"\xff\xfe", b"hostler1 main <NOSRV> 404 -1 -1 -1 LR", b"hostler2 s.d a 200 0 0 0 --",
        b"hostler1 s.d a x 0 0 0 --", b"hostler1 s.d a 200 0 0 0 -- more", b"x" * 4096,
    ):  # fmt: skip
        assert parse(bad) is None


@given(st.lists(st.binary(max_size=30)), st.integers(1, 7))
def test_messages_are_whole_however_they_are_cut(messages: list[bytes], size: int) -> None:
    frames, text = Frames(), b"".join(b"%d %s" % (len(each), each) for each in messages)
    cut = [text[start : start + size] for start in range(0, len(text), size)]
    assert [each for part in cut for each in frames.take(part)] == messages


@pytest.mark.parametrize("data", [b"x 1", b"99999 x", b"4097 x", b"-1 x", b" x", b"12345"])
def test_what_is_no_message_ends_the_connection(data: bytes) -> None:
    with pytest.raises(ValueError, match="length"):
        Frames().take(data)


def test_percentiles_are_known_within_four_percent() -> None:
    chance = random.Random(7)
    times = sorted(round(math.exp(chance.uniform(1.7, 9))) for _ in range(5000))
    counts = Counts()
    for each in times:
        counts.take(Line("s", "a", 200, each, False))
    counts.take(Line("s", "a", 502, None, True))
    sent = {"service": "s", "server": "a", **counts.to_wire()}
    answer = json.loads(json.dumps({"since": 1, "left_out": 0, "servers": [sent]}))
    found = read_counts(checked("gpu1", "gateway.log", answer)).servers["s", "a"]
    assert (found.requests, found.failed, found.cut) == (5001, 1, 1)
    for part in (0.01, 0.5, 0.95, 0.99, 1.0):
        true = times[max(0, math.ceil(part * len(times)) - 1)]
        said = found.percentile(part)
        assert said is not None
        assert abs(said - true) / true < 0.06  # whole milliseconds add to the 4 %


def test_steps_have_an_end() -> None:
    assert (step_of(-5), step_of(0), step_of(1), step_of(10**15)) == (0, 0, 1, STEPS - 1)
    assert 1.08 ** (STEPS - 2) > 3_600_000


def test_traffic_adds_up() -> None:
    a, b = Traffic(3, 1, 0, (1, 2)), Traffic(5, 1, 1, (1, 2, 2))
    assert b.minus(a) == Traffic(2, 0, 1, (0, 0, 2))
    assert together([a, b.minus(a)]) == b
    assert Traffic().percentile(0.5) is None
    assert Traffic(1, 0, 0, (1,)).percentile(0.5) == 0.0


def test_what_was_counted_once_is_not_counted_again() -> None:
    def answer(since: float, **servers: Traffic) -> Counted:
        return Counted(since, 0, {("web", name): each for name, each in servers.items()})

    first = answer(1.0, a=Traffic(3, 1, 0, (0, 3)), idle=Traffic(1, 0, 0, (1,)))
    assert news(None, first) == first.servers
    assert news(first, first) == {}
    more = answer(1.0, a=Traffic(5, 1, 1, (0, 4, 1)), b=Traffic(2, 0, 0, (2,)))
    assert news(first, more) == {
        ("web", "a"): Traffic(2, 0, 1, (0, 1, 1)), ("web", "b"): Traffic(2, 0, 0, (2,)),
    }  # fmt: skip
    anew = answer(2.0, a=Traffic(1, 0, 0, (1,)))
    assert news(more, anew) == anew.servers
    again = answer(1.0, a=Traffic(1, 0, 0, (1,)))  # forgotten there, and used again
    assert news(more, again) == again.servers


def test_a_taken_port_is_named_with_its_service() -> None:
    said = (
        "[NOTICE]   (1) : haproxy version is 3.0.11\n"
        "[ALERT]    (1) : Binding [/g/haproxy.cfg:29] for frontend p.digits: protocol tcpv4: "
        "cannot bind socket (Address already in use) for [127.0.0.1:9000].\n"
        "[ALERT]    (1) : [/usr/sbin/haproxy.main()] Some protocols failed to start.\n"
    )
    text, remedy = why(said)
    assert text == "it cannot listen at 127.0.0.1:9000 for digits: address already in use"
    assert "give the service another port" in remedy
    main = why(said.replace("p.digits", "main"))
    assert (main[0], "give the gateway" in main[1]) == (
        "it cannot listen at 127.0.0.1:9000: address already in use", True,
    )  # fmt: skip
    assert "\x1b" not in why("[ALERT] (1) : no cert\x1b[31m\n")[0]
    assert why("") == ("it printed nothing", "")


def test_versions() -> None:
    assert version_of("HAProxy version 2.8.5-1ubuntu3 2024/04/01 - https://x") == (2, 8)
    assert version_of("HAProxy version 3.0.11-1+deb13u5 2026/11/18") == (3, 0)
    assert version_of("HA-Proxy version 1.8") is None
    assert version_of("") is None


def test_streams_to_the_reader_of_the_log_are_those_without_a_client() -> None:
    said = (
        "0x7f9a94b02400: proto=? ts=00 epoch=0 age=4s calls=2\n"
        "0x7f9a94b02800: proto=sockpair src=unix:1 fe=GLOBAL be=<NONE> srv=<none> ts=00\n"
        "0x7f9a94b03000: proto=tcpv4 src=127.0.0.1:4 fe=main be=s.web srv=a1 ts=00\n\n"
    )
    assert log_sessions_of(said) == ["0x7f9a94b02400"]
    assert log_sessions_of("") == []


def test_all_ports_that_haproxy_names_are_left_alone_at_once() -> None:
    """Else a user of its host who takes ports in the moment between makes a reload for each."""
    line = (
        "[ALERT]    (7) : Binding [haproxy.cfg:11] for frontend {}: protocol tcpv4: cannot bind "
        "socket (Address already in use) for [127.0.0.1:{}].\n"
    )
    said = "".join(
        line.format(*each) for each in (("main", 8080), ("p.8101.a", 8101), ("p.8102.p.9.b", 8102))
    )
    assert ports_of(said) == {
        8101: "it cannot listen at 127.0.0.1:8101 for a: address already in use",
        8102: "it cannot listen at 127.0.0.1:8102 for p.9.b: address already in use",
    }
    assert why(said)[0] == "it cannot listen at 127.0.0.1:8080: address already in use"
    assert ports_of("[ALERT] (7) : something else") == {}
