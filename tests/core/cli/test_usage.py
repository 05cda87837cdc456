"""Wrong usage is one line that says what is wrong and what was probably meant."""

from __future__ import annotations

from typing import cast

import pytest

from hostler.api.app import make_app
from hostler.base.errors import NotFoundError
from hostler.cli.options import MOST_AT_ONCE, MOST_MINUTES
from hostler.cli.problems import describe
from hostler.daemon.service import Service
from tests.support.daemons.commandline import CommandLine


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("gpus --memory 24GiB", "there is no option --memory. Did you mean --gpu-memory? See"),
        ("gpus --hlep", "there is no option --hlep. Did you mean --help? See"),
        ("gpus --zzz=3", "there is no option --zzz. See `hostler gpus --help`"),
        ("gpus --need 0", "--need: '0' is not a whole number from 1. See"),
        ("gpus --need", "--need needs a value. See"),
        ("gpus nope", "'nope' is an unexpected argument. See"),
        ("runs --state foo", "--state: 'foo' is not one of open, finished, succeeded, failed"),
        (
            "daemon foo",
            "'foo' is not one of start, stop, restart, status, recover, backup, restore, install.",
        ),
        ("show", "RUN is missing. See `hostler show --help`"),
        (
            "daemon",
            "a word is missing: start, stop, restart, status, recover, backup, restore, install.",
        ),
        ("config", "a word is missing: show. See"),
        ("run -p", "--param needs a value. See"),
        ("run --gpus 1 python train.py", "after --: `hostler run -- python train.py`"),
        ("run --via jump -- x", "--via is not supported yet: log in where that daemon runs"),
        ("run --nodes 2 -- x", "--nodes is not supported yet: a stage runs on one host. See"),
        ("logs /x", "hostler: RUN[/STAGE]: '/x' is not RUN or RUN/STAGE. See"),
        ("priority r7 x", "hostler: N: 'x' is not a whole number. See"),
        ("run --priority x -- true", "hostler: --priority: 'x' is not a whole number. See"),
        ("usage --minutes 9999", "--minutes: '9999' is not a whole number from 1 to 1440. See"),
        ("runs --limit 999999", "--limit: '999999' is not a whole number from 1 to 10000. See"),
        ("ps --limit 10001", "--limit: '10001' is not a whole number from 1 to 10000. See"),
        ("events --limit 0", "--limit: '0' is not a whole number from 1 to 10000. See"),
        ("alerts --limit ²", "--limit: '²' is not a whole number from 1 to 10000. See"),
        ("alerts ack", "no alert is named. Name them by number, like hostler alerts ack 12; host"),
        ("gpus --host=--", "--host needs a value. Write it like --host VALUE"),
        ("gpus --max-age=--", "--max-age needs a value. Write it like --max-age VALUE"),
        ("gpus --need 99999999999999999999999", "--need: '99999999999999999999999' is too large."),
        ("events --after 99999999999999999999999", "is too large. See"),
        ("alerts ack 99999999999999999999999", "is too large. See"),
        ("show \udcff\udcfe", r"'\udcff\udcfe' is not UTF-8. Write it as UTF-8, or rename"),
        ("ps --owner \udcff", "is not UTF-8"),
        ("run -d -- echo \udcff", "is not UTF-8"),
        ("run --det -- x", "there is no option --det. Did you mean --detach? See"),
    ],
)
def test_a_mistake_is_one_line(hostler: CommandLine, words: str, said: str) -> None:
    ran = hostler(*words.split())
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.startswith("hostler: ")
    assert ran.err.count("\n") == 1
    assert said in ran.err, ran.err


def test_the_limits_of_options_are_those_of_the_api() -> None:
    paths = make_app(cast("Service", None)).openapi()["paths"]
    for path, name, most in (
        ("/v1/history/runs", "limit", MOST_AT_ONCE), ("/v1/runs", "limit", MOST_AT_ONCE),
        ("/v1/events", "limit", MOST_AT_ONCE), ("/v1/alerts", "limit", MOST_AT_ONCE),
        ("/v1/history/fleet", "minutes", MOST_MINUTES),
        ("/v1/hosts/{name}/history", "minutes", MOST_MINUTES),
    ):  # fmt: skip
        parameters = {p["name"]: p["schema"] for p in paths[path]["get"]["parameters"]}
        assert parameters[name]["maximum"] == most, path


@pytest.mark.parametrize("command", ["show", "wait", "cancel", "retry", "rerun", "rm"])
def test_an_empty_name_is_no_run(hostler: CommandLine, command: str) -> None:
    ran = hostler(command, "")
    assert ran.code == 2
    assert "the name of a run is empty" in ran.err


@pytest.mark.parametrize(
    "words",
    ["show {}", "wait {}", "cancel {}", "retry {}", "rerun {}", "rm -y {}", "compare {} r7",
     "priority {} -- -1", "events --run {}"],
)  # fmt: skip
def test_a_stage_is_no_run(hostler: CommandLine, words: str) -> None:
    ran = hostler(*words.format("last/run").split())
    assert ran.code == 2
    assert "'last/run' is a stage, and this command takes runs: last. See `hostler" in ran.err
    ran = hostler(*words.format("/run").split())
    assert ran.code == 2
    assert "'/run' is not a run: ids have no /" in ran.err


@pytest.mark.parametrize(
    ("remedy", "said"),
    [
        ("list them: hostler runs", "no run. List them: hostler runs"),
        ("hostler runs lists them", "no run. hostler runs lists them"),
        ("python3 -m venv makes one", "no run. python3 -m venv makes one"),
        ("`ssh gpu1` tells", "no run. `ssh gpu1` tells"),
        ("", "no run"),
    ],
)
def test_a_remedy_is_a_sentence_of_its_own(remedy: str, said: str) -> None:
    assert describe(NotFoundError("no run", remedy=remedy)) == f"hostler: {said}\n"


def test_a_word_of_thousands_of_letters_is_cut_in_the_message(hostler: CommandLine) -> None:
    ran = hostler("gpus", "--need", "9x" * 5000)
    assert ran.code == 2
    assert len(ran.err) < 400
    assert "..." in ran.err
    assert "See `hostler gpus --help`" in ran.err
