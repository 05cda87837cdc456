"""Files on hosts and in the state folder: their names, modes and keys."""

from __future__ import annotations

from typing import Any

import pytest

from tests.golden.onhost import PIPELINE, namer, on_host, tree
from tests.golden.stored import check_golden

pytestmark = [pytest.mark.programs, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """What lies there while a stage runs, and after the run."""
    with on_host() as here:
        desk = here.desk
        run_id = desk.submit(PIPELINE)
        desk.until(run_id, lambda run: bool((run["stages"][0]["attempt"] or {}).get("metrics")))
        naming = namer(run_id, (desk.state / "id").read_text().strip())
        found: dict[str, Any] = {
            "running": tree(here.base, naming),
            "leases": tree(here.leases.parent, naming),
            "state": tree(desk.state, naming),
        }
        here.release(run_id)
        assert desk.ended(run_id)["outcome"] == "succeeded", desk.log()
        found["variables"] = desk.output(run_id, "a").split()
        desk.ok("daemon", "stop")
        found["ended"] = tree(here.base, naming)
        return found


@pytest.mark.parametrize("part", ["running", "leases", "state", "variables", "ended"])
def test_it_is_as_it_was(part: str, found: dict[str, Any]) -> None:
    check_golden(f"host/{part}", found[part])
