"""The form, signature and size limits of the notes about services on hosts, and their reading;
`note_writing` writes them.
"""

from __future__ import annotations

import asyncio
import json

from hostler.base.errors import AgentError
from hostler.base.text import shown
from hostler.daemon.copy_format import Signer, loads
from hostler.decide.releases.notes import Told, misfit
from hostler.model.codec import from_json, to_json
from hostler.model.releases import ServiceNote
from hostler.ports import HostLink

_KIND = "service"
MOST_NOTE = 4 * 1024 * 1024
"""Most characters of a note: longer ones are neither written nor read."""
TOKENS = "TOKENS"
"""The note about the gateway's tokens, beside those of services: no service has this name."""
_MOST_UNSIGNED = 16 * 1024 * 1024
"""Most characters of all unsigned notes of one host."""
_MOST_PROBLEMS = 20
_UNSIGNED = "it is not signed by this daemon's key"


def encode_service(note: ServiceNote, signer: Signer) -> str:
    """A note as one line of ASCII. Its signature counts for this daemon and service alone."""
    body = json.dumps(to_json(note), separators=(",", ":"))
    signature = signer.sign(_KIND, note.deployment.name, body.encode("ascii")).hex()
    return f"{signature} {body}"


def decode_service(line: str, name: str, signer: Signer) -> tuple[ServiceNote, bool]:
    """A note about that service, and whether this daemon signed it. Raises ValueError or
    RecursionError for an invalid note, and for the note of another daemon."""
    signature, _, body = line.partition(" ")
    if len(line) > MOST_NOTE or not body.isascii():
        raise ValueError("it is too large, or no text")
    note = from_json(ServiceNote, loads(body))
    if why := misfit(note):
        raise ValueError(why)
    if note.deployment.name != name:
        raise ValueError(f"it is about {note.deployment.name}")
    if note.daemon_id != signer.daemon_id:
        raise ValueError(f"it is of another daemon ({shown(note.daemon_id[:32])})")
    return note, signer.has_signed(_KIND, name, body.encode("ascii"), _signature(signature))


def _signature(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""


async def read_services(link: HostLink, signer: Signer) -> tuple[list[Told], list[str]]:
    """What a host keeps of a daemon's services, and a sentence for each note that cannot be read.
    Raises Unreachable."""
    asked = {"daemon_id": signer.daemon_id}
    told = await link.call("service.list", asked)
    found: list[Told] = []
    problems: list[str] = []
    left = _MOST_UNSIGNED
    for name in dict.fromkeys(name for name in told["services"] if name != TOKENS):
        try:
            line = (await link.call("service.read", {**asked, "name": name}))["line"]
            note, is_signed = await asyncio.to_thread(decode_service, line, name, signer)
        except (AgentError, ValueError, RecursionError) as error:
            about = f"the note about service {shown(name)} on {link.host}"
            problems.append(f"{about} cannot be read: {error}")
            continue
        left -= 0 if is_signed else len(line)
        if left < 0:
            problems.append(f"{link.host} has too many notes about services that are not signed")
            break
        found.append(Told(link.host, note, "" if is_signed else _UNSIGNED))
    if len(problems) > _MOST_PROBLEMS:
        problems[_MOST_PROBLEMS:] = [f"{link.host}: {len(problems) - _MOST_PROBLEMS} problems more"]
    return found, problems
