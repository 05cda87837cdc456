"""Short Docker calls (inspect, create, start, kill, remove) by Docker's SDK in 8 threads, and which
failures count as unreachable.

If there is no answer (refused, reset, timed out), the error is `Unreachable`: the call may have had
an effect, and every call here may be repeated. A negative answer is `EngineError`.

The threads do not keep the process from ending, unlike those of `ThreadPoolExecutor`: with it, one
call without an answer would delay the daemon's exit until the call's time limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import docker
import docker.auth
import docker.errors
import docker.utils
import requests.exceptions

from hostler.base.errors import EngineError, HostFault, Unreachable
from hostler.model.images import choose_digest
from hostler.model.timings import DEFAULT, RuntimeTimings
from hostler.runtimes.docker.body import ContainerBody
from hostler.runtimes.docker.explain import engine_error, permission_denied
from hostler.runtimes.docker.flavour import Flavour, is_podman, is_rootless
from hostler.runtimes.docker.sdk import BadAnswer, connect
from hostler_agent.json_values import Message, table

T = TypeVar("T")

_THREADS = 8
_ERROR_CAP = 64 * 1024
_NOT_ENDED = "did not receive an exit event"
"""Docker's error if a container has not ended twelve seconds after SIGKILL."""


class Engine:
    """The Docker of one host at one URL. Close it when the host has another URL."""

    def __init__(self, host: str, url: str, timings: RuntimeTimings = DEFAULT.runtimes) -> None:
        self.timings = timings
        self.host = host
        self.url = url
        self._threads = Threads(_THREADS, f"docker-{host}")
        self._closed = False
        self._client: docker.APIClient | None = None
        self._opening = asyncio.Lock()
        self._digests: dict[str, list[str]] = {}
        self._flavour: Flavour | None = None

    async def flavour(self) -> Flavour:
        """Docker or Podman, and its abilities; requested once."""
        if self._flavour is None:
            self._flavour = await self._call("asking what it is", _ask_flavour)
        return self._flavour

    async def create(self, name: str, body: ContainerBody) -> str:
        """Create a container; returns its id. Raises EngineError with status 404 (no image) or 409
        (name)."""

        def call(client: docker.APIClient) -> str:
            url = client._url("/containers/create")
            answer = client._post_json(url, data=body, params={"name": name})
            return str(client._result(answer, json=True)["Id"])

        return await self._call(f"creating {name}", call)

    async def start(self, ref: str) -> None:
        """Start a container that has not run."""

        within = self.timings.docker_start

        def call(client: docker.APIClient) -> None:
            url = client._url("/containers/{0}/start", ref)
            client._raise_for_status(client._post(url, timeout=within))

        await self._call(f"starting {ref[:12]}", call, within)

    async def inspect(self, ref: str) -> Message | None:
        """A container by id or name; None: it does not exist."""
        found = await self._optional(f"inspecting {ref[:12]}", lambda c: c.inspect_container(ref))
        return found if isinstance(found, dict) else None

    async def put_archive(self, ref: str, path: str, data: bytes, *, replace: bool = True) -> None:
        """Unpack a tar at `path` of a container. Without `replace`, raises EngineError if a folder
        of the tar is a link or file there, or a file of the tar is a folder there."""

        def call(client: docker.APIClient) -> None:
            url = client._url("/containers/{0}/archive", ref)
            asked = {"path": path} | ({} if replace else {"noOverwriteDirNonDir": "1"})
            client._raise_for_status(client._put(url, params=asked, data=data))

        await self._call(f"placing files in {ref[:12]}", call)

    async def has_file(self, ref: str, path: str) -> bool:
        """Whether a path exists in a container, which need not run."""
        within = self.timings.docker_answer

        def call(client: docker.APIClient) -> None:
            url = client._url("/containers/{0}/archive", ref)
            client._raise_for_status(client.head(url, params={"path": path}, timeout=within))

        try:
            await self._call(f"looking into {ref[:12]}", call)
        except EngineError as error:
            if error.status == 404:
                return False
            raise
        return True

    async def kill(self, ref: str, signal: str) -> bool:
        """Send a signal; returns False if the container does not run or does not exist."""
        try:
            await self._call(f"stopping {ref[:12]}", lambda c: c.kill(ref, signal))
        except EngineError as error:
            if error.status in (404, 409):
                return False
            if _NOT_ENDED not in error.message:
                raise
        return True

    async def remove(self, ref: str, *, force: bool = False) -> None:
        """Remove an ended container and its unnamed volumes; named ones (checkpoints) stay.
        `force`: even if Docker reports it as running."""
        try:
            await self._call(
                f"removing {ref[:12]}", lambda c: c.remove_container(ref, v=True, force=force)
            )
        except EngineError as error:
            if error.status == 404 or "already in progress" in error.message:
                return
            raise

    async def checkpoints(self, daemon_id: str) -> dict[str, str]:
        """Checkpoint volumes of a daemon: name -> key."""
        wanted = {"label": [f"hostler.daemon={daemon_id}", "hostler.checkpoint"]}
        listed = await self._call("listing volumes", lambda c: c.volumes(filters=wanted))
        return {
            volume["Name"]: volume["Labels"]["hostler.checkpoint"]
            for volume in listed.get("Volumes") or ()
        }

    async def remove_volume(self, name: str) -> bool:
        """Remove a volume; returns whether it no longer exists. A volume in use stays without an
        error."""
        try:
            await self._call(f"removing volume {name}", lambda c: c.remove_volume(name))
        except EngineError as error:
            if error.status not in (404, 409):
                raise
            return error.status == 404
        return True

    async def image_digest(self, image_id: str, name: str) -> str | None:
        """`name@sha256:...` of an image in its registry; without one, its id; None: it does not
        exist. `name`: the name in the request, as several registries may have the image."""
        if image_id not in self._digests:
            known = await self.digests(image_id)
            if known is None:
                return None
            self._digests[image_id] = known
        return choose_digest(name, self._digests[image_id]) or image_id

    async def digests(self, image: str) -> list[str] | None:
        """Every `name@sha256:...` of an image, by id or name; None: Docker has no such image."""
        data = await self._optional("reading the image", lambda c: c.inspect_image(image))
        return None if data is None else [str(each) for each in data.get("RepoDigests") or ()]

    async def image_config(self, image: str) -> Message | None:
        """An image's settings for its containers; None: Docker has no such image."""
        data = await self._optional("reading the image", lambda c: c.inspect_image(image))
        return None if data is None else table(data.get("Config"))

    async def pull_request(self, image: str) -> tuple[dict[str, str], dict[str, str]]:
        """Query and headers for a pull, with the stored login of `docker login` for the
        registry."""

        def call(client: docker.APIClient) -> tuple[dict[str, str], dict[str, str]]:
            repository, tag = docker.utils.parse_repository_tag(image)
            registry, _ = docker.auth.resolve_repository_name(repository)
            header = docker.auth.get_config_header(client, registry)
            if isinstance(header, bytes):
                header = header.decode()
            query = {"fromImage": repository, "tag": tag or "latest"}
            return query, {"X-Registry-Auth": header} if header else {}

        return await self._call(f"pulling {image}", call)

    async def close(self) -> None:
        """Close connections. Running calls end at their own time limits."""
        client, self._client, self._closed = self._client, None, True
        self._threads.close()
        if client is not None:
            client.close()

    async def _optional(self, what: str, call: Callable[[docker.APIClient], T]) -> T | None:
        try:
            return await self._call(what, call)
        except EngineError as error:
            if error.status == 404:
                return None
            raise

    async def _call(
        self, what: str, call: Callable[[docker.APIClient], T], timeout: float | None = None
    ) -> T:
        if self._closed:
            raise Unreachable(self.host, f"{what}: the connection was replaced during the call")
        with _our_errors(self.host, what):
            client = self._client or await self._open()
            # The SDK's time limit ends the call; this one also limits the wait for a free thread.
            within = self.timings.docker_answer if timeout is None else timeout
            async with asyncio.timeout(within + 10.0):
                return await self._threads.run(lambda: call(client))

    async def _open(self) -> docker.APIClient:
        async with self._opening:
            if self._client is None:
                within = self.timings.docker_answer
                async with asyncio.timeout(within + 10.0):
                    self._client = await self._threads.run(
                        lambda: connect(self.url, within, _THREADS)
                    )
            return self._client


