from __future__ import annotations

from typing import Any

from hostler.model.codec import from_answer, to_json
from hostler.model.views.history import ComparedRuns
from tests.support.daemons.commandline import CommandLine
from tests.support.daemons.scripted_daemon import ScriptedDaemon


def row(section: str, name: str, *values: Any, better: int | None = None) -> dict[str, Any]:
    return {"section": section, "name": name, "values": list(values),
            "differs": len(set(values)) > 1, "better": better}  # fmt: skip


def test_runs_are_compared(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    same = row("parameters", "seed", 1.0, 1.0)
    rows = [row("parameters", "lr", 0.1, None), same,
            row("metrics", "loss", 0.5, 0.25, better=1),
            row("cost", "took_s", 7200.0, 60.0),
            row("stages", "prepare took_s", 0.012, 0.014, better=0)]  # fmt: skip
    found = {"runs": [{"run_id": "r7"}, {"run_id": "r8"}], "rows": rows, "series": {}}
    daemon.on("GET", "/v1/history/compare", found)
    ran = hostler("compare", "r7", "r8")
    assert [line.split("\t") for line in ran.out.splitlines()] == [
        ["parameters", "lr", "0.1", "-"],
        ["metrics", "loss", "0.5", "0.25 *"],
        ["cost", "took", "2h", "1m"],
    ]
    everything = hostler("compare", "r7", "r8", "--all").out
    assert "seed" in everything
    assert "prepare took\t0s\t0s\n" in everything, "no star where none can be seen"
    assert hostler("compare", "r7", "--json").json == {
        "schema": "hostler.compare/1", **to_json(from_answer(ComparedRuns, found)),
    }  # fmt: skip
    daemon.on("GET", "/v1/history/compare", {**found, "rows": [same]})
    for tty in (True, False):
        ran = hostler("compare", "r7", "r8", tty=tty)
        assert (ran.code, ran.out, "no differences" in ran.err) == (0, "", True)


def test_one_run_has_nothing_to_be_compared_with(
    hostler: CommandLine, daemon: ScriptedDaemon
) -> None:
    runs = [{"run_id": "r7"}, {"run_id": "r7"}]
    found = {"rows": [row("parameters", "lr", 0.1)], "series": {}}
    for count, words in ((1, ["r7"]), (2, ["r7", "last"])):
        daemon.on("GET", "/v1/history/compare", {**found, "runs": runs[:count]})
        ran = hostler("compare", *words)
        assert (ran.code, ran.out) == (2, "")
        assert "at least two runs. Name another run" in ran.err
    daemon.on("GET", "/v1/history/compare", {**found, "runs": runs[:1]})
    assert hostler("compare", "r7", "--all").out == "parameters\tlr\t0.1\n"
