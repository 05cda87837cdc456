from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hostler.show.charts import sparkline
from tests.support.daemons.commandline import CommandLine
from tests.support.daemons.scripted_daemon import ScriptedDaemon
from tests.support.values.fleets import fleet, host
from tests.support.values.run_objects import run, stage

FLEET = {"from": 0.0, "step_s": 60.0, "utilization": [None, 61.4], "power": [None, 88000.0]}


def test_the_fleet_has_a_row_a_minute(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    daemon.on("GET", "/v1/history/fleet", FLEET)
    rows = [line.split("\t") for line in hostler("usage", "--minutes", "2").out.splitlines()]
    assert [row[1:] for row in rows] == [["61 %", "88000 W"]]
    assert daemon.asked[-1].query == {"minutes": "2"}
    assert hostler("usage", "--json").json == {"schema": "hostler.fleet-history/1", **FLEET}


def test_a_host_has_a_row_a_gpu(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    shown = fleet(host("gpu1", ".L"))
    uuid = shown["hosts"][0]["gpus"][1]["uuid"]
    busy = {"utilization": [None, 50.0, 100.0], "memory_used": [None, 2**30, 2**30],
            "power": [None] * 3, "temperature": [None, 60.0, 66.0]}  # fmt: skip
    found = {"schema": "hostler.history/1", "host": "gpu1", "from": 0.0, "step_s": 60.0,
             "gpus": {uuid: busy, "GPU-gone": busy}}  # fmt: skip
    daemon.on("GET", "/v1/gpus", shown)
    daemon.on("GET", "/v1/hosts/gpu1/history", found)
    rows = [line.split("\t") for line in hostler("usage", "--host", "gpu1").out.splitlines()]
    assert rows[0] == ["1", "75 %", "1 GiB", "-", "66 C", " ▅█"]
    assert rows[1][0] == "GPU-gone"
    assert hostler("usage", "--host", "gpu1", "--json").json == found


@given(st.lists(st.none() | st.floats(-10, 200), max_size=100), st.integers(1, 40))
def test_a_sparkline_fits(values: list[float | None], width: int) -> None:
    assert len(sparkline(values, 100.0, width)) == min(width, len(values))


def test_a_run_has_a_row_an_attempt(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    used = {"attempt_id": "r7-train-1", "gpu_seconds_allocated": 7200.0, "energy_wh": 1234.0,
            "gpu_seconds_busy": 3600.0, "peak_memory": 2.0**34,
            "mean_utilization": 50.0}  # fmt: skip
    lost = {**dict.fromkeys(used), "attempt_id": "r7-train-2", "energy_wh": 12.34}
    found = {"attempts": [used, lost], "from": 0.0, "step_s": 5.0, "gpus": {}}
    daemon.on("GET", "/v1/runs/r7", run(stage()))
    daemon.on("GET", "/v1/runs/r7/usage/train", found)
    rows = [line.split("\t") for line in hostler("usage", "r7").out.splitlines()]
    assert rows[0] == ["r7-train-1", "2h", "1h", "50 %", "16 GiB", "1.23 kWh"]
    assert rows[1] == ["r7-train-2", "-", "-", "-", "-", "12.3 Wh"]
    assert hostler("usage", "r7/train", "--json").json["schema"] == "hostler.usage/1"
    assert hostler("usage", "r7", "--host", "gpu1").code == 2


def test_of_a_run_of_several_stages_one_is_to_be_named(
    hostler: CommandLine, daemon: ScriptedDaemon
) -> None:
    daemon.on("GET", "/v1/runs/r7", run(stage("prepare"), stage("train")))
    ran = hostler("usage", "r7")
    assert ran.code == 2
    assert "Name one, like hostler usage r7/prepare: prepare, train" in ran.err
