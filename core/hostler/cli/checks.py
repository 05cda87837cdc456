"""The checks of `hostler doctor` on this machine and of reaching a host; all names, deadlines,
clocks, mounts; the agent's doctor.py makes most on hosts."""

from __future__ import annotations

import asyncio
import platform
import shlex
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from hostler.base.errors import (
    AgentError,
    ConfigError,
    HostError,
    HostlerError,
    Refused,
    StateError,
)
from hostler.base.json_types import Json, JsonTable
from hostler.base.units import format_duration, format_size
from hostler.cli.recover_hint import recover_sentence
from hostler.client.daemon_start import running, view_of_daemon
from hostler.daemon.config_file import load_config, state_path
from hostler.daemon.trust import is_guarded
from hostler.link.agent_link import AgentLink, stat_paths
from hostler.link.factory import Doors, ssh_target
from hostler.model.check import Check
from hostler.model.config import Config, DaemonConfig, HostConfig, MountConfig
from hostler.model.hosts import HostFacts
from hostler.quick.socket import find_socket
from hostler.store.files import REMEDY, require_local_disk, sentence, space_of

START_DEADLINE = 10.0
"""The agent's time to start, after the configured time for connecting."""
AGENT_DEADLINE = 30.0
CLOCK_SLACK = 2.0
"""Seconds by which a host's clock may differ before the check reports it."""
NAMES = (
    "local.python", "local.config", "local.state", "local.daemon", "local.shared-daemon",
    "local.processes", "local.packages", "local.gateway", "local.published", "local.ssh-config",
    "host.ssh", "host.local", "host.agent", "host.checks", "host.python", "host.docker",
    "host.live-restore", "host.runc", "host.toolkit", "host.docker-tcp", "host.docker-logs",
    "host.docker-limits", "host.dev-char", "host.ssh-limits", "host.docker-gpu",
    "host.docker-disk", "host.nvml", "host.disk", "host.var-tmp", "host.leases",
    "host.logout", "host.clock", "host.mounts", "host.haproxy", "host.reach",
)  # fmt: skip
"""All checks."""
STATES = ("fail", "warn", "ok", "skip")


def counts(checks: Sequence[Check]) -> dict[str, int]:
    """The number of checks in each state."""
    return {state: sum(check.state == state for check in checks) for state in STATES}


def worst_first(checks: Sequence[Check]) -> list[Check]:
    """Local checks first, then hosts in their order; within one, as they were made. Hosts that are
    entirely well come last, so that trouble is at the top of a long list."""
    troubled = {c.host for c in checks if c.state in ("fail", "warn")}
    return sorted(checks, key=lambda c: (c.host is not None, c.host not in troubled))


def check_local(named_socket: str | None) -> tuple[list[Check], bool]:
    """Check this machine; and whether the configuration can be used."""
    checks = [Check("local.python", "ok", platform.python_version())]
    try:
        config = load_config()
        found = find_socket(named_socket)
    except ConfigError as error:
        detail = "; ".join([error.message, *map(str, error.untold)])
        return [*checks, Check("local.config", "fail", detail, error.remedy or "Correct it")], False
    count = len(config.hosts)
    checks.append(Check("local.config", "ok", f"{count} host{'' if count == 1 else 's'}"))
    checks.append(check_state(state_path(config, personal=found.personal)))
    if config.daemon.is_shared:
        checks.append(check_processes(config))
    if config.gateway.host is not None:
        checks.append(check_gateway(config))
    checks += check_published(config)
    if config.packages.is_on:
        checks.append(check_packages(config))
    checks.append(check_ssh_config(Path.home() / ".ssh" / "config"))
    checks.append(_check_daemon(found.path, found.personal, named_socket))
    if found.hint:
        said, _, remedy = found.hint.partition(". ")
        checks.append(Check("local.shared-daemon", "warn", said, remedy))
    return checks, True


def check_state(folder: Path) -> Check:
    """Whether the daemon's folder is on a file system that suits a database, and has space."""
    try:
        require_local_disk(folder)
    except StateError as error:
        return Check("local.state", "fail", error.message, error.remedy)
    try:
        space = space_of(folder)
    except StateError as error:
        return Check("local.state", "fail", error.message, error.remedy)
    except PermissionError:  # that of a shared daemon, which nobody else enters
        return Check(
            "local.state", "skip", f"{folder} can only be checked by the daemon's own login"
        )
    if not space.has_room(0):
        return Check("local.state", "fail", sentence(folder, space), REMEDY)
    if space.is_low:
        return Check("local.state", "warn", sentence(folder, space), REMEDY)
    return Check("local.state", "ok", f"{folder}, {format_size(space.free)} free")


