"""Stages go where their mounts and the submitter's environment are, on real hosts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.lab import Lab
from tests.support.machines.desk import Desk, desk_folder, wait_until

pytestmark = pytest.mark.lab

CONFIG = '[mounts.data]\npath = "/srv/only"\nmode = "rw"\n'
PIPELINE = """
name = "m"
[stages.a]
command = "cat /srv/only/name"
shell = true
mounts = ["data"]
code = "none"
"""


@pytest.fixture
def person(clean_lab: Lab) -> Iterator[Desk]:
    """Somebody whose config names a folder that gpu2 alone has."""
    clean_lab.host("gpu2").exec(
        ["sh", "-c", "mkdir -p /srv/only && echo here > /srv/only/name && chmod -R a+rX /srv/only"]
    )
    with desk_folder() as folder:
        made = Desk.at_lab(clean_lab, folder, more=CONFIG)
        yield made
        made.close()


def test_a_process_runs_where_its_mount_is(person: Desk) -> None:
    run = person.run(PIPELINE)
    assert run["stages"][0]["attempt"]["host"] == "gpu2"
    assert person.ok("logs", run["run_id"]).out == "here\n"


def test_a_mount_that_no_host_has_is_named_by_why(clean_lab: Lab, person: Desk) -> None:
    clean_lab.host("gpu2").exec(["mv", "/srv/only", "/srv/elsewhere"])
    run_id = person.submit(PIPELINE)
    said = "the mount data (/srv/only) does not exist there"
    wait_until(lambda: said in person.why(run_id), "why names it", 90, every=0.5)
    assert said in person.ok("why", run_id).out
    assert person.show(run_id)["stages"][0]["attempt"] is None
    person.ok("cancel", run_id)


def test_an_environment_binds_a_command_to_the_hosts_that_see_it(
    clean_lab: Lab, person: Desk
) -> None:
    env = person.home / "env"
    (env / "bin").mkdir(parents=True)
    program = env / "bin" / "python"
    program.write_text("#!/bin/sh\necho from the environment\n")
    program.chmod(0o755)
    person.more_env = {"VIRTUAL_ENV": str(env), "PATH": f"{env}/bin:/usr/bin:/bin"}
    words = ("run", "-d", "-q", "--code", "none")
    wait_until(
        lambda: all(h["condition"] == "up" for h in person.hosts()),
        "the hosts are up",
        90,
        every=0.5,
    )
    refused = person.hostler(*words, "--", "python", "train.py")
    assert refused.code == 2, refused
    assert f"{program}, of your shell's environment, which is not on gpu1" in refused.err
    put = f"mkdir -p {env}/bin && printf '#!/bin/sh\\necho there\\n' > {program}"
    opened = f"chmod -R a+rx {env} && chmod a+rx {person.home}"
    clean_lab.host("gpu3").exec(["sh", "-c", f"{put} && {opened}"])
    run = person.ended(person.ok(*words, "--", "python", "train.py").out.strip())
    assert run["stages"][0]["attempt"]["host"] == "gpu3"
    assert person.ok("logs", run["run_id"]).out == "there\n"
    run = person.ended(person.ok(*words, "--no-env", "--", "true").out.strip())
    assert run["outcome"] == "succeeded"
