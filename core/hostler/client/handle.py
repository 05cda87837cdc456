"""The handle of a run: what `Client.run` and `Client.find` return."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from os import PathLike
from typing import (
    Concatenate,
    Generic,
    Literal,
    ParamSpec,
    Protocol,
    TypedDict,
    TypeVar,
    Unpack,
    overload,
)

from hostler.client import calls, handle_work, work
from hostler.client.call import Call
from hostler.client.flow import Blocking, Concurrent, Flow, Io
from hostler.client.methods import bound
from hostler.model.runtimes import RuntimeName

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C", bound=Blocking | Concurrent)
R_co = TypeVar("R_co", covariant=True)
Value = str | int | float | bool


class OfRun(Generic[P, T]):
    """A method of a handle: a value for a blocking client, a coroutine for the other."""

    def __init__(self, work: Callable[Concatenate[str, P], Call[T] | Io[T]]) -> None:
        self._work = work

    @overload
    def __get__(self, run: Handle[Blocking], owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(
        self, run: Handle[Concurrent], owner: type
    ) -> Callable[P, Coroutine[object, None, T]]: ...
    def __get__(
        self, run: Handle[Blocking] | Handle[Concurrent] | None, owner: type
    ) -> Callable[..., object]:
        if run is None:
            return self._work
        run_id = run.id

        def work(*args: P.args, **kwargs: P.kwargs) -> Call[T] | Io[T]:
            return self._work(run_id, *args, **kwargs)

        return bound(run.client, work)


class StreamOfRun(Generic[P, T]):
    """A method of a handle that gives values one by one."""

    def __init__(self, flow: Callable[Concatenate[str, P], Flow[T]]) -> None:
        self._flow = flow

    @overload
    def __get__(self, run: Handle[Blocking], owner: type) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, run: Handle[Concurrent], owner: type) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(
        self, run: Handle[Blocking] | Handle[Concurrent] | None, owner: type
    ) -> Callable[..., object]:
        if run is None:
            return self._flow
        client, run_id = run.client, run.id

        def method(*args: P.args, **kwargs: P.kwargs) -> object:
            return client.each(self._flow(run_id, *args, **kwargs))

        return method


class Handle(Generic[C]):
    """A run. `id` is its name: `Client.find` makes a handle of it, also in another program."""

    def __init__(self, client: C, run_id: str) -> None:
        self.client = client
        self.id = run_id

    wait = OfRun(handle_work.wait)
    logs = StreamOfRun(handle_work.logs)
    metrics = OfRun(handle_work.metrics)
    fetch = OfRun(handle_work.fetch)
    files = OfRun(work.files)
    show = OfRun(calls.show)
    why = OfRun(calls.why)
    cancel = OfRun(calls.cancel)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r})"


class Run(Handle[Blocking]):
    """A run, from a blocking client."""

    @property
    def status(self) -> str:
        """ "waiting", "running", "succeeded", "failed" or "cancelled": asked for each time."""
        return self.client.carry_out(handle_work.status(self.id))


class AsyncRun(Handle[Concurrent]):
    """A run, from an asynchronous client."""

    @property
    def status(self) -> Coroutine[object, None, str]:
        """Await it: "waiting", "running", "succeeded", "failed" or "cancelled"."""
        return self.client.carry_out(handle_work.status(self.id))


class Handles(Generic[P]):
    """A method of both clients that returns a handle."""

    def __init__(self, work: Callable[P, Io[str]]) -> None:
        self._work = work

    @overload
    def __get__(self, client: Blocking, owner: type) -> Callable[P, Run]: ...
    @overload
    def __get__(
        self, client: Concurrent, owner: type
    ) -> Callable[P, Coroutine[object, None, AsyncRun]]: ...
    def __get__(self, client: Blocking | Concurrent | None, owner: type) -> Callable[P, object]:
        return self._work if client is None else _handle_of(client, self._work)


class CommandOptions(TypedDict, total=False):
    """What a command needs, by the names of a stage's keys in pipeline.toml."""

    name: str
    image: str
    gpus: int
    gpu_memory: str
    gpu_model: str | Sequence[str]
    cpus: float
    ram: str
    disk: str
    shm: str
    host: str | Sequence[str]
    env: Mapping[str, str]
    secrets: Mapping[str, str] | Sequence[str]
    secret_files: Sequence[str]
    timeout: str
    code: Literal["snapshot", "here", "none"]
    mounts: str | Sequence[str]
    venv: str
    keep: str | Sequence[str]
    each: str | Sequence[str]
    array: Sequence[int]
    max_parallel: int
    labels: Mapping[str, str]
    shell: bool | Literal["plain"]
    workdir: str
    runtime: Literal["auto"] | RuntimeName
    retries: int
    outputs: Mapping[str, str]
    checkpoint: str


class Submits(Protocol[R_co]):
    """`Client.run`, as type checkers see it."""

    @overload
    def __call__(
        self, pipeline: str | PathLike[str], /, *, title: str = "", priority: int = 0,
        include: Sequence[str] = (), params: Mapping[str, Value] | None = None,
        secrets: Mapping[str, str] | Sequence[str] = (),
        key: str | None = None, say: Callable[[str], object] | None = None, **values: Value,
    ) -> R_co: ...  # fmt: skip
    @overload
    def __call__(
        self, command: Sequence[str], /, *, title: str = "", priority: int = 0,
        include: Sequence[str] = (), folder: str | PathLike[str] | None = None,
        key: str | None = None, say: Callable[[str], object] | None = None,
        **options: Unpack[CommandOptions],
    ) -> R_co: ...  # fmt: skip


class RunMethod:
    """`Client.run`: a handle of a new run."""

    def __init__(self, work: Callable[..., Io[str]]) -> None:
        self._work = work

    @overload
    def __get__(self, client: Blocking, owner: type) -> Submits[Run]: ...
    @overload
    def __get__(
        self, client: Concurrent, owner: type
    ) -> Submits[Coroutine[object, None, AsyncRun]]: ...
    def __get__(self, client: Blocking | Concurrent | None, owner: type) -> Callable[..., object]:
        return self._work if client is None else _handle_of(client, self._work)


def _handle_of(client: Blocking | Concurrent, work: Callable[P, Io[str]]) -> Callable[P, object]:
    async def coming(client: Concurrent, made: Io[str]) -> AsyncRun:
        return AsyncRun(client, await client.carry_out(made))

    def method(*args: P.args, **kwargs: P.kwargs) -> object:
        made = work(*args, **kwargs)
        if isinstance(client, Blocking):
            return Run(client, client.carry_out(made))
        return coming(client, made)

    return method
