"""Turns the description of a call into a method of both clients, typed for type checkers.
`Client.run` and `Client.find` return the handle of a run, which is loaded when the first one is
made."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from os import PathLike
from typing import (
    TYPE_CHECKING,
    Generic,
    Literal,
    ParamSpec,
    Protocol,
    TypedDict,
    TypeVar,
    Unpack,
    overload,
)

from hostler.base.wire import Response
from hostler.client.call import Call
from hostler.client.exchange import Exchange, bound, opened
from hostler.client.flow import Blocking, Concurrent, Flow, Io

if TYPE_CHECKING:
    from hostler.client.handle import AsyncRun, Run
    from hostler.model.runtimes import RuntimeName

P = ParamSpec("P")
T = TypeVar("T")
B = TypeVar("B")
A = TypeVar("A")
R_co = TypeVar("R_co", covariant=True)
Value = str | int | float | bool


class Method(Generic[P, T]):
    """A method with one answer: a value for a blocking client, a coroutine for the other."""

    def __init__(self, work: Callable[P, Call[T] | Io[T]]) -> None:
        self._work = work

    @overload
    def __get__(self, client: Blocking, owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(
        self, client: Concurrent, owner: type
    ) -> Callable[P, Coroutine[object, None, T]]: ...
    def __get__(self, client: Blocking | Concurrent | None, owner: type) -> Callable[P, object]:
        return self._work if client is None else bound(client, self._work)


class Opening(Generic[P, B, A]):
    """A method whose answer is read as it arrives: as `blocking`, or `concurrent`."""

    def __init__(
        self,
        call: Callable[P, Call[None]],
        blocking: Callable[[Blocking, Exchange, Response], B],
        concurrent: Callable[[Concurrent, Exchange, Response], A],
    ) -> None:
        self._call, self._blocking, self._concurrent = call, blocking, concurrent

    @overload
    def __get__(self, client: Blocking, owner: type) -> Callable[P, B]: ...
    @overload
    def __get__(
        self, client: Concurrent, owner: type
    ) -> Callable[P, Coroutine[object, None, A]]: ...
    def __get__(self, client: Blocking | Concurrent | None, owner: type) -> Callable[P, object]:
        if client is None:
            return self._call

        def method(*args: P.args, **kwargs: P.kwargs) -> object:
            call = self._call(*args, **kwargs)
            if isinstance(client, Blocking):
                return self._blocking(client, *client.carry_out(opened(call)))
            return self._coming(client, call)

        return method

    async def _coming(self, client: Concurrent, call: Call[None]) -> A:
        return self._concurrent(client, *await client.carry_out(opened(call)))


class Stream(Generic[P, T]):
    """A method that yields values."""

    def __init__(self, flow: Callable[P, Flow[T]]) -> None:
        self._flow = flow

    @overload
    def __get__(self, client: Blocking, owner: type) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, client: Concurrent, owner: type) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(self, client: Blocking | Concurrent | None, owner: type) -> Callable[P, object]:
        if client is None:
            return self._flow
        each: Callable[[Flow[T]], object] = client.each

        def method(*args: P.args, **kwargs: P.kwargs) -> object:
            return each(self._flow(*args, **kwargs))

        return method


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
    warn: str
    on_timeout: Literal["fail", "requeue"]
    code: Literal["snapshot", "here", "none"]
    mounts: str | Sequence[str]
    venv: str
    conda: str
    modules: str | Sequence[str]
    setup: str
    setup_files: Sequence[str]
    setup_timeout: str
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
    nested: bool


class Submits(Protocol[R_co]):
    """`Client.run`, as type checkers see it."""

    @overload
    def __call__(
        self, pipeline: str | PathLike[str], /, *, title: str = "", priority: int = 0,
        include: Sequence[str] = (), after: str | Sequence[str] = (),
        after_any: str | Sequence[str] = (), params: Mapping[str, Value] | None = None,
        args: Sequence[str] = (), secrets: Mapping[str, str] | Sequence[str] = (),
        key: str | None = None, say: Callable[[str], object] | None = None, **values: Value,
    ) -> R_co: ...  # fmt: skip
    @overload
    def __call__(
        self, command: Sequence[str], /, *, title: str = "", priority: int = 0,
        include: Sequence[str] = (), after: str | Sequence[str] = (),
        after_any: str | Sequence[str] = (), folder: str | PathLike[str] | None = None,
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
    from hostler.client.handle import AsyncRun, Run

    async def coming(client: Concurrent, made: Io[str]) -> AsyncRun:
        return AsyncRun(client, await client.carry_out(made))

    def method(*args: P.args, **kwargs: P.kwargs) -> object:
        made = work(*args, **kwargs)
        if isinstance(client, Blocking):
            return Run(client, client.carry_out(made))
        return coming(client, made)

    return method
