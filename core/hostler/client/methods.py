"""How a call that is described once becomes a method of both clients."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Generic, ParamSpec, TypeVar, overload

from hostler.base.wire import Response
from hostler.client.call import Call
from hostler.client.exchange import Exchange, ask, ask_surely, opened
from hostler.client.flow import Blocking, Concurrent, Flow, Io

P = ParamSpec("P")
T = TypeVar("T")
B = TypeVar("B")
A = TypeVar("A")


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
    """A method that gives values one by one."""

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


def bound(client: Blocking | Concurrent, work: Callable[P, Call[T] | Io[T]]) -> Callable[P, object]:
    """What carries out work by a client. A call with a key is repeated where its answer is lost."""

    def method(*args: P.args, **kwargs: P.kwargs) -> object:
        made = work(*args, **kwargs)
        if isinstance(made, Call):
            made = ask_surely(made) if made.key else ask(made)
        return client.carry_out(made)

    return method
