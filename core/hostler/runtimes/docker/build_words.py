"""The wording of build errors: which failures are the host's fault (no image, no space), and which
`# syntax=` images are allowed. Pure."""

from __future__ import annotations

import re
from itertools import takewhile

from hostler.base.errors import EngineError
from hostler.base.text import clean_line
from hostler.runtimes.docker.explain import engine_error, pull_error, shortened

_IMAGE = re.compile(r"(?:FROM\s+(?:--platform=\S+\s+)?|.*?--from=)(\S+)", re.I)
_UNRESOLVED = re.compile(r"failed to resolve source metadata for (\S+?):? ")
_COMMENT = re.compile(r"\s*(?:#|//)")
_SYNTAX = re.compile(r"\s*(?:#|//)\s*syntax\s*=\s*(\S+)", re.I)
_JSON = re.compile(r"\ufeff?(?:#![^\n]*\n)?\s*\{")
"""BuildKit also searches for `syntax` in a text that begins like this; no Dockerfile instruction
does."""
_FRONTEND = re.compile(r"(?:docker\.io/)?docker/dockerfile(?:[:@]|$)")
_NEEDS_BUILDKIT = re.compile(
    r"^[ \t]*(?:RUN|COPY|ADD)[ \t].*?"
    r"(?:--(?:mount|link|parents|chmod|exclude|network|security)\b|<<)",
    re.I | re.M,
)
_NO_IMAGE = re.compile(
    r"pull access denied|manifest unknown|manifest for .* not found|dial tcp|no such host|"
    r"i/o timeout|TLS handshake timeout|network is unreachable|server misbehaving|"
    r"Client\.Timeout|unauthorized|authentication required|failed to resolve reference|"
    r"No such image|toomanyrequests",
    re.I,
)
_FULL = re.compile("no space left on device|disk quota exceeded", re.I)
_LONGEST = 500


def host_trouble(host: str, step: str, text: str) -> EngineError | None:
    """The error if a step failed because the host lacks the image that the step names, or space.
    None: the Dockerfile is the cause."""
    text = shortened(text)
    if _FULL.search(text):
        return engine_error(host, "building", 0, text)
    found = _IMAGE.match(step) if _NO_IMAGE.search(text) else None
    if found is None:
        return None
    error = pull_error(host, clean_line(found[1], 200), 0, text)
    return EngineError(host, f"the base image: {error.message}", remedy=error.remedy)


def buildkit_trouble(host: str, text: str) -> EngineError | None:
    """The same for BuildKit, whose error message names the image."""
    text = shortened(text)
    if _FULL.search(text):
        return engine_error(host, "building", 0, text)
    found = _UNRESOLVED.search(text)
    if found is None:
        return None
    image = clean_line(found[1], 200)
    error = pull_error(host, image, 0, text)
    what = "the image of `# syntax=`" if _FRONTEND.match(image) else "the base image"
    hint = ". Without that line, Docker's own reader is used" if "syntax" in what else ""
    return EngineError(host, f"{what}: {error.message}", remedy=f"{error.remedy}{hint}")


def says_full(tail: bytes) -> bool:
    """Whether the end of a command's output reports that no space is left."""
    return _FULL.search(tail.decode("utf-8", "replace")) is not None


def full_for(host: str, step: str, code: int | None) -> EngineError:
    """The error for a command that failed and reports that no space is left."""
    return EngineError(
        host,
        f"no space on {host} while building: {clean_line(step, 120)}: exit code {code}",
        remedy=f"free space on {host} (hostler gc, docker system df), or give the build less to do",
    )


def foreign_syntax(dockerfile: str) -> str | None:
    """The image that parses the Dockerfile, if it is not Docker's own; None: it is Docker's own.

    All lines before the first one that is not a comment are checked: if several name an image,
    older versions of BuildKit (Docker 23 and before) use the last, and skip any number of other
    lines.
    """
    if _JSON.match(dockerfile):
        return "whatever its JSON names"
    comments = takewhile(_COMMENT.match, dockerfile.removeprefix("\ufeff").split("\n"))
    named = (found[1] for found in map(_SYNTAX.match, comments) if found is not None)
    foreign = next((image for image in named if not _FRONTEND.match(image)), None)
    return None if foreign is None else clean_line(foreign, 200)


def said(host: str, dockerfile: str, text: str) -> str:
    """Why the classic builder failed, in a sentence, with a remedy if one is known."""
    line = clean_line(text.strip() or "the builder printed nothing", _LONGEST)
    if not _NEEDS_BUILDKIT.search(dockerfile):
        return line
    return (
        f"{line}. The Dockerfile uses options or here-documents that the classic builder of "
        f"Docker on {host} does not have: remove them"
    )


def said_by_buildkit(step: str, text: str, code: int | None) -> str:
    """Why BuildKit failed, in a sentence: the step, and how it ended."""
    why = clean_line(text.strip(), _LONGEST) if code is None else f"exit code {code}"
    return f"{clean_line(step, 120)}: {why}" if step else why
