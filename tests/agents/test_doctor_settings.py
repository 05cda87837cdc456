"""What `hostler doctor` warns of on a host: each with what was read, and what to do."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from hostler_agent import doctor_settings


def state(check: dict[str, str] | None) -> str | None:
    """The state of a row that also says what to do where it is not well."""
    if check is None:
        return None
    assert (check["state"] == "ok") is not bool(check["remedy"])
    return check["state"]


@pytest.mark.parametrize(
    ("version", "wanted"),
    [
        ("1.1.12", "warn"), ("1.2.7", "warn"), ("1.2.8", "ok"), ("1.3.2", "warn"), ("1.3.3", "ok"),
        ("1.4.0", "ok"), ("1.5.0-rc.1", "ok"), ("2.0.0", "ok"), ("1.3.3-0ubuntu1", "ok"),
        ("", None), ("odd", None),
    ],
)  # fmt: skip
def test_runc(version: str, wanted: str | None) -> None:
    assert state(doctor_settings.runc(version)) == wanted


@pytest.mark.parametrize(
    ("version", "wanted"),
    [("1.17.7", "warn"), ("1.17.8", "ok"), ("1.18.0", "ok"), ("1.9.0", "warn"), ("", None)],
)
def test_the_container_toolkit(version: str, wanted: str | None) -> None:
    assert state(doctor_settings.toolkit(version)) == wanted


def test_docker_on_tcp() -> None:
    warned = ["WARNING: API is accessible on http://0.0.0.0:2375 without encryption."]
    assert state(doctor_settings.tcp(warned, [])) == "fail"
    assert state(doctor_settings.tcp([], [22, 2375])) == "fail"
    assert state(doctor_settings.tcp(["WARNING: No swap limit support"], [22, 2376])) is None


@pytest.mark.parametrize(
    ("driver", "settings", "wanted"),
    [
        ("json-file", {}, "warn"),
        ("json-file", {"log-opts": {"max-file": "3"}}, "warn"),
        ("json-file", {"log-opts": {"max-size": "10m"}}, None),
        ("json-file", {"log-opts": "odd"}, "warn"),
        ("local", {}, None),
        ("journald", {}, None),
    ],
)
def test_logs_that_grow_for_ever(driver: str, settings: Any, wanted: str | None) -> None:
    assert state(doctor_settings.logs(driver, settings)) == wanted


def test_devices_without_links_by_number(tmp_path: Path) -> None:
    device = "/dev/null"
    assert stat.S_ISCHR(os.stat(device).st_mode)
    assert state(doctor_settings.dev_char("systemd", [device], str(tmp_path))) == "warn"
    assert doctor_settings.dev_char("cgroupfs", [device], str(tmp_path)) is None
    number = os.stat(device).st_rdev
    (tmp_path / f"{os.major(number)}:{os.minor(number)}").symlink_to(device)
    assert doctor_settings.dev_char("systemd", [device, "/dev/none"], str(tmp_path)) is None


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        (["MaxStartups 3"], "warn"),
        (["maxstartups 5:50:20  # few"], "warn"),
        (["MaxStartups=4:30:10"], "warn"),
        (["MaxStartups 10:30:100", "MaxStartups 2"], None),
        (["#MaxStartups 2"], None),
        (["MaxStartups"], None),
        ([], None),
    ],
)
def test_ssh_limits(lines: list[str], wanted: str | None) -> None:
    assert state(doctor_settings.ssh_limits(lines)) == wanted


def test_settings_of_sshd_are_read_in_its_order(tmp_path: Path) -> None:
    more = tmp_path / "sshd_config.d"
    more.mkdir()
    (more / "10-lab.conf").write_text("MaxStartups 2\n")
    main = tmp_path / "sshd_config"
    main.write_text("Include sshd_config.d/*.conf\nMaxStartups 100\n")
    assert state(doctor_settings.ssh_limits(doctor_settings._sshd_lines(str(main)))) == "warn"
    assert doctor_settings._sshd_lines(str(tmp_path / "none")) == []


def test_only_what_concerns_the_host_is_said() -> None:
    info: Any = {"LoggingDriver": "json-file", "CgroupDriver": "cgroupfs", "Warnings": None}
    named = {c["check"] for c in doctor_settings.advice(info, {"runc": "1.1.12"}, False, False)}
    assert {"runc"} <= named
    assert "toolkit" not in named
    podman = {c["check"] for c in doctor_settings.advice(info, {"runc": "1.1.12"}, True, False)}
    assert "docker-logs" not in podman
    assert not {c["check"] for c in doctor_settings.advice({}, {}, False, False)} - {"ssh-limits"}
