"""The format, signature and size limits of run copies that are written on hosts for recovery.

A host may write anything into its own files, and `daemon recover` starts the runs in them again. So
the daemon signs each specification and each note with a key that never leaves its state folder.
Older daemons can read signed copies too: they ignore the bytes after the packed text of a
specification, and unknown keys in a note.
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
"""Most bytes of an unpacked specification with a valid signature."""
_MOST_UNSIGNED = 24 * 1024 * 1024
"""Most bytes without a valid signature: the content may come from anyone on the host."""
_SIGNATURE_BYTES = 32
_RUN_ID = re.compile(r"[a-z0-9]{1,32}", re.ASCII)
_STAGE = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}", re.ASCII)
"""The name of a stage, or of a cell, which ends with the cell's number."""
_SIGNED_NOTE = re.compile(r'(.*),"signature":"([0-9a-f]{64})"}', re.ASCII | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs and verifies copies of one daemon's runs. Without a key, no signature is valid."""

    daemon_id: str
    key: bytes | None

    def sign(self, kind: str, run_id: str, body: bytes) -> bytes:
        """A signature that is valid only for this daemon, kind and run."""
        assert self.key is not None, "a daemon has a key"
        message = b"".join(_framed(self.daemon_id, kind, run_id)) + body
        return hmac.new(self.key, message, hashlib.sha256).digest()

    def has_signed(self, kind: str, run_id: str, body: bytes, signature: bytes) -> bool:
        """Whether `sign` made this signature for this content."""
        if self.key is None:
            return False
        return hmac.compare_digest(self.sign(kind, run_id, body), signature)


@dataclass(frozen=True, slots=True)
class Spec:
    """A specification read from a host."""

    run: Run
    pipeline_text: str
    is_signed: bool
    size: int
    """Bytes of the unpacked text."""


def encode_spec(run: Run, pipeline_text: str, signer: Signer) -> str:
    """A run without its attempts, as one line of base64: the packed text, then its signature."""
    value = {"run": to_json(replace(run, attempts=())), "pipeline_text": pipeline_text}
    packed = zlib.compress(json.dumps(value).encode(), 6)
    signature = signer.sign("spec", run.run_id, packed)
    return base64.b64encode(packed + signature).decode("ascii")


def decode_spec(text: str, run_id: str, signer: Signer) -> Spec:
    """The specification that `encode_spec` wrote for a run. Versions without signatures wrote the
    same text without one. Raises ValueError, RecursionError or zlib.error."""
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
    """Raises ValueError for names that a daemon never gives, since names of files and containers
    are made of them."""
    if not _RUN_ID.fullmatch(run.run_id) or run.attempts:
        raise ValueError("it is no run as it was submitted")
    for stage in run.stages:
        if not _STAGE.fullmatch(stage.name):
            raise ValueError(f"{stage.name!r} is no name of a stage")


def _is_named_well(attempt: Attempt) -> bool:
    """Whether the attempt's id consists of its run, stage and number, like every real one."""
    named = f"{attempt.run_id}-{attempt.stage}-{attempt.number}"
    return attempt.attempt_id == named and _STAGE.fullmatch(attempt.stage) is not None


def encode_note(note: Note, signer: Signer) -> str:
    """A note as one line of ASCII. The signature covers its attempt, with run and host."""
    body = json.dumps(to_json(note), separators=(",", ":"))[:-1]
    signature = signer.sign("note", note.attempt.run_id, body.encode("ascii")).hex()
    return f'{body},"signature":"{signature}"}}'


def decode_notes(
    lines: str, run_id: str, host: str, signer: Signer
) -> Iterator[tuple[Note, bool, int]]:
    """The readable notes of a run: each note, whether it was signed for this host, and its length.

    Lines that a full disk or a crash cut short are skipped. Of equal lines only the last one
    counts, because a host can repeat a signed line.
    """
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
    """The end of a run as one signed line of ASCII."""
    outcome = None if end.outcome is None else end.outcome.value
    body = json.dumps([end.run_id, outcome, end.at], separators=(",", ":"))
    signature = signer.sign("end", end.run_id, body.encode("ascii")).hex()
    return f"{signature} {body}"


def decode_ends(lines: str, signer: Signer) -> Iterator[End]:
    """The ends that this daemon has signed; other lines are skipped."""
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
    """Each part after its length, so that different lists of parts give different bytes."""
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        yield len(data).to_bytes(8, "big") + data


def loads(text: str | bytes) -> Any:
    """A JSON value that the database can store. Raises ValueError, RecursionError for others: whole
    numbers over 64 bits, NaN and infinity, text with half of a surrogate pair."""
    value = json.loads(text, parse_int=_whole, parse_constant=_whole)
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    return value


def _whole(text: str) -> int:
    value = int(text)
    if abs(value) >= 2**63:
        raise ValueError("a number beyond 64 bits")
    return value
