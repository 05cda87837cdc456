"""The format, signature and size limits of run copies that are written on hosts for recovery.

A host may write anything into its own files, and `daemon recover` runs what they say. So the
daemon signs each specification and each note with a key that never leaves its state folder. Older
daemons read signed copies as well: they ignore what follows the packed text of a specification,
and a key that they do not know in a note.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hostler.decide.merging import End
from hostler.decide.recovery import Note
from hostler.model.codec import from_json, to_json
from hostler.model.runs import Attempt, Outcome, Run

_MOST_TEXT = 256 * 1024 * 1024
"""Bytes of a specification once unpacked."""
_MOST_UNSIGNED = 24 * 1024 * 1024
"""The same without a valid signature: a host may claim anything."""
_SIGNATURE_BYTES = 32
_RUN_ID = re.compile(r"[a-z0-9]{1,32}", re.ASCII)
_STAGE = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}", re.ASCII)
"""A stage's name, or a cell's: with its number behind it."""
_SIGNED_NOTE = re.compile(r'(.*),"signature":"([0-9a-f]{64})"}', re.ASCII | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs and verifies copies of one daemon's runs. Without a key nothing is verified."""

    daemon_id: str
    key: bytes | None

    def sign(self, kind: str, run_id: str, body: bytes) -> bytes:
        """A signature that counts for this daemon, kind and run alone."""
        assert self.key is not None, "a daemon has a key"
        message = b"".join(_framed(self.daemon_id, kind, run_id)) + body
        return hmac.new(self.key, message, hashlib.sha256).digest()

    def has_signed(self, kind: str, run_id: str, body: bytes, signature: bytes) -> bool:
        """Whether `sign` gave this signature."""
        if self.key is None:
            return False
        return hmac.compare_digest(self.sign(kind, run_id, body), signature)


@dataclass(frozen=True, slots=True)
class Spec:
    """A specification that was read."""

    run: Run
    pipeline_text: str
    is_signed: bool
    size: int
    """Bytes once unpacked."""


def encode_spec(run: Run, pipeline_text: str, signer: Signer) -> str:
    """A run without its attempts, as one line of ASCII: the packed text, then its signature."""
    value = {"run": to_json(replace(run, attempts=())), "pipeline_text": pipeline_text}
    packed = zlib.compress(json.dumps(value).encode(), 6)
    signature = signer.sign("spec", run.run_id, packed)
    return base64.b64encode(packed + signature).decode("ascii")


def decode_spec(text: str, run_id: str, signer: Signer) -> Spec:
    """What `encode_spec`, of this version or of one before signatures, wrote for that run. Raises
    ValueError, RecursionError or zlib.error."""
    data = base64.b64decode(text, validate=True)
    packed, signature = data[:-_SIGNATURE_BYTES], data[-_SIGNATURE_BYTES:]
    is_signed = signer.has_signed("spec", run_id, packed, signature)
    unpacker = zlib.decompressobj()
    unpacked = unpacker.decompress(data, _MOST_TEXT if is_signed else _MOST_UNSIGNED)
    if unpacker.unconsumed_tail:
        raise ValueError("it is too large")
    value = loads(unpacked)
    if not isinstance(value, Mapping):
        raise ValueError("it is no object")
    run = from_json(Run, value.get("run"))
    if run.run_id != run_id:
        raise ValueError(f"it is of run {run.run_id}")
    _check_names(run)
    return Spec(run, str(value.get("pipeline_text") or ""), is_signed, len(unpacked))


def _check_names(run: Run) -> None:
    """Raises ValueError for names that no daemon gives: files and containers are called by them."""
    if not _RUN_ID.fullmatch(run.run_id) or run.attempts:
        raise ValueError("it is no run as it was submitted")
    for stage in run.stages:
        if not _STAGE.fullmatch(stage.name):
            raise ValueError(f"{stage.name!r} is no name of a stage")


def _is_named_well(attempt: Attempt) -> bool:
    """By its run, stage and number, as its log and its container are."""
    named = f"{attempt.run_id}-{attempt.stage}-{attempt.number}"
    return attempt.attempt_id == named and _STAGE.fullmatch(attempt.stage) is not None


def encode_note(note: Note, signer: Signer) -> str:
    """A note as one line of ASCII. Its attempt, with run and host, is part of what is signed."""
    body = json.dumps(to_json(note), separators=(",", ":"))[:-1]
    signature = signer.sign("note", note.attempt.run_id, body.encode("ascii")).hex()
    return f'{body},"signature":"{signature}"}}'


def decode_notes(
    lines: str, run_id: str, host: str, signer: Signer
) -> Iterator[tuple[Note, bool, int]]:
    """The notes of that run that can be read, each with whether it was signed for that host, and
    its length: a line that a full disk or a crash cut short says nothing. One that is repeated
    counts where it is last: a host may repeat what was signed as often as it likes."""
    for line in reversed(dict.fromkeys(reversed(lines.splitlines()))):
        signed = _SIGNED_NOTE.fullmatch(line)
        is_signed = signed is not None and signer.has_signed(
            "note", run_id, signed[1].encode("ascii", "replace"), bytes.fromhex(signed[2])
        )
        try:
            note = from_json(Note, loads(line))
        except (ValueError, RecursionError):
            continue
        if note.attempt.run_id == run_id and _is_named_well(note.attempt):
            yield note, is_signed and note.attempt.host == host, len(line)


def encode_end(end: End, signer: Signer) -> str:
    """That a run has ended, as one line of ASCII."""
    outcome = None if end.outcome is None else end.outcome.value
    body = json.dumps([end.run_id, outcome, end.at], separators=(",", ":"))
    signature = signer.sign("end", end.run_id, body.encode("ascii")).hex()
    return f"{signature} {body}"


def decode_ends(lines: str, signer: Signer) -> Iterator[End]:
    """Those that this daemon has signed: others say nothing."""
    for line in lines.splitlines():
        signature, _, body = line.partition(" ")
        try:
            run_id, outcome, at = loads(body)
            end = End(str(run_id), None if outcome is None else Outcome(outcome), float(at))
            signed = bytes.fromhex(signature)
        except (ValueError, TypeError, RecursionError):
            continue
        if signer.has_signed("end", end.run_id, body.encode("ascii", "replace"), signed):
            yield end


def _framed(*parts: str) -> Iterator[bytes]:
    """Each part with its length before it, so that no two lists of parts are the same bytes."""
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        yield len(data).to_bytes(8, "big") + data


def loads(text: str | bytes) -> Any:
    """A JSON value of which all can be written into a database. Raises ValueError, RecursionError
    for others: numbers beyond 64 bits or without value, halves of characters."""
    value = json.loads(text, parse_int=_whole, parse_constant=_whole)
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    return value


def _whole(text: str) -> int:
    value = int(text)
    if abs(value) >= 2**63:
        raise ValueError("a number beyond 64 bits")
    return value
