"""Reads and verifies the run copies that a host keeps, with limits on unsigned bytes and on listed
problems.
"""

from __future__ import annotations

import asyncio
import zlib
from dataclasses import dataclass

from hostler.daemon.copy_format import Signer, Spec, decode_ends, decode_notes, decode_spec
from hostler.decide.merging import End
from hostler.decide.recovery import Kept, Note
from hostler.ports import HostLink

_MOST_LINES = 64 * 1024 * 1024
_MOST_UNSIGNED = 64 * 1024 * 1024
"""Most bytes of unsigned copies that are read from one host."""
_MOST_PROBLEMS = 20
_NO_SPEC = "its specification is not signed by this daemon's key"


class _TooMuch(ValueError):
    """A host has more unsigned bytes than the limit."""


@dataclass(slots=True)
class _Budget:
    """The unsigned bytes that may still be read from a host."""

    left: int = _MOST_UNSIGNED

    refused: int = 0
    """Copies that were left out because they were over the limit."""

    def take(self, size: int) -> None:
        """Count these bytes. Raises _TooMuch if they are over the limit."""
        if size > self.left:
            raise _TooMuch("the host has too many copies that are not signed")
        self.left -= size


async def read_copies(link: HostLink, signer: Signer) -> tuple[list[Kept], list[str]]:
    """The copies of a daemon's runs on a host, and a sentence for each copy that cannot be read.
    Raises HostError."""
    told = await link.call("run.list", {"daemon_id": signer.daemon_id})
    found: list[Kept] = []
    problems: list[str] = []
    budget = _Budget()
    for run_id in dict.fromkeys(told["runs"]):
        try:
            found.append(await _read(link, run_id, signer, budget))
        except _TooMuch:
            budget.refused += 1
        except (ValueError, zlib.error, RecursionError) as error:
            problems.append(f"the copy of run {run_id} on {link.host} cannot be read: {error}")
    if budget.refused:
        said = f"{link.host} has too many copies that are not signed: {budget.refused} not shown"
        problems.append(said)
    if len(problems) > _MOST_PROBLEMS:
        problems[_MOST_PROBLEMS:] = [f"{link.host}: {len(problems) - _MOST_PROBLEMS} problems more"]
    return found, problems


async def read_ends(link: HostLink, signer: Signer) -> list[End]:
    """The ends of a daemon's runs whose copies a host has deleted: the daemon signed each end at
    the deletion. Raises HostError."""
    offset = 0
    found: dict[str, End] = {}
    size = 0
    while True:
        page = await link.call("run.ended", {"daemon_id": signer.daemon_id, "offset": offset})
        size += len(page["lines"])
        if not page["lines"] or page["next"] <= offset or size > _MOST_LINES:
            return list(found.values())
        offset = page["next"]
        ends = await asyncio.to_thread(lambda text: [*decode_ends(text, signer)], page["lines"])
        found |= {end.run_id: end for end in ends}


async def read_copy(link: HostLink, run_id: str, signer: Signer) -> Kept | None:
    """The copy of one run on a host; None: there is no readable one. Raises HostError."""
    try:
        return await _read(link, run_id, signer, _Budget())
    except (ValueError, zlib.error, RecursionError):
        return None


async def _read(link: HostLink, run_id: str, signer: Signer, budget: _Budget) -> Kept:
    asked, offset = {"daemon_id": signer.daemon_id, "run_id": run_id}, 0
    page = await link.call("run.read", {**asked, "offset": offset})
    text = str(page.get("spec"))
    spec = await asyncio.to_thread(decode_spec, text, run_id, signer)
    if not spec.is_signed:
        budget.take(spec.size)
    pages, size = [page["lines"]], len(page["lines"])
    while page["lines"]:
        if page["next"] <= offset or size > _MOST_LINES:
            raise ValueError("its lines have no end")
        offset = page["next"]
        page = await link.call("run.read", {**asked, "offset": offset})
        pages.append(page["lines"])
        size += len(page["lines"])
    return await asyncio.to_thread(_kept, link.host, spec, "".join(pages), signer, budget)


def _kept(host: str, spec: Spec, lines: str, signer: Signer, budget: _Budget) -> Kept:
    run_id = spec.run.run_id
    found: list[tuple[Note, bool]] = []
    for note, is_signed, size in decode_notes(lines, run_id, host, signer):
        if not is_signed:
            budget.take(size)
        found.append((note, is_signed))
    notes = _without_superseded(found)
    unsigned = sum(not is_signed for _, is_signed in notes)
    doubt = f"{unsigned} of its notes not signed for {host} by this daemon's key"
    return Kept(
        host,
        spec.run,
        spec.pipeline_text,
        tuple(note for note, _ in notes),
        spec_doubt="" if spec.is_signed else _NO_SPEC,
        notes_doubt=doubt if unsigned else "",
    )


def _without_superseded(notes: list[tuple[Note, bool]]) -> list[tuple[Note, bool]]:
    """The notes without each unsigned note that is followed by a signed one of the same attempt.
    Unsigned notes come from versions without a key; the later signed note replaces them."""
    newest = {n.attempt.attempt_id: at for at, (n, is_signed) in enumerate(notes) if is_signed}
    return [
        (note, is_signed)
        for at, (note, is_signed) in enumerate(notes)
        if is_signed or at > newest.get(note.attempt.attempt_id, -1)
    ]
