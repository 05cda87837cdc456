"""A value that nobody may see, with the whole lab: it is hunted for on the daemon's machine and on
the hosts, while its stages run, and after they have failed, were stopped, or lost their daemon."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hostler.base.masking import patterns_of
from hostler.base.paths import SOCKET_NAME
from hostler.client import Client
from tests.lab.host import Host
from tests.lab.lab import Lab
from tests.lab.layout import BUSYBOX
from tests.support.machines.desk import Desk, desk_folder, files_below, stage, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(400)]

NAMES = ("process", "container")
VALUE = "hf_canary/+ 4711&sesame"
SHOW = r"""
printf 'plain %s\n' "$TOKEN"; cat "$HOSTLER_SECRETS/TOKEN" >&2; echo
printf '%.9s' "$TOKEN"; sleep 0.3; printf '%s\n' "${TOKEN#hf_canary}"
printf '{"%s": 1, "loss": 0.5}\n' "$TOKEN" >> "$HOSTLER_METRICS"
printf '%s' "$TOKEN" | base64; echo up
"""
PIPELINE = f"""
name = "t"
[defaults]
shell = true
code = "none"
secrets = ["TOKEN"]
grace = "1s"
[stages.process]
command = '''{SHOW} END '''
resources = {{ host = "gpu1" }}
[stages.container]
image = "{BUSYBOX}"
command = '''{SHOW} END '''
resources = {{ host = "gpu2" }}
outputs = {{ model = "out/" }}
"""


@pytest.fixture
def desk(clean_lab: Lab) -> Iterator[Desk]:
    """Somebody at work on two hosts, who has set the secret."""
    with desk_folder() as folder:
        desk = Desk.at_lab(clean_lab, folder, hosts=("gpu1", "gpu2"))
        desk.start_daemon()
        said = desk.hostler("secret", "set", "TOKEN", given=VALUE.encode())
        assert said.code == 0, said
        yield desk
        desk.close()


def holding(folder: Path, but: tuple[str, ...] = ()) -> list[str]:
    """Files below a folder that have the value in any form."""
    forms = patterns_of([VALUE])
    return [
        str(path)
        for path, data in files_below(folder)
        if not any(each in str(path) for each in but) and any(form in data for form in forms)
    ]


def said_by_hosts(hosts: list[Host]) -> str:
    """What Docker shows of all containers, and the arguments of all processes."""
    told = []
    for host in hosts:
        refs = host.docker("ps", "-aq").split()
        told.append(host.docker("inspect", *refs) if refs else "")
        told.append(host.exec(["sh", "-c", "cat /proc/[0-9]*/cmdline"], check=False).stdout)
    return "\n".join(told)


def told(desk: Desk, run_id: str) -> str:
    """All that the command line says of a run."""
    words = (["show", run_id], ["events", "--run", run_id], ["why", run_id])
    out = [desk.hostler(*each, *more) for each in words for more in ((), ("--json",))]
    out += [desk.hostler("logs", f"{run_id}/{name}") for name in NAMES]
    client = Client(desk.state / SOCKET_NAME)
    metrics = [str(row) for name in NAMES for row in client.metrics(run_id, name)]
    assert any("'loss'" in row for row in metrics), metrics
    return "\n".join(metrics + [each.out + each.err for each in out])


def test_the_value_is_nowhere(clean_lab: Lab, desk: Desk) -> None:
    hosts = [clean_lab.host("gpu1"), clean_lab.host("gpu2")]
    run_id = desk.submit(PIPELINE.replace("END", "sleep 1000"))
    for name in NAMES:
        desk.until(run_id, partial(_is_up, name))
    wait_until(lambda: all("up" in desk.output(run_id, n) for n in NAMES), "both are up")
    assert VALUE not in said_by_hosts(hosts)
    assert "HOSTLER_SECRETS" in said_by_hosts(hosts)
    assert all(map(_left, hosts))
    desk.kill_daemon()
    desk.ok("ps")
    desk.ok("cancel", run_id, "-y")
    desk.ended(run_id)
    failed = desk.submit(PIPELINE.replace("END", 'echo "$TOKEN" >&2; exit 3'))
    run = desk.ended(failed)
    assert {stage(run, n)["attempts"][0]["exit_code"] for n in NAMES} == {3}
    kept = desk.submit(PIPELINE.replace("END", 'mkdir -p out; echo "key=$TOKEN" > out/config.ini'))
    assert desk.ended(kept)["outcome"] == "succeeded"
    for each in (run_id, failed, kept):
        text = told(desk, each)
        assert not [form for form in patterns_of([VALUE]) if form.decode() in text], text
        for name in NAMES:
            output = desk.output(each, name)  # what came first of stdout and stderr is open
            assert "plain " in output
            assert output.count("*" * len(VALUE)) >= 4, output
    events = desk.ok("events", "--run", kept).out
    assert "contain values of its secrets: config.ini" in events, events
    wait_until(lambda: not any(map(_left, hosts)), "nothing is left in memory")
    wait_until(lambda: not any(map(_kept, hosts)), "nothing is left on the hosts")
    desk.close()
    # Sealed in the one, and in files that the stage itself wrote in the other.
    assert holding(desk.home, but=("/secrets/", "/content/")) == []
    assert not any(map(_kept, hosts))


def _is_up(name: str, run: dict[str, Any]) -> bool:
    return any(attempt["started_at"] for attempt in stage(run, name)["attempts"])


def _kept(host: Host) -> list[str]:
    """Files of a host that have the value."""
    folders = ("var/tmp", "home", "tmp", "dev/shm")
    return [found for folder in folders for found in holding(host.root / folder)]


def _left(host: Host) -> list[str]:
    shown = "ls -d /dev/shm/hostler-secrets-*/* /run/user/*/hostler-secrets/*"
    return host.exec(["sh", "-c", shown], check=False).stdout.split()
