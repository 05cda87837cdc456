"""Builds by Docker's classic builder: one request with the context; the answer contains progress
and exit code.

The build lives as long as the request: when the connection ends, Docker stops the build and keeps
the finished steps, which the next build uses.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from hostler.base.errors import EngineError, HostFault, Unreachable
from hostler.base.text import clean_line
from hostler.model.builds import BuildJob, Built
from hostler.model.timings import DEFAULT, RuntimeTimings
from hostler.ports import HostLink, LogSink, Progress
from hostler.runtimes.docker.build_request import TAR, body_of, query_of, read_context, read_logins
from hostler.runtimes.docker.build_words import full_for, host_trouble, said, says_full
from hostler.runtimes.docker.context import BuildContext
from hostler.runtimes.docker.http import Response, upload
from hostler.runtimes.docker.logins import header_of
from hostler_agent.json_values import Message, table

_ID = re.compile("sha256:[0-9a-f]{64}")
_TAIL = 2000
_STEP = re.compile(r"Step (\d{1,9})/(\d{1,9}) : (.*)")
_EXIT = re.compile(r"returned a non-zero code: (\d{1,9})")


class ClassicBuilder:
    """Builds images on hosts. Keeps no state: Docker caches the finished steps."""

    def __init__(
        self, blob_path: Callable[[str], Path], timings: RuntimeTimings = DEFAULT.runtimes
    ) -> None:
        """`blob_path`: returns the path of a file in the content store by its digest."""
        self._blob_path = blob_path
        self._timings = timings

    async def build(
        self, link: HostLink, job: BuildJob, sink: LogSink, progress: Progress
    ) -> Built:
        """Build an image, with the builder's output in `sink`. Raises InputError if the build
        cannot begin, EngineError if the host lacks something, Unreachable when cut."""
        context = await read_context(job, self._blob_path)
        watch = _Watch(link.host, context, sink, progress)
        progress("sending the files of the build", 0, context.size)
        body, query = body_of(context, progress), query_of(job, context)
        headers = TAR | header_of(await read_logins(job, context))
        try:
            async with upload(link, "/build", query, headers, body, self._timings) as response:
                return await watch.ended(response)
        except EngineError as error:
            if error.status == 400 and not isinstance(error, HostFault):
                # The Dockerfile is invalid, or names a stage that it does not contain.
                return Built(error=said(link.host, context.text, error.message))
            raise


class _Watch:
    """Reads the builder's answer."""

    def __init__(self, host: str, context: BuildContext, sink: LogSink, progress: Progress) -> None:
        self._host, self._context = host, context
        self._sink, self._progress = sink, progress
        self._image: str | None = None
        self._tail = b""
        self._step, self._where = "", ""
        """The current instruction: alone, and with its number."""

    async def ended(self, response: Response) -> Built:
        """Read the answer to the end; returns the result."""
        async for line in response.json_lines():
            if "error" in line:
                return self._failed(line)
            self._take(line)
        if self._image is None:
            raise Unreachable(self._host, "Docker ended the build without a result")
        return Built(image=self._image)

    def _take(self, line: Message) -> None:
        text = line.get("stream")
        if isinstance(text, str):
            data = text.encode("utf-8", "replace")
            self._sink.append(data, {})
            self._tail = (self._tail + data)[-_TAIL:]
            if found := _STEP.match(text):
                self._step, number = found[3].strip(), f"step {found[1]}/{found[2]}"
                self._where = f"{number}: {clean_line(self._step, 120)}"
                self._progress(self._where, int(found[1]) - 1, int(found[2]))
        image = table(line.get("aux")).get("ID")
        if isinstance(image, str) and _ID.fullmatch(image):
            self._image = image

    def _failed(self, line: Message) -> Built:
        text = str(line["error"])
        self._sink.append(f"{text}\n".encode("utf-8", "replace"), {})
        code = table(line.get("errorDetail")).get("code")
        found = _EXIT.search(text)
        if found is not None and says_full(self._tail):
            raise full_for(self._host, self._step, int(found[1]))
        trouble = host_trouble(self._host, self._step, text) if found is None else None
        if trouble is not None:
            raise trouble
        why = said(self._host, self._context.text, text)
        where = f"{self._where}: " if self._where else ""
        if found is not None:
            code, why = int(found[1]), f"exit code {found[1]}"
        return Built(exit_code=code if isinstance(code, int) else None, error=f"{where}{why}")
