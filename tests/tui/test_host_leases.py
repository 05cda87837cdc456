"""Leases on the screen of a host: whose file it is, and what keeps GPUs from being leased."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hostler.model.hosts import Lease, Look
from hostler_tui.host.rows import _leases
from hostler_tui.lines import text_of


def shown(**look: Any) -> list[str]:
    return [
        text_of(line) for line in _leases(Look(asked_at=0.0, boot_id="b", **look), {"GPU-0": ":0"})
    ]


def test_the_files_owner_stands_beside_the_name_in_the_text() -> None:
    lease = Lease("l", "GPU-0", "d", "bob", "r-1", 0.0, uid=7, user="mallory")
    (line,) = shown(leases=(lease,))
    assert "bob" in line
    assert line.endswith("written by mallory")
    for user in ("bob", None):
        (line,) = shown(leases=(replace(lease, user=user),))
        assert "written by" not in line


def test_trouble_with_leases_is_told() -> None:
    told = shown(lease_problem="the lock", left_out="9 leases are not shown")
    assert told[0].strip() == "no GPU can be leased: the lock"
    assert told[1].strip() == "too much to be shown: 9 leases are not shown"
