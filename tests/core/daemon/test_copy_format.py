"""The form of copies of runs on hosts, and what their signature covers."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import replace
from typing import Any

import pytest

from hostler.daemon.copy_format import Signer, decode_notes, decode_spec, encode_note, encode_spec
from hostler.decide.recovery import Note
from hostler.model.codec import from_json, to_json
from hostler.model.runs import Phase, Run
from tests.support.values import planning
from tests.support.values.planning import attempt, stage

OURS = Signer("d" * 32, b"k" * 32)
RUN = planning.run("r1", stage("a"))
NOTE = Note(attempt("r1", "a", host="good"), cancelled_by="ana", priority=-1)


def signed(line: str, *, run_id: str = "r1", host: str = "good", signer: Signer = OURS) -> bool:
    ((_, is_signed, _),) = decode_notes(line, run_id, host, signer)
    return is_signed


@pytest.mark.slow
def test_a_specification_of_many_stages_is_small_and_whole() -> None:
    run = planning.run("r1", *(stage(f"s{n}", env={"N": str(n)}) for n in range(10_000)))
    text = encode_spec(run, "the file", OURS)
    assert len(text) < 2 * 1024 * 1024
    found = decode_spec(text, "r1", OURS)
    assert (found.run, found.pipeline_text, found.is_signed) == (run, "the file", True)
    assert "\n" not in encode_note(Note(attempt("r1", "s1", detail="two\nlines")), OURS)


@pytest.mark.parametrize("text", ["", "nonsense", "AAAA", "\u00fc"])
def test_what_is_no_specification_is_refused(text: str) -> None:
    with pytest.raises((ValueError, zlib.error)):
        decode_spec(text, "r1", OURS)


@pytest.mark.parametrize(
    "other",
    [Signer("e" * 32, b"k" * 32), Signer("d" * 32, b"x" * 32), Signer("d" * 32, None)],
    ids=["another daemon", "another key", "no key"],
)
def test_only_the_daemon_with_the_key_has_signed(other: Signer) -> None:
    assert not decode_spec(encode_spec(RUN, "", OURS), "r1", other).is_signed
    assert not signed(encode_note(NOTE, OURS), signer=other)


def test_a_signature_covers_the_run_the_host_and_every_byte() -> None:
    spec, line = encode_spec(RUN, "text", OURS), encode_note(NOTE, OURS)
    assert decode_spec(spec, "r1", OURS).is_signed
    assert signed(line)
    assert not signed(line, host="evil")
    assert not list(decode_notes(line, "r2", "good", OURS))
    with pytest.raises(ValueError, match="it is of run r1"):
        decode_spec(spec, "r2", OURS)
    other = encode_spec(replace(RUN, run_id="r2"), "text", OURS)
    moved = base64.b64decode(spec)[:-32] + base64.b64decode(other)[-32:]
    assert not decode_spec(base64.b64encode(moved).decode(), "r1", OURS).is_signed
    for told, forged in (
        ("ana", "eve"),
        ('"priority":-1', '"priority":-2'),
        ('"good"', '"evil"'),
        ("{", '{"x":1,'),
    ):
        assert told in line
        assert not signed(
            line.replace(told, forged, 1), host="evil" if "evil" in forged else "good"
        )


def test_a_key_that_comes_after_the_signature_is_no_part_of_it() -> None:
    line = encode_note(NOTE, OURS)
    assert not signed(line[:-1] + ',"priority":0}')
    assert not signed(line + " ")


def old_decode_spec(text: str) -> tuple[Run, str]:
    """As versions before signatures did."""
    unpacker = zlib.decompressobj()
    value: Any = json.loads(unpacker.decompress(base64.b64decode(text, validate=True), 1 << 28))
    return from_json(Run, value["run"]), value["pipeline_text"]


def test_older_daemons_read_signed_copies_and_newer_ones_unsigned_copies() -> None:
    assert old_decode_spec(encode_spec(RUN, "text", OURS)) == (RUN, "text")
    assert from_json(Note, json.loads(encode_note(NOTE, OURS))) == NOTE
    old = {"run": to_json(RUN), "pipeline_text": "text"}
    text = base64.b64encode(zlib.compress(json.dumps(old).encode(), 6)).decode()
    found = decode_spec(text, "r1", OURS)
    assert (found.run, found.is_signed) == (RUN, False)
    assert not signed(json.dumps(to_json(NOTE), separators=(",", ":")))


def test_an_unsigned_specification_may_be_large_but_not_without_end() -> None:
    value = {"run": to_json(RUN), "pipeline_text": "x" * (25 * 1024 * 1024)}
    text = base64.b64encode(zlib.compress(json.dumps(value).encode(), 6)).decode()
    with pytest.raises(ValueError, match="too large"):
        decode_spec(text, "r1", OURS)
    assert decode_spec(encode_spec(RUN, value["pipeline_text"], OURS), "r1", OURS).is_signed


@pytest.mark.parametrize("run_id", ["../../x", "a/b", "a-b", "R", "", "r" * 33])
def test_a_run_whose_id_no_daemon_gives_is_refused(run_id: str) -> None:
    forged = replace(RUN, run_id=run_id)
    with pytest.raises(ValueError, match="no run as it was submitted"):
        decode_spec(encode_spec(forged, "", OURS), run_id, OURS)


@pytest.mark.parametrize("name", ["../x", "A", "a/b", "", "x" * 101])
def test_a_stage_or_attempt_whose_name_no_daemon_gives_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no name of a stage"):
        decode_spec(encode_spec(planning.run("r1", stage(name)), "", OURS), "r1", OURS)
    note = Note(replace(attempt("r1", "a"), stage=name, attempt_id=f"r1-{name}-1"))
    assert not list(decode_notes(encode_note(note, OURS), "r1", "gpu1", OURS))
    other = Note(replace(attempt("r1", "a"), attempt_id="../../x"))
    assert not list(decode_notes(encode_note(other, OURS), "r1", "gpu1", OURS))


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "9" * 5000])
def test_a_deep_or_long_note_says_nothing(text: str) -> None:
    assert not list(decode_notes(text, "r1", "good", OURS))


def test_a_note_keeps_all_of_its_attempt() -> None:
    ended = attempt("r1", "a", host="good", phase=Phase.FAILED, detail='a "quoted" \u00fc\n word')
    ((note, is_signed, _),) = decode_notes(encode_note(Note(ended), OURS), "r1", "good", OURS)
    assert is_signed
    assert note.attempt == ended


def test_what_a_host_repeats_counts_once_where_it_is_last() -> None:
    """What is signed has no budget: a host could send the same line until the memory is full."""
    begun = planning.attempt("r1", "a", host="good")
    first, second = (
        encode_note(Note(attempt), OURS) for attempt in (begun, replace(begun, ref="container"))
    )
    text = "\n".join([first] * 1000 + [second] * 1000 + [first])
    found = [note.attempt.ref for note, _, _ in decode_notes(text, "r1", "good", OURS)]
    assert found == ["container", None]