def check_processes(config: Config) -> Check:
    """Whether members of a shared daemon, who share one login on the hosts, are isolated from each
    other."""
    if is_guarded(config):
        said = "take no secrets, and those of members do not run on the daemon's own machine"
        return Check("local.processes", "ok", said)
    return Check(
        "local.processes", "warn",
        "[policy] processes is \"trusted\": each member's process can read the others' secrets "
        "and, on the daemon's own machine, the daemon's files",
        "remove that line from config.toml, unless all members trust each other",
    )  # fmt: skip


def check_packages(config: Config) -> Check:
    """Whether this machine can fetch packages for the hosts."""
    from hostler.wheels.ready import not_ready  # few need it

    found = not_ready(config)
    if found is not None:
        return Check("local.packages", "fail", *found)
    said = f"packages of `venv` are fetched from {config.packages.source}"
    return Check("local.packages", "ok", said)


def check_gateway(config: Config) -> Check:
    """Whether other users can read or send the requests of members to services."""
    from hostler.decide.routes import entry_of, url_of  # few have a gateway

    entry, where = entry_of(config.gateway), f"{url_of(config)} on {config.gateway.host}"
    lacks = [*([] if entry.tls_cert else ["TLS"]), *([] if entry.tokens else ["tokens"])]
    if not entry.is_open:
        asked = "with tokens" if entry.tokens else "open to every user of that machine"
        return Check("local.gateway", "ok", f"{where}, {asked}")
    if not lacks:
        return Check("local.gateway", "ok", f"{where}, with TLS and tokens")
    return Check(
        "local.gateway", "warn",
        f"{where}: [gateway] insecure = true lets other machines reach services without "
        f"{' and '.join(lacks)}",
        "set `tls_cert` and tokens = true, and remove that line from config.toml",
    )  # fmt: skip


def check_published(config: Config) -> list[Check]:
    """Hosts on which all machines of the network can reach services."""
    found = [f"{host.name} ({host.published_at})" for host in config.hosts if host.published_at]
    if not found:
        return []
    said = f'reach = "lan": all machines of the network reach services on {", ".join(found)}, '
    remedy = 'give the gateway\'s login access by SSH, and remove reach = "lan" there'
    return [Check("local.published", "warn", said + "without a token", remedy)]


