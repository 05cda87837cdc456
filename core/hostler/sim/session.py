"""One connection between a daemon and a simulated host: messages, delays, interruptions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

from hostler.base.errors import Unreachable
from hostler.model.host_reports import LookDecoder, fault, workload
from hostler.ports import Dropped, Exited, Push
from hostler.sim.host import SimHost
from hostler.sim.lab import SimLab
from hostler_agent import wire
from hostler_agent.json_values import Outgoing

T = TypeVar("T")


class Session:
    """From connect to drop. Sent messages arrive even if the daemon that sent them is gone."""

    def __init__(self, lab: SimLab, host: SimHost) -> None:
        self._lab, self._host = lab, host
        self._boot_id = host.boot_id
        self._lost = False
        self.gone: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Why the connection ended."""
        self.pushed: asyncio.Queue[Push] = asyncio.Queue()
        self.encoder, self.decoder = wire.LookEncoder(), LookDecoder()
        host.listeners.add(self._push)
        lab.spawn(self._watch())

    async def ask(
        self, verb: str, effect: Callable[[], T], timeout: float, takes: float = 0.0
    ) -> T:
        """Carry out a request on the host. Raises Unreachable, or the host's error."""
        reply: asyncio.Future[tuple[T | None, Exception | None]]
        reply = asyncio.get_running_loop().create_future()
        self._lab.spawn(self._serve(verb, effect, takes, reply))
        waited = (reply, self.gone)
        await asyncio.wait(waited, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if reply.done():
            result, error = reply.result()
            if error is not None:
                raise error
            return result  # type: ignore[return-value]
        if self.gone.done():
            raise Unreachable(self._host.name, self.gone.result())
        raise Unreachable(self._host.name, f"no answer to {verb} within {timeout:g} s")

    def end(self, why: str, *, lost: bool = True) -> None:
        """End the connection. Not `lost`: messages on the way still arrive, as after a kill of the
        daemon."""
        if self.gone.done():
            return
        self._lost = lost
        self._host.listeners.discard(self._push)
        self.gone.set_result(why)
        self.pushed.put_nowait(Dropped(why))
        self._host.bell.ring()

    async def travel(self) -> bool:
        """Let a message pass; a cut holds it up. False: it got lost with the connection."""
        trouble, pace = self._host.trouble, self._lab.pace
        await asyncio.sleep(pace.message + trouble.slow)
        while trouble.cut_since is not None and not self.gone.done():
            await self._host.bell.wait(pace.pulse)
        return trouble.cut_since is None and not self._lost

    async def _serve(
        self,
        verb: str,
        effect: Callable[[], T],
        takes: float,
        reply: asyncio.Future[tuple[T | None, Exception | None]],
    ) -> None:
        host = self._host
        if not await self.travel():
            return
        if takes:
            await asyncio.sleep(takes)
        if host.trouble.off or host.boot_id != self._boot_id:
            return
        answer = self._carry_out(verb, effect)
        if host.trouble.loses_reply(verb):
            self.end("connection reset by peer")
            return
        if await self.travel() and not reply.done():
            reply.set_result(answer)

    def _carry_out(self, verb: str, effect: Callable[[], T]) -> tuple[T | None, Exception | None]:
        self._lab.advance_host(self._host)
        failure = self._host.trouble.failure(verb)
        if failure is not None:
            return None, failure
        try:
            return effect(), None
        except Exception as error:  # of a host, or a bug in the lab: raised where it was asked
            return None, error
        finally:
            if verb not in ("look", "log"):
                self._host.bell.ring()

    def _push(self, message: Outgoing) -> None:
        self._lab.spawn(self._deliver(wire.encode(message)))

    async def _deliver(self, line: bytes) -> None:
        if await self.travel() and not self.gone.done():
            said = wire.decode_line(line)
            if "exit" in said:
                self.pushed.put_nowait(Exited(workload(said["exit"], "exit")))
            else:
                self.pushed.put_nowait(fault(said["xid"], "xid"))

    async def _watch(self) -> None:
        """Advance the lab when something is due, and detect that no messages arrive."""
        host, pace = self._host, self._lab.pace
        while not self.gone.done():
            now = self._lab.advance_host(host)
            due = host.next_due()
            rest = pace.pulse if due is None else self._lab.clock.real(due - now)
            if host.boot_id != self._boot_id:
                self.end("connection reset by peer")
            elif host.trouble.cut_since is not None:
                silent = time.monotonic() - host.trouble.cut_since
                if silent >= pace.notice:
                    self.end(f"no data was received for {silent:.1f} s")
                rest = min(rest, pace.notice - silent)
            await host.bell.wait(min(pace.pulse, max(0.001, rest)))
