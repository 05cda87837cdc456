"""What a daemon says of itself, on a simulated lab."""

from __future__ import annotations

from pathlib import Path

from tests.support.daemons.simdaemon import SimDaemon
from tests.support.daemons.simlab import small_lab


async def test_gpus_are_counted_once_every_host_has_answered_or_failed(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(), tmp_path) as daemon:
        about = daemon.daemon.service.about
        assert about(1).gpus is None  # nobody was asked yet
        await daemon.until(lambda: about(1).gpus is not None, "answers of all hosts")
        assert about(1).gpus == daemon.daemon.service.gpus()["summary"]["total"] > 0
        assert about(1).local is False
