"""The handle of a run that `Client.run` and `Client.find` return: its list of methods;
handle_work.py carries them out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import (
    Concatenate,
    Generic,
    ParamSpec,
    TypeVar,
    overload,
)

from hostler.client import calls, handle_work, work
from hostler.client.call import Call
from hostler.client.exchange import bound
from hostler.client.flow import Blocking, Concurrent, Flow, Io

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C", bound=Blocking | Concurrent)


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
    """A method of a handle that yields values."""

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
        """ "waiting", "running", "succeeded", "failed" or "cancelled": requested each time."""
        return self.client.carry_out(handle_work.status(self.id))


class AsyncRun(Handle[Concurrent]):
    """A run, from an asynchronous client."""

    @property
    def status(self) -> Coroutine[object, None, str]:
        """Await it: "waiting", "running", "succeeded", "failed" or "cancelled"."""
        return self.client.carry_out(handle_work.status(self.id))