def check_ssh_config(path: Path) -> Check:
    """Whether the user's own SSH accepts any host key. Hostler does not, whatever the configuration
    of SSH says."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for number, line in enumerate(lines, 1):
        words = line.replace("=", " ").replace('"', " ").lower().split()
        if words[:1] == ["stricthostkeychecking"] and words[1:2] in (["no"], ["off"]):
            return Check(
                "local.ssh-config", "warn",
                f"{path}, line {number}: ssh accepts any host key (StrictHostKeyChecking is off)",
                "remove that line, and trust each key once: hostler host trust HOST",
            )  # fmt: skip
    return Check("local.ssh-config", "ok", "ssh checks host keys")


def _check_daemon(path: str, personal: bool, named: str | None) -> Check:
    try:
        about = running(find_socket(named))
        lost = None if about is None else recover_sentence(view_of_daemon(about))
    except HostlerError as error:
        return Check("local.daemon", "fail", error.message, error.remedy)
    if about is not None:
        if lost is not None:
            said, _, remedy = lost.partition("; ")
            return Check("local.daemon", "warn", said, remedy or "see docs/cli.md, hostler daemon")
        return Check("local.daemon", "ok", f"version {about.get('version')} at {path}")
    if personal:
        return Check("local.daemon", "ok", "does not run; the first run starts it")
    return Check(
        "local.daemon", "fail", f"nothing answers at {path}", "start it: systemctl start hostler"
    )


async def check_host(
    config: HostConfig,
    doors: Doors,
    mounts: Sequence[MountConfig] = (),
    connect_timeout: float = DaemonConfig().connect_timeout,
    gateway_of: Config | None = None,
) -> list[Check]:
    """Connect, start the agent, and let it check its side, and that the folders under [mounts] are
    there. `gateway_of`: the configuration whose gateway it has. Never raises for a host's
    trouble."""
    host = config.name
    link, deadline = (
        doors.link(config, f"doctor-{uuid.uuid4().hex}"),
        connect_timeout + START_DEADLINE,
    )
    try:
        async with asyncio.timeout(deadline):
            hello = await link.connect()
    except (HostError, ConfigError, TimeoutError) as error:
        await link.close()
        return _not_connected(config, error, deadline)
    try:
        checks = [
            Check("host.ssh" if config.transport == "ssh" else "host.local", "ok",
                  _login(hello.facts), host=host),
            Check("host.agent", "ok", f"python {hello.facts.python or '?'}", host=host),
        ]  # fmt: skip
        checks += await _ask_agent(link, host)
        if gateway_of is not None:
            from hostler.cli.gateway_checks import check_gateway_host  # few have one

            checks += await check_gateway_host(link, gateway_of)
        return checks + (await _check_mounts(link, host, mounts) if mounts else [])
    finally:
        await link.close()


def _login(facts: HostFacts) -> str:
    user = f"as {facts.user}" if facts.user else "logged in"
    return f"{user} on {facts.hostname}" if facts.hostname else user


def ssh_command(config: HostConfig) -> str:
    """The command with which a user reaches a host in the same way as Hostler."""
    target = ssh_target(config)
    words = ["ssh"]
    words += ["-p", str(target.port)] if target.port is not None else []
    words += ["-l", target.user] if target.user else []
    words += ["-i", target.key, "-o", "IdentitiesOnly=yes"] if target.key else []
    words += ["-J", target.jump] if target.jump else []
    return shlex.join([*words, target.destination, "true"])


def _not_connected(config: HostConfig, error: Exception, deadline: float) -> list[Check]:
    host = config.name
    name = "host.agent" if isinstance(error, AgentError) else "host.ssh"
    if isinstance(error, (HostError, ConfigError)):
        message, remedy = error.message, error.remedy
    else:
        message, remedy = f"no answer within {deadline:g} s", ""
    if not remedy and name == "host.ssh":
        remedy = f"Try: {ssh_command(config)}"
        if isinstance(error, Refused):
            remedy += f", or hostler host trust {host}"
    return [
        Check(name, "fail", message, remedy, host),
        Check("host.checks", "skip", f"needs {name}", host=host),
    ]


async def _ask_agent(link: AgentLink, host: str) -> list[Check]:
    asked_at = time.time()
    try:
        answer = await link.call("doctor", {}, timeout=AGENT_DEADLINE)
    except HostError as error:
        return [Check("host.checks", "fail", error.message, error.remedy, host)]
    found = [read_check(entry, host) for entry in answer["checks"]]
    if "at" in answer:
        found.append(check_clock(host, answer["at"], asked_at, time.time()))
    return found


def check_clock(host: str, at: float, asked_at: float, answered_at: float) -> Check:
    """Whether a host's clock agrees with ours, from what it showed between two of our times: only
    what that time cannot explain is counted."""
    if at > answered_at:
        off, way = at - answered_at, "ahead"
    else:
        off, way = max(0.0, asked_at - at), "behind"
    if off < CLOCK_SLACK:
        return Check("host.clock", "ok", "the same time as this machine", host=host)
    return Check(
        "host.clock",
        "warn",
        f"{format_duration(round(off))} {way} of this machine's: times of runs will look wrong",
        "ask root to switch time synchronisation on: timedatectl set-ntp true",
        host,
    )


async def _check_mounts(link: AgentLink, host: str, mounts: Sequence[MountConfig]) -> list[Check]:
    try:
        seen = await stat_paths(link, [mount.path for mount in mounts])
    except HostError as error:
        return [Check("host.mounts", "fail", error.message, error.remedy, host)]
    return [check_mount(host, mount, seen.get(mount.path) or {}) for mount in mounts]


def check_mount(host: str, mount: MountConfig, seen: Mapping[str, Json]) -> Check:
    """Whether a folder under [mounts] of the configuration can be used on a host."""
    what = f"{mount.name} ({mount.path})"
    # Stages that want it are only placed where it is, so one missing host does not break a run.
    if not seen.get("is_dir"):
        wrong = "is not a folder" if seen.get("exists") else "is not there"
        return Check(
            "host.mounts", "warn", f"{what} {wrong}",
            "mount or create it here; stages that need it cannot run on this host", host,
        )  # fmt: skip
    if not seen.get("readable"):
        remedy = f"ask its owner for the right to read it: ls -ld {mount.path}"
        return Check("host.mounts", "warn", f"{what} cannot be read", remedy, host)
    if not mount.read_only and not seen.get("writable"):
        remedy = 'ask its owner for the right to write, or set mode = "ro" under [mounts]'
        return Check("host.mounts", "warn", f"{what} cannot be written", remedy, host)
    return Check("host.mounts", "ok", what, host=host)


def read_check(entry: JsonTable, host: str) -> Check:
    """A check as the agent sends it; an unknown state counts as a warning."""
    state = str(entry.get("state"))
    return Check(
        name=f"host.{entry.get('check', '?')}",
        state=state if state in STATES else "warn",
        message=str(entry.get("message", "")),
        remedy=str(entry.get("remedy") or ""),
        host=host,
    )