def _ask_flavour(client: docker.APIClient) -> Flavour:
    podman = is_podman(client.version(api_version=False))
    return Flavour(podman=podman, rootless=is_rootless(client.info()))


@contextmanager
def _our_errors(host: str, what: str) -> Iterator[None]:
    try:
        yield
    except docker.errors.APIError as error:
        raise engine_error(host, what, error.status_code or 0, _explanation(error)) from error
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        raise _no_answer(host, what, error) from error
    except TimeoutError as error:
        raise Unreachable(host, f"{what}: Docker did not answer in time") from error
    except OSError as error:
        raise _no_answer(host, what, error) from error
    except RecursionError as error:
        raise _bad_answer(host, what, "sent data that is nested too deeply") from error


def _no_answer(host: str, what: str, error: BaseException) -> EngineError | Unreachable:
    if _cause(error, PermissionError):
        message, remedy = permission_denied(host)
        return HostFault(host, message, remedy=remedy)
    if bad := _cause(error, BadAnswer):
        return _bad_answer(host, what, str(bad))
    return Unreachable(
        host, f"{what}: Docker does not answer ({error})", remedy="check that dockerd runs there"
    )


def _bad_answer(host: str, what: str, did: str) -> Unreachable:
    # The call may have had an effect: a container that was to start may run.
    return Unreachable(
        host, f"{what}: Docker on {host} {did}", remedy="check which program listens there"
    )


def _cause(error: BaseException | None, kind: type[BaseException]) -> BaseException | None:
    # urllib3 and requests keep the cause in `args`, besides the exception chain.
    pending, seen = [error], set[int]()
    while pending:
        current = pending.pop()
        if current is None or id(current) in seen:
            continue
        if isinstance(current, kind):
            return current
        seen.add(id(current))
        pending += [current.__cause__, current.__context__]
        pending += [arg for arg in current.args if isinstance(arg, BaseException)]
    return None


def _explanation(error: docker.errors.APIError) -> str:
    text = error.explanation or str(error)
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    text = str(text)[:_ERROR_CAP]
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return text


class Threads:
    """At most `count` daemon threads, started when needed."""

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._started = 0

    async def run(self, call: Callable[[], T]) -> T:
        """Run `call` in a thread; returns its result. If cancelled before it starts, it does not
        run."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._jobs.put(partial(_carry_out, loop, future, call))
        if not self._idle.acquire(blocking=False) and self._started < self._count:
            self._started += 1
            name = f"{self._name}-{self._started}"
            threading.Thread(target=self._work, name=name, daemon=True).start()
        return await future

    def close(self) -> None:
        """End each thread after its current call."""
        for _ in range(self._started):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            self._idle.release()


def _carry_out(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[T], call: Callable[[], T]
) -> None:
    """Make the call, and pass the result to the waiting task in the event loop."""
    if future.cancelled():
        return
    try:
        settle = partial(_give, future, call())
    except Exception as error:  # raised in the task that awaits the call
        settle = partial(_fail, future, error)
    # A closed loop raises RuntimeError; then no task waits.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(settle)


def _give(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[T], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
