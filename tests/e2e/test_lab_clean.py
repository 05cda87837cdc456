"""`hostler host clean` on a real host with Docker."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.lab.lab import Lab
from tests.lab.layout import BUSYBOX
from tests.support.machines.desk import Desk, Said, stage, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

PIPELINE = f"""
name = "t"
[defaults]
image = "{BUSYBOX}"
shell = true
[stages.a]
command = "until [ -e /tmp/go ]; do sleep 0.2; done"
resources = {{ gpus = 1, host = "gpu1" }}
"""


@contextlib.contextmanager
def shown(said: list[Said]) -> Iterator[None]:
    """With the last answer in the failure."""
    try:
        yield
    except AssertionError as error:
        raise AssertionError(f"{error}: {said[-1]}") from error


@pytest.mark.hosts("gpu1")
def test_a_host_is_cleaned_of_what_nothing_needs_and_of_nothing_else(
    clean_lab: Lab, desk: Desk
) -> None:
    host = clean_lab.host("gpu1")
    run_id = desk.submit(PIPELINE)
    desk.until(run_id, lambda r: stage(r, "a")["status"] == "running")
    ours = (desk.state / "id").read_text().strip()
    running = host.docker("ps", "-q", "--filter", f"label=hostler.daemon={ours}").strip()
    assert running
    busy = desk.ok("host", "clean", "gpu1", "-y", "--json").json
    assert any(f"{run_id}-a-1 is running" in said for said in busy["stays"])
    assert host.docker("ps", "-q", "--filter", f"label=hostler.daemon={ours}").strip() == running

    # Somebody may put our labels on a container: nothing is cleaned before a person has looked.
    labels = ("--label", f"hostler.daemon={ours}", "--label", "hostler.attempt=rlost77-a-1")
    name = f"hostler-{ours[:8]}-rlost77-a-1"
    stray = host.docker("run", "-d", "--name", name, *labels, BUSYBOX, "sleep", "600").strip()
    wait_until(
        lambda: "rlost77" in desk.hostler("host", "clean", "gpu1", "--dry-run").err,
        "the container is seen",
    )
    refused = desk.hostler("host", "clean", "gpu1", "-y")
    assert refused.code == 2
    assert "hostler daemon recover" in refused.err
    assert host.docker("ps", "-q", "--no-trunc", "--filter", f"id={stray}").strip() == stray
    host.docker("rm", "-f", stray)

    script = f"for folder in /var/tmp/hostler-*/blobs; do echo x > $folder/{'d' * 64}; done"
    host.exec(["sh", "-c", script], user="ana")
    host.docker("exec", running, "touch", "/tmp/go")
    assert desk.ended(run_id)["outcome"] == "succeeded"
    said = [desk.hostler("host", "clean", "gpu1", "--dry-run")]

    def is_idle() -> bool:
        said.append(desk.hostler("host", "clean", "gpu1", "--dry-run"))
        return "blob" in said[-1].out

    with shown(said):
        wait_until(is_idle, "nobody works there any more")
    assert "blob" in desk.ok("host", "clean", "gpu1", "-y").out
    assert "blob" not in desk.ok("host", "clean", "gpu1", "--dry-run").out
    again = desk.run(PIPELINE.replace("until [ -e /tmp/go ]; do sleep 0.2; done", "true"))
    assert again["outcome"] == "succeeded"
