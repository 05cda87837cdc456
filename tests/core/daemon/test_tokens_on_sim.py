"""Tokens of the gateway: whose they are, who revokes them, and what is said of a silent gateway."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from hostler.base.errors import ConflictError, ForbiddenError, InputError, NotFoundError
from hostler.daemon.trust import guarded
from hostler.model.calls import Caller
from hostler.model.config import Config, DaemonConfig
from hostler.model.gateway_config import GatewayConfig
from hostler.model.hosts import Host, HostCondition
from hostler.model.records import AuditFilter
from hostler.model.tokens import StoredToken
from tests.support.daemons.simdaemon import ANA, OWNER, SimDaemon
from tests.support.daemons.simlab import faults_on, small_lab
from tests.support.values import planning

BO = Caller(2002, "bo")
GATE = GatewayConfig(host="gpu1", tokens=True)


def _gated(lab: SimDaemon, **changes: object) -> None:
    context = lab.daemon.context
    gateway = replace(GATE, **changes)  # type: ignore[arg-type]
    context.config = replace(context.config, gateway=gateway)


async def test_a_token_is_its_owners_and_its_text_is_kept_nowhere(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as lab:
        service = lab.daemon.service
        with pytest.raises(ConflictError, match="no gateway is configured"):
            await service.tokens.new(ANA, (), 60)
        _gated(lab, tokens=False)
        with pytest.raises(ConflictError, match="does not require tokens"):
            await service.tokens.new(ANA, (), 60)
        _gated(lab)
        made = await service.tokens.new(ANA, ("digits", "digits"), 60)
        (kept,) = await service.context.store.tokens.all()
        assert kept.digest == hashlib.sha256(made.token.encode()).hexdigest()
        assert (kept.owner, kept.services, made.url) == (
            "ana", ("digits",), "http://127.0.0.1:8080"
        )  # fmt: skip
        for services, seconds in ((("a b",), 60.0), ((), 0.0), ((), 1e9), ((), float("nan"))):
            with pytest.raises(InputError):
                await service.tokens.new(ANA, services, seconds)
        with pytest.raises(InputError, match="a user whom a gateway can name"):
            await service.tokens.new(Caller(7, "lab\\ana"), (), 60)

        assert (await service.tokens.list(BO)).tokens == ()
        assert [t.token_id for t in (await service.tokens.list(OWNER)).tokens] == [made.token_id]
        with pytest.raises(ForbiddenError, match="revoking a token of another user"):
            await service.tokens.revoke(BO, made.token_id)
        namesake = Caller(2003, "ana")  # a login counts by its number, and not by its name
        assert (await service.tokens.list(namesake)).tokens == ()
        with pytest.raises(ForbiddenError, match="revoking a token of another user"):
            await service.tokens.revoke(namesake, made.token_id)
        with pytest.raises(NotFoundError, match="hostler token ls"):
            await service.tokens.revoke(ANA, "nothing")
        entries = await service.context.store.audit(AuditFilter(), 10)
        assert made.token not in str(entries)
        assert [entry.call for entry in entries][-1] == "token-new"


async def test_where_the_gateway_is_silent_that_is_said_and_it_is_revoked_later(
    tmp_path: Path,
) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as lab:
        _gated(lab)
        service = lab.daemon.service
        made = await service.tokens.new(ANA, (), 60)
        faults_on(lab.lab, "gpu1").cut()
        with pytest.raises(ConflictError, match="STILL WORKS") as told:
            await service.tokens.revoke(ANA, made.token_id)
        assert "as soon as the gateway answers" in told.value.remedy
        (shown,) = (await service.tokens.list(ANA)).tokens
        assert shown.state == "revoking"
        _gated(lab, host=None)  # and with no gateway nothing could take it
        await service.tokens.revoke(ANA, made.token_id)
        assert (await service.tokens.list(ANA)).tokens == ()


async def test_a_gateway_that_the_config_names_no_more_may_still_know_a_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SimDaemon(small_lab(2), tmp_path) as lab:
        _gated(lab)
        service = lab.daemon.service
        made = await service.tokens.new(ANA, (), 60)
        _gated(lab, host=None)
        monkeypatch.setattr(service.gateways, "_left_behind", lambda: ["gpu1"])
        faults_on(lab.lab, "gpu1").cut()
        with pytest.raises(ConflictError, match="STILL WORKS"):
            await service.tokens.revoke(ANA, made.token_id)
        assert (await service.tokens.list(ANA)).tokens[0].state == "revoking"
        monkeypatch.setattr(service.gateways, "_left_behind", list)
        await service.tokens.revoke(ANA, made.token_id)
        assert (await service.tokens.list(ANA)).tokens == ()


async def test_a_daemon_with_a_newer_generation_revokes_nothing(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as lab:
        _gated(lab)
        service = lab.daemon.service
        made = await service.tokens.new(ANA, (), 60)
        service.context.standing.superseded_by = 7
        with pytest.raises(ConflictError, match="a newer generation of this daemon"):
            await service.tokens.revoke(ANA, made.token_id)
        assert (await service.tokens.list(ANA)).tokens[0].state == "valid"


async def test_a_silent_old_gateway_keeps_no_new_one_from_serving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SimDaemon(small_lab(2), tmp_path) as lab:
        brought = asyncio.Event()

        async def bring(config: Config) -> None:
            assert config.gateway.host == "gpu2"
            brought.set()

        gateways = lab.daemon.service.gateways
        monkeypatch.setattr(gateways, "_bring", bring)
        monkeypatch.setattr(gateways, "_left_behind", lambda: ["gpu1"])
        _gated(lab, host="gpu2")
        async with asyncio.timeout(30):
            await brought.wait()


async def test_nobody_has_tokens_without_end(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as lab:
        _gated(lab)
        service, store = lab.daemon.service, lab.daemon.context.store
        now = lab.daemon.context.clock.now()
        entry = service.audit.entry(ANA, "token-new", {})
        for number in range(101):
            until = now - 1 if number == 0 else now + 60
            token = StoredToken(f"t{number}", "ana", ANA.uid, f"{number:064x}", ("*",), now, until)
            await store.tokens.add(token, entry)
        with pytest.raises(ConflictError, match="you have 100 tokens"):
            await service.tokens.new(ANA, (), 60)
        assert "t0" not in {token.token_id for token in await store.tokens.all()}
        await service.tokens.new(BO, (), 60)


def test_processes_of_members_do_not_run_beside_the_gateway() -> None:
    config = Config(daemon=DaemonConfig(allow=("ana",)), gateway=GATE)
    for name, is_open in (("gpu1", False), ("gpu2", True)):
        host = guarded(Host(name, "ssh", HostCondition.UP, 0.0), config, OWNER)
        assert (host.processes_of is None) is is_open
    here = planning.with_look(planning.host("gpu1"), boot_id="b1")
    for boot_id, is_open in (("b1", False), ("b2", True)):  # another name of the same machine
        other = planning.with_look(planning.host("alias"), boot_id=boot_id)
        assert (guarded(other, config, OWNER, here.look).processes_of is None) is is_open


async def test_another_name_of_the_gateways_machine_is_closed_too(tmp_path: Path) -> None:
    def change(config: Config) -> Config:
        return replace(config, daemon=replace(config.daemon, allow=("ana",)), gateway=GATE)

    async with SimDaemon(small_lab(2), tmp_path, change=change) as lab:
        context = lab.daemon.context
        await lab.until(lambda: all(host.look is not None for host in context.hosts()), "a look")
        assert [host.processes_of is None for host in context.hosts()] == [False, True]
        first, second = (monitor.host for monitor in context.monitors.values())
        assert first.look is not None
        context.monitors[second.name].host = planning.with_look(second, boot_id=first.look.boot_id)
        assert [host.processes_of is None for host in context.hosts()] == [False, False]
