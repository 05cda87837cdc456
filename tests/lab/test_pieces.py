"""The lab's parts that need neither root nor hosts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.lab import cgroups, preflight, referee
from tests.lab.gpus import GpuPanel, default_gpus, parse
from tests.lab.layout import LabError, LabPaths
from tests.lab.net import RANGE, Net
from tests.lab.system import run, wait_until


@pytest.fixture
def panel(tmp_path: Path) -> GpuPanel:
    made = GpuPanel(tmp_path / "gpus" / "nvml")
    made.install(default_gpus(4, host=1))
    return made


def test_gpus_survive_being_written_and_read(panel: GpuPanel, tmp_path: Path) -> None:
    panel.set(1, used=512, throttle=0x20, power=99.5, unsupported=["ecc", "mig"], error="lost")
    panel.xid(1, 79)
    panel.xid(2, 13)
    gpu = panel.all[1]
    assert (gpu.used, gpu.throttle, gpu.power, gpu.error) == (512, 0x20, 99.5, "lost")
    assert list(gpu.unsupported) == ["ecc", "mig"]
    assert [panel.all[1].xids, panel.all[2].xids] == [["1:79"], ["2:13"]]
    _, gpus = parse((tmp_path / "gpus" / "nvml").read_text())
    assert gpus == panel.all


def test_gpus_differ_between_hosts_and_models_are_mixed() -> None:
    uuids = {gpu.uuid for host in (1, 2, 3) for gpu in default_gpus(4, host)}
    assert len(uuids) == 12
    assert {(gpu.name, gpu.total) for gpu in default_gpus(4, 1)} == {
        ("NVIDIA A100-SXM4-80GB", 81559),
        ("NVIDIA GeForce RTX 3090", 24576),
    }


def test_processes_bring_their_memory_and_take_it_along(panel: GpuPanel) -> None:
    panel.add_process(0, 41, 1000)
    panel.add_process(0, 42, 2000)
    panel.remove_process(0, 41)
    assert (panel.all[0].used, panel.all[0].processes) == (2000, ["42:2000"])
    panel.remove_process(0, 42, keep_memory=True)
    assert (panel.all[0].used, panel.all[0].processes) == (2000, [])
    panel.set(0, memory_used=0, processes=[(7, 30), "8:40:graphics"])
    assert (panel.all[0].used, panel.all[0].processes) == (0, ["7:30", "8:40:graphics"])


def test_a_field_that_no_gpu_has_is_refused(panel: GpuPanel) -> None:
    with pytest.raises(LabError, match="no field memory"):
        panel.set(0, memory=5)


def test_the_driver_can_be_unloaded_and_keeps_its_gpus(panel: GpuPanel, tmp_path: Path) -> None:
    before = panel.all
    panel.unload()
    assert not (tmp_path / "gpus" / "nvml").exists()
    assert panel.all == before
    panel.load()
    assert panel.all == before


def test_addresses_lie_in_the_benchmark_range_and_names_fit() -> None:
    net = Net("hlabz2345678", 511)
    assert net.address(200) in RANGE
    assert str(Net("hlab", 3).address(1)) == "198.18.3.11"
    assert len(net.veth(99)) <= 15
    macs = {Net("hlab", number).mac(index) for number in (0, 1, 256) for index in (1, 2)}
    assert len(macs) == 6


@pytest.mark.parametrize("name", ["", "lab", "hlab-1", "hlab/..", "hlabtoolongname", "HLAB"])
def test_a_lab_name_that_would_not_fit_is_refused(name: str) -> None:
    with pytest.raises(LabError, match="no lab name"):
        LabPaths(name)


def test_the_referee_log_tells_grants_refusals_and_overlaps(tmp_path: Path) -> None:
    line = {
        "at": 5.25, "host": "gpu1", "container": "c1", "name": "/one", "pid": 9, "gpus": ["GPU-a"],
        "labels": {"k": "v"}, "refused": None, "overlaps": [],
    }  # fmt: skip
    second = {**line, "container": "c2", "overlaps": [{"gpu": "GPU-a", "container": "c1"}]}
    third = {**line, "container": "c3", "refused": "device error"}
    log = tmp_path / "grants.jsonl"
    assert referee.read(log) == []
    log.write_text("".join(json.dumps(item) + "\n" for item in (line, second, third)))
    grants = referee.read(log)
    assert [(grant.name, grant.labels, grant.refused) for grant in grants] == [
        ("one", {"k": "v"}, None),
        ("one", {"k": "v"}, None),
        ("one", {"k": "v"}, "device error"),
    ]
    assert referee.overlaps(grants) == [referee.Overlap(5.25, "gpu1", "GPU-a", "c2", "c1")]


def test_each_hierarchy_is_mounted_again_with_what_names_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mounts = (
        "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,nosuid,relatime,cpu,cpuacct 0 0\n"
        "cgroup /sys/fs/cgroup/systemd cgroup rw,xattr,release_agent=/x,name=systemd 0 0\n"
        "cgroup2 /sys/fs/cgroup/unified cgroup2 rw,nsdelegate 0 0\n"
    )
    monkeypatch.setattr(Path, "read_text", lambda self: mounts)
    found = {item.place: (item.kind, item.options) for item in cgroups.hierarchies()}
    assert found == {
        "cpu,cpuacct": ("cgroup", "cpu,cpuacct"),
        "systemd": ("cgroup", "none,name=systemd"),
        "unified": ("cgroup2", ""),
    }


def test_one_reason_is_given_for_not_running(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSTLER_LAB", "off")
    assert "HOSTLER_LAB" in str(preflight.problem())
    monkeypatch.delenv("HOSTLER_LAB")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert "root" in str(preflight.problem())


def test_a_program_that_fails_says_what_it_said() -> None:
    with pytest.raises(LabError, match=r"failed with 3: oh no"):
        run(["sh", "-c", "echo oh no >&2; exit 3"])
    with pytest.raises(LabError, match="is not installed"):
        run(["hlab-no-such-program"])


def test_waiting_gives_up_and_says_for_what() -> None:
    with pytest.raises(LabError, match=r"the moon did not happen within 0\.05 s\. cheese"):
        wait_until(lambda: False, "the moon", timeout=0.05, why=lambda: "cheese")
