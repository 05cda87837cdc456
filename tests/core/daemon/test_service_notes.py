"""Signed notes about services on hosts: what counts of them, and what hosts cannot do."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.base.errors import AgentError
from hostler.daemon.copy_format import Signer
from hostler.daemon.service_notes import decode_service, encode_service, read_services
from hostler.decide.releases.notes import TARGETS, Told, choose, misfit, noted
from hostler.model.codec import to_json
from hostler.model.releases import (
    Deployment,
    Lock,
    Release,
    ReleaseState,
    ServiceNote,
    Slot,
    Step,
    StepKind,
    Strategy,
)
from hostler.ports import HostLink

ID = "d" * 32
OURS = Signer(ID, b"k" * 32)
LIVE = Release("digits", 1, "raaaaaa", None, Strategy.SURGE, ReleaseState.LIVE, 2, "ana", 1000, 5.0)
OPENED = replace(LIVE, number=2, run_id="rbbbbbb", state=ReleaseState.SHIFTING)
STEPS = (
    Step("digits", 2, 6.0, StepKind.STATE, ReleaseState.STARTING, seq=7),
    Step("digits", 2, 6.5, StepKind.DRAIN, None, Slot(1, 0), Slot(2, 1), "takes over", seq=9),
)
SERVICE = Deployment("digits", 1000, "ana", 2, 1, Lock(2, "ana", 1000, 5.5), 12)
NOTE = ServiceNote(ID, 1, SERVICE, (OPENED, LIVE), STEPS, {"raaaaaa": "packed"})


def at(generation: int, revision: int, **changes: Any) -> ServiceNote:
    deployment = replace(SERVICE, revision=revision)
    return replace(NOTE, generation=generation, deployment=deployment, **changes)


def signed_by(signer: Signer, line: str) -> bool:
    return decode_service(line, "digits", signer)[1]


def test_a_note_comes_back_whole() -> None:
    line = encode_service(NOTE, OURS)
    assert "\n" not in line
    assert decode_service(line, "digits", OURS) == (NOTE, True)


@pytest.mark.parametrize("key", [b"x" * 32, None], ids=["another key", "no key"])
def test_only_the_daemon_with_the_key_has_signed(key: bytes | None) -> None:
    assert not signed_by(Signer(ID, key), encode_service(NOTE, OURS))


@given(st.data())
def test_a_signature_covers_every_byte(data: st.DataObject) -> None:
    line = encode_service(NOTE, OURS)
    place = data.draw(st.integers(0, len(line) - 1))
    other = data.draw(st.characters(min_codepoint=32, max_codepoint=126))
    forged = line[:place] + other + line[place + 1 :]
    try:
        note, is_signed = decode_service(forged, "digits", OURS)
    except (ValueError, RecursionError):
        return
    # The same bytes in capitals are the same signature.
    assert not is_signed or (note == NOTE and forged.lower() == line.lower())


def test_a_signature_of_something_else_does_not_count() -> None:
    body = json.dumps(to_json(NOTE), separators=(",", ":"))
    for kind, name in (("end", "digits"), ("service", "others")):
        signature = OURS.sign(kind, name, body.encode()).hex()
        assert not signed_by(OURS, f"{signature} {body}")


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_what_is_no_note_says_nothing(line: str) -> None:
    with pytest.raises((ValueError, RecursionError)):
        decode_service(line, "digits", OURS)


@pytest.mark.parametrize(
    "line",
    ["00 " + "[" * 100_000, "00 1e999", "00 " + '{"a":' * 5000, f"{'0' * 64} null",
     f"{'0' * 64} {2**70}", "00 " + " " * 5_000_000],
)  # fmt: skip
def test_what_is_too_deep_too_large_or_too_long_says_nothing(line: str) -> None:
    with pytest.raises((ValueError, RecursionError)):
        decode_service(line, "digits", OURS)


@pytest.mark.parametrize(
    "forged",
    [
        replace(NOTE, deployment=replace(SERVICE, name="../etc")),
        replace(NOTE, deployment=replace(SERVICE, name="a\nb")),
        replace(NOTE, deployment=replace(SERVICE, name="x" * 64)),
        replace(NOTE, deployment=replace(SERVICE, owner="x" * 201)),
        replace(NOTE, deployment=replace(SERVICE, replicas=-1)),
        replace(NOTE, deployment=replace(SERVICE, replicas=10**9)),
        replace(NOTE, deployment=replace(SERVICE, revision=-1)),
        replace(NOTE, deployment=replace(SERVICE, live=3)),
        replace(NOTE, deployment=replace(SERVICE, lock=None)),
        replace(NOTE, generation=-1),
        replace(NOTE, releases=()),
        replace(NOTE, releases=(LIVE, LIVE)),
        replace(NOTE, releases=(LIVE, replace(OPENED, number=1))),
        replace(NOTE, releases=(LIVE, replace(OPENED, state=ReleaseState.RETIRED))),
        replace(NOTE, releases=(LIVE, replace(OPENED, service="other"))),
        replace(NOTE, releases=(LIVE, replace(OPENED, run_id="../x"))),
        replace(NOTE, releases=(LIVE, replace(OPENED, replicas=0))),
        replace(NOTE, releases=(LIVE, replace(OPENED, surge=-1))),
        replace(NOTE, releases=(LIVE, replace(OPENED, uid=-1))),
        replace(NOTE, specs={"rcccccc": ""}),
        replace(NOTE, steps=(replace(STEPS[0], service="other"),)),
        replace(NOTE, steps=(replace(STEPS[0], number=1),)),
        replace(NOTE, steps=(replace(STEPS[0], state=None),)),
        replace(NOTE, steps=(replace(STEPS[1], slot=None),)),
        replace(NOTE, steps=(replace(STEPS[1], successor=Slot(2, -1)),)),
        replace(NOTE, steps=STEPS[::-1]),
        replace(NOTE, daemon_id="e" * 32),
    ],
)
def test_even_signed_a_note_has_to_fit(forged: ServiceNote) -> None:
    assert misfit(forged) or forged.daemon_id != ID
    with pytest.raises(ValueError, match=r"it |its |a step|the numbers"):
        decode_service(encode_service(forged, OURS), forged.deployment.name, OURS)


def test_a_note_about_another_service_than_it_is_called_by_is_not_read() -> None:
    with pytest.raises(ValueError, match="it is about digits"):
        decode_service(encode_service(NOTE, OURS), "others", OURS)


TOLD = st.builds(
    Told,
    st.sampled_from(["gpu1", "gpu2", "gpu3"]),
    st.builds(at, st.integers(0, 3), st.integers(0, 50)),
    st.sampled_from(["", "", "it is not signed"]),
)


@given(st.lists(TOLD, min_size=1, max_size=8), st.integers(0, 50))
def test_the_highest_signed_number_wins_whichever_host_has_it(told: list[Told], has: int) -> None:
    signed = [each for each in told if not each.doubt]
    best = max(each.note.order for each in signed or told)
    (found,), ignored = choose(told, {})
    assert found.note.order == best
    assert bool(found.doubts) is (not signed)
    assert len(ignored) == (len(told) - len(signed) if signed else 0)
    known, _ = choose(told, {"digits": has})
    assert [each.note for each in known] == ([found.note] if best[1] > has else [])


def test_unsigned_notes_that_differ_are_told_as_such() -> None:
    doubt = "it is not signed"
    (found,), _ = choose([Told("gpu1", at(1, 3), doubt), Told("gpu2", at(1, 9), doubt)], {})
    assert found.hosts == ("gpu2",)
    assert "hosts hold different notes about it: this is the one of gpu2" in found.doubts


@given(st.lists(st.sampled_from(list(ReleaseState)), min_size=1, max_size=30), st.data())
def test_a_note_has_what_can_serve_and_is_bounded(
    states: list[ReleaseState], data: st.DataObject
) -> None:
    releases = [replace(LIVE, number=n, state=s) for n, s in enumerate(states, 1)]
    live = next((r.number for r in releases if r.state is ReleaseState.LIVE), None)
    opened = [r for r in releases if r.state.is_open][:1]
    known = [r for r in releases if not r.state.is_open] + opened
    known = [r for r in known if r.state is not ReleaseState.LIVE or r.number == live]
    found = noted(live, data.draw(st.permutations(known)))
    assert [r.number for r in found] == sorted((r.number for r in found), reverse=True)
    assert len(found) <= TARGETS + 3
    retired = sorted(r.number for r in known if r.state is ReleaseState.RETIRED)
    wanted = {*retired[-TARGETS:], *(r.number for r in opened)} | ({live} if live else set())
    assert wanted <= {r.number for r in found}
    assert not known or max(r.number for r in known) in {r.number for r in found}


class Host:
    """A host that answers with these notes."""

    host = "gpu1"

    def __init__(self, notes: dict[str, str]) -> None:
        self.notes = notes

    async def call(self, verb: str, asked: dict[str, str]) -> dict[str, object]:
        """One request."""
        if verb == "service.list":
            return {"services": ["link", *self.notes]}
        if asked["name"] not in self.notes:
            raise AgentError(self.host, "Too many levels of symbolic links")
        return {"line": self.notes[asked["name"]]}


def test_a_host_that_lies_costs_a_sentence_each_and_no_more() -> None:
    line = encode_service(NOTE, OURS)
    foreign = replace(NOTE, daemon_id="e" * 32)
    named = {"digits": line, "other": line, "big": "00 " + "x" * 5_000_000, "empty": ""}
    named["alien"] = encode_service(foreign, OURS)
    named |= {f"n{number}": "nonsense" for number in range(100)}
    found, problems = asyncio.run(read_services(cast(HostLink, Host(named)), OURS))
    assert [(each.note, each.doubt) for each in found] == [(NOTE, "")]
    assert len(problems) == 21
    assert "'link' on gpu1 cannot be read" in problems[0]
    assert "'alien' on gpu1 cannot be read: it is about digits" in " ".join(problems)
    assert problems[-1] == "gpu1: 85 problems more"
    found, _ = asyncio.run(read_services(cast(HostLink, Host({"digits": line})), Signer(ID, None)))
    assert [each.doubt for each in found] == ["it is not signed by this daemon's key"]
