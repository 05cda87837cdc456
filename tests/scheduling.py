"""Which test file runs when and on which worker, so that no core waits.

A test in the lab waits for three seconds where it computes for one; most others compute. So a few
workers (LABS) take the files with the lab, one after the other, while the others compute. Each of
them boots one lab, which takes seconds. Files that take long begin early: beside them, and after
them, the short ones fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path, PurePath
from typing import Any

import pytest

LABS = 3
"""Workers that begin with the lab's files; they end them when most else has ended."""
LONGEST = (
    "tests/agents/test_looks.py",
    "tests/e2e/test_lab_images.py",
    "tests/e2e/test_gateway_deploys.py",
    "tests/e2e/test_shared_daemon.py",
    "tests/core/runtimes/test_image_delivery.py",
    "tests/core/api/test_openapi.py",
    "tests/e2e/test_lab_runs.py",
    "tests/e2e/test_gateway_faults.py",
    "tests/e2e/test_lab_fetch.py",
    "tests/e2e/test_lab_reach.py",
    "tests/e2e/test_fresh_clone.py",
    "tests/chaos/test_daemon_faults.py",
    "tests/upgrade/test_upgrade.py",
    "tests/e2e/test_lab_gpu_faults.py",
    "tests/e2e/test_lab_faults.py",
    "tests/e2e/test_lab_cuts.py",
    "tests/e2e/test_lab_host_health.py",
)
"""Files of about forty seconds or more, in this order: one begun last would be waited for alone.
The last seven are those of `make test-long`."""

_LONG = ("lab", "slow")
_ROOT = Path(__file__).resolve().parents[1]
_KNOWN = {_ROOT / name: number for number, name in enumerate(LONGEST)}


def sort(items: list[pytest.Item]) -> None:
    """Put the files into the order in which they begin; that of the tests of a file stays. Raises
    UsageError where a test needs the lab, and its file does not say so."""
    for path in {item.path for item in items if item.get_closest_marker("lab")}:
        if not needs_lab(path):
            raise pytest.UsageError(f"{path} needs the lab: write pytest.mark.lab into it")
    long = {item.path for item in items if any(map(item.get_closest_marker, _LONG))}
    items.sort(key=lambda item: rank(item.path, item.path in long))


def rank(path: Path, is_long: bool) -> int:
    """The place of a file in that order. Files in tests/core take a second or less, unless they are
    marked: they fill what is left at the end."""
    if path in _KNOWN:
        return _KNOWN[path]
    return len(_KNOWN) + (0 if is_long else 2 if path.is_relative_to(_ROOT / "tests/core") else 1)


@cache
def needs_lab(path: Path) -> bool:
    """Whether tests in this file need the lab. xdist's scheduler knows names, and no markers."""
    return "mark.lab" in path.read_text(encoding="utf-8")


def takes_labs(worker: str, workers: int) -> bool:
    """Whether the worker of this name (gw0, gw1, ...) begins with the lab's files."""
    return int(worker.removeprefix("gw")) < max(1, min(LABS, workers // 2))


def next_file(
    waiting: Iterable[str], is_wanted: Callable[[str], bool], done: Iterable[str] = ()
) -> str:
    """The first file that is wanted, of a folder from which the worker has had one where there is
    such a file: those of tests/chaos share a lab of their own. Where none is wanted, the first."""
    files = list(waiting)
    folders = {PurePath(file).parent for file in done}
    wanted = list(filter(is_wanted, files))
    near = [file for file in wanted if folders and PurePath(file).parent in folders]
    return (near or wanted or files)[0]


def make_scheduler(config: pytest.Config, log: Any) -> Any:
    """xdist's scheduler of whole files, which here chooses the next file by the worker."""
    from xdist.scheduler import LoadFileScheduling

    scheduler = LoadFileScheduling(config, log)
    assign = scheduler._assign_work_unit

    @cache  # by name: to make a path of each file that waits, at each choice, takes seconds in sum
    def is_lab(file: str) -> bool:
        return needs_lab(config.rootpath / file)

    def assign_chosen(node: Any) -> None:
        labs = takes_labs(node.gateway.id, scheduler.numnodes)
        done = filter(is_lab, scheduler.assigned_work[node])
        chosen = next_file(scheduler.workqueue, lambda file: is_lab(file) is labs, done)
        scheduler.workqueue.move_to_end(chosen, last=False)
        assign(node)

    scheduler._assign_work_unit = assign_chosen
    return scheduler
