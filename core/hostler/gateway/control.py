"""Checks, starts, reloads and stops the gateway on its host, revokes tokens, and explains a gateway
that does not answer or refuses a configuration."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace

from hostler.base.errors import EngineError, HostError, Unreachable
from hostler.base.failpoints import failpoint
from hostler.base.text import clean_line
from hostler.gateway import refusals, states
from hostler.gateway.asking import close_streams, cut_log, look_at, workers_of
from hostler.gateway.forwarding import Forwarding
from hostler.gateway.forwards import Way
from hostler.gateway.job import end_job, job
from hostler.gateway.own_ports import OwnPorts
from hostler.gateway.program import find
from hostler.gateway.runtime_socket import RuntimeSocket, opened, reload
from hostler.gateway.states import GatewayState
from hostler.gateway.steps import Command, Steps, proven, steps
from hostler.gateway.text import config_text, grants_text, tokens_text
from hostler.gateway.traffic import Counted, read_counts
from hostler.model.gateway import GatewayFolder, GatewayToken, WantedGateway
from hostler.model.gateway_config import job_id_of
from hostler.model.timings import GatewayTimings
from hostler.ports import HostLink

Act = Callable[[RuntimeSocket, int | None], Coroutine[None, None, None]]
"""An action at a worker; None: the worker that accepts connections."""
_TRIES = 3
"""Tries at a worker from before a reload, which may end at any moment."""
_SAID = 4096
_REMEDY = (
    "If this persists, end its process there (haproxy -W). Over SSH its sshd needs "
    "AllowStreamLocalForwarding, which is on by default"
)


class Gateway:
    """One gateway. Every method may be repeated; concurrent calls wait for each other."""

    def __init__(
        self,
        link: HostLink,
        daemon_id: str,
        program: str | None = None,
        timings: GatewayTimings | None = None,
        ssh_agent: str | None = None,
    ) -> None:
        self.link, self._daemon_id, self._program = link, daemon_id, program
        self._timings = timings or GatewayTimings()
        self._folder: GatewayFolder | None = None
        self._forwarding = Forwarding(link, daemon_id, self._timings, ssh_agent)
        self._ports = OwnPorts(link, self._timings)
        self._busy = asyncio.Lock()
        self._written: dict[str, str] = {}
        self._listens_since: float | None = None
        """When the agent began to read its log."""
        self.state: GatewayState | None = None
        """The state at the last step."""

    @property
    def job_id(self) -> str:
        """Names the process on its host."""
        return job_id_of(self._daemon_id)

    @property
    def ways(self) -> Mapping[str, Way]:
        """Host -> how its replicas are reached, at the last step."""
        return self._forwarding.ways

    def why_shut(self, port: int) -> str | None:
        """Why it does not listen at the port of a service; None: it listens, by the last look."""
        if port in self.taken:
            return f"{self.taken[port]}; it is tried again"
        is_open = self.state is not None and port in self.state.ports
        return None if is_open else f"it does not listen at port {port} yet"

    @property
    def taken(self) -> Mapping[int, str]:
        """Ports of services at which it does not listen -> why, at the last step."""
        return self._ports.taken

    async def look(self, *, tokens: bool = True) -> GatewayState | None:
        """Its state now; None if it does not run. Raises HostError."""
        folder = await self._home()
        try:
            async with opened(self.link, folder.control, self._timings.answer) as socket:
                state = await look_at(socket, folder, tokens=tokens)
        except EngineError:
            return None
        return await self._with_old(state)

    async def _with_old(self, state: GatewayState) -> GatewayState:
        """Add the streams of workers from before a reload."""
        said: list[str] = []

        async def ask(socket: RuntimeSocket, pid: int | None) -> None:
            said.append(await socket.ask_worker("show stat", pid))

        await self._at_each(state.old_workers, ask)
        servers = state.servers
        for text in said:
            servers = states.with_sessions(servers, states.read_servers(text)[0])
        return replace(state, servers=servers)

    async def _has_ended(self, folder: GatewayFolder, pid: int | None) -> bool:
        """Whether a worker from before a reload gives no answer because it has just ended."""
        if pid is None:
            return False
        async with opened(self.link, folder.control, self._timings.answer) as socket:
            return pid not in await workers_of(socket)

    async def step(self, wanted: WantedGateway) -> Steps:
        """Do the next step towards the wanted state: what was done, and what it waits for. Raises
        HostError."""
        async with self._busy:
            state = self.state = await self.look(tokens=wanted.entry.tokens)
            wanted = await self._ports.bring(wanted, state)
            wanted = await self._forwarding.bring(wanted, await self._home(), state)
            if state is None:
                await self._start(wanted)
                return Steps(reload=True)
            found = steps(state, wanted, await self._home())
            if found.reload:
                await self._reload(state, wanted)
            elif found.commands:
                await self._write(wanted, state)
                await self._send(found.commands, state)
            if wanted.entry.tokens:
                await self._close_streams(state, wanted.tokens)
            return found

    async def reach(self, wanted: WantedGateway, within: float) -> Steps:
        """Step until the wanted state is reached, or the time is over. Returns the remaining
        steps."""
        ends = asyncio.get_running_loop().time() + within
        while True:
            found = await self.step(wanted)
            if found.is_done or asyncio.get_running_loop().time() > ends:
                return found
            if not found.commands and not found.reload:
                await asyncio.sleep(self._timings.poll)

    async def revoke(self, token: GatewayToken) -> None:
        """Make a token useless now and close its streams. Raises HostError if that is not certain:
        the token may still work then."""
        async with self._busy:
            try:
                await self._revoke(token)
            except EngineError:
                if await self._is_running():
                    raise

    async def counts(self) -> Counted:
        """The counts of its log since the agent listens."""
        await self._home()
        said = await self.link.call("gateway.log", {"gateway": self._daemon_id})
        counted = read_counts(said)
        if counted.since != self._listens_since:
            await self._send_log_anew()
            self._listens_since = counted.since
        return counted

    async def _send_log_anew(self) -> None:
        """Have HAProxy send the log to a new reader. HAProxy does not notice the end of a reader to
        which it sends nothing at that moment, and would never send again."""
        folder = await self._home()
        async with opened(self.link, folder.control, self._timings.answer) as socket:
            workers = await workers_of(socket)
        await self._at_each(workers, cut_log)

    async def stop(self) -> None:
        """End it, with all its connections, and remove its files."""
        async with self._busy:
            await end_job(self.link, self.job_id, self._timings.start)
            await self._forwarding.stop()
            await self.link.call("gateway.remove", {"gateway": self._daemon_id})
            self._folder = None
            self._written.clear()

    async def _home(self) -> GatewayFolder:
        if self._folder is None:
            answer = await self.link.call("gateway.put", {"gateway": self._daemon_id})
            self._folder = GatewayFolder(answer["folder"])
        return self._folder

    async def _write(self, wanted: WantedGateway, state: GatewayState | None) -> None:
        folder = await self._home()
        known = frozenset[tuple[str, str]]() if state is None else proven(state, wanted)
        files = {
            "haproxy.cfg": config_text(wanted, folder, known),
            "tokens.map": tokens_text(wanted),
            "grants.map": grants_text(wanted),
        }
        await self._put(files)

    async def _put(self, files: Mapping[str, str]) -> None:
        new = {name: text for name, text in files.items() if self._written.get(name) != text}
        if new:
            payload = {"gateway": self._daemon_id, "files": new}
            failpoint("before_gateway_write")
            await self.link.call("gateway.put", payload, self._timings.start)
            failpoint("after_gateway_write")
            self._written.update(new)

    async def _start(self, wanted: WantedGateway) -> None:
        """Start without servers: servers that were healthy may be gone. Raises HostError."""
        await self._check_ended()
        program, folder = await find(self.link, self._program), await self._home()
        self._written.clear()
        await self._write(wanted, None)
        await self._put({"states": ""})
        await self.link.call("gateway.log", {"gateway": self._daemon_id})
        argv = [program.path, "-W", "-S", f"{folder.control},mode,600", "-f", folder.config]
        env = {"LD_LIBRARY_PATH": ":".join(program.libraries)} if program.libraries else {}
        failpoint("before_gateway_start")
        await self.link.call(
            "job.start", job(self._daemon_id, self.job_id, argv, env), self._timings.start
        )
        failpoint("after_gateway_start")
        await self._wait_until_up()

    async def _check_ended(self) -> None:
        """Remove a gateway that has ended. A running one that does not answer is not replaced: both
        would take the same port."""
        running = await self._is_running()
        if running is None:
            return
        if running:
            raise Unreachable(
                self.link.host,
                "the gateway runs but does not answer",
                remedy=_REMEDY,
            )
        await self.link.call("job.remove", {"attempt_id": self.job_id})

    async def _is_running(self) -> bool | None:
        """None: there is no such process, and none has ended."""
        answer = await self.link.call("job.inspect", {"attempt_id": self.job_id})
        found = answer["workload"]
        return None if found is None else bool(found["running"])

    async def _wait_until_up(self) -> None:
        ends = asyncio.get_running_loop().time() + self._timings.start
        while not await self._is_up():
            if not await self._is_running():
                raise self._refused("ended", await self._said())
            if asyncio.get_running_loop().time() > ends:
                raise Unreachable(
                    self.link.host, "the gateway was started but does not answer", remedy=_REMEDY
                )
            await asyncio.sleep(self._timings.poll)

    async def _is_up(self) -> bool:
        """While it starts, connections may be closed again."""
        try:
            return await self.look(tokens=False) is not None
        except Unreachable:
            return False

    async def _said(self) -> str:
        parts = [data async for _, data in self.link.read_log(self.job_id, 0, follow=False)]
        return b"".join(parts)[-_SAID:].decode("utf-8", "replace")

    async def _reload(self, state: GatewayState, wanted: WantedGateway) -> None:
        folder = await self._home()
        async with opened(self.link, folder.control, self._timings.answer) as socket:
            known = await socket.ask_worker("show servers state")
        self._written.clear()
        await self._write(wanted, state)
        await self._put({"states": known + "\n"})
        failpoint("before_gateway_reload")
        done, said = await reload(self.link, folder.control, self._timings.start)
        failpoint("after_gateway_reload")
        if not done:
            raise self._refused("keeps its previous configuration", said)

    def _refused(self, what: str, said: str) -> EngineError:
        """HAProxy refused the configuration. Leave out ports that another program took after the
        check."""
        text, remedy = refusals.why(said)
        for port, why in refusals.ports_of(said).items():
            self._ports.refuse(port, why)
        return EngineError(self.link.host, f"the gateway {what}: {text}", remedy=remedy)

    async def _send(self, commands: Sequence[Command], state: GatewayState) -> None:
        folder = await self._home()
        async with opened(self.link, folder.control, self._timings.answer) as socket:
            for command in commands:
                if command.everywhere:
                    await self._at_each(state.old_workers, _sending(command.text))
                await socket.ask_worker(command.text)
                if command.failpoint:
                    failpoint(command.failpoint)

    async def _close_streams(self, state: GatewayState, tokens: Sequence[GatewayToken]) -> None:
        """Close the streams of revoked tokens, also if an earlier try was interrupted."""
        valid = {token.token_id for token in tokens}

        async def close(socket: RuntimeSocket, pid: int | None) -> None:
            said = await socket.ask_worker("show table streams data.conn_cur gt 0", pid)
            gone = {token_id for _, token_id in states.read_streams(said)} - valid
            if gone:
                await close_streams(socket, gone, pid)

        await self._at_each((None, *state.old_workers), close)

    async def _revoke(self, token: GatewayToken) -> None:
        folder = await self._home()

        async def revoke(socket: RuntimeSocket, pid: int | None) -> None:
            await socket.ask_worker(f"del map {folder.tokens} {token.digest}", pid)
            failpoint("after_token_removed")
            await self._check_gone(socket, folder, token, pid)
            await close_streams(socket, {token.token_id}, pid)

        async with opened(self.link, folder.control, self._timings.answer) as socket:
            workers = await workers_of(socket)
        await self._at_each(workers, revoke)

    async def _at_each(
        self,
        pids: Iterable[int | None],
        act: Act,
    ) -> None:
        """Do a repeatable action at each worker. Each has a separate connection, which HAProxy
        closes with the worker; a worker from before a reload may end meanwhile."""
        for pid in pids:
            await self._at(pid, act)

    async def _at(self, pid: int | None, act: Act) -> None:
        folder = await self._home()
        for left in reversed(range(_TRIES)):
            try:
                async with opened(self.link, folder.control, self._timings.answer) as socket:
                    return await self._watched(folder, pid, act(socket, pid))
            except HostError:
                if await self._has_ended(folder, pid):
                    return None
                if pid is None or not left:
                    raise
            await asyncio.sleep(self._timings.poll)
        return None

    async def _watched(
        self, folder: GatewayFolder, pid: int | None, acting: Coroutine[None, None, None]
    ) -> None:
        """If a worker ends while it handles a request, HAProxy never answers: so while there is no
        answer, this checks that the worker still exists."""
        if pid is None:
            return await acting
        task = asyncio.create_task(acting)
        try:
            while not (await asyncio.wait({task}, timeout=self._timings.worker))[0]:
                if await self._has_ended(folder, pid):
                    return None
            return task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _check_gone(
        self, socket: RuntimeSocket, folder: GatewayFolder, token: GatewayToken, pid: int | None
    ) -> None:
        said = await socket.ask_worker(f"get map {folder.tokens} {token.digest}", pid)
        known = "found=no" not in said and "Unknown map" not in said
        if known:
            text = f"the gateway still knows the token: {clean_line(said, 200)}"
            raise EngineError(self.link.host, text)


def _sending(text: str) -> Act:
    async def send(socket: RuntimeSocket, pid: int | None) -> None:
        await socket.ask_worker(text, pid)

    return send
