"""`hostler usage`: how busy GPUs were (--minutes) or what attempts used: columns, sparklines,
energy units."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from hostler.base.dates import clock_text, exact_time
from hostler.base.table import Column, is_terminal
from hostler.base.units import format_duration, format_size
from hostler.cli.commands.logs import choose_stage
from hostler.cli.options import minutes, run_and_stage
from hostler.cli.shared import add_common, open_client, out_json, out_table
from hostler.show.charts import highest, mean, number, sparkline
from hostler.show.progress import gpu_indices

if TYPE_CHECKING:
    from hostler.client import Client
    from hostler.model.views.history import (
        AttemptUsage,
        FleetHistory,
        GpuColumns,
        HostHistory,
        StageUsage,
    )

_WIDTH = 30
FLEET = (Column("TIME"), Column("UTIL", right=True), Column("POWER", right=True))
GPUS = (
    Column("GPU"),
    Column("UTIL", right=True),
    Column("MEMORY", right=True),
    Column("POWER", right=True),
    Column("TEMP", right=True),
    Column("BUSY"),
)

ATTEMPTS = (
    Column("ATTEMPT"),
    Column("GPU TIME", right=True),
    Column("BUSY", right=True),
    Column("UTIL", right=True),
    Column("PEAK", right=True),
    Column("ENERGY", right=True),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "run", nargs="?", type=run_and_stage, metavar="RUN[/STAGE]",
        help="usage of a stage of this run, one row per attempt",
    )  # fmt: skip
    which.add_argument("--host", metavar="NAME", help="usage of this host, one row per GPU")
    parser.add_argument(
        "--minutes", type=minutes, default=60, metavar="N",
        help="the last N minutes, at most 1440 (default 60)",
    )  # fmt: skip
    add_common(parser, listing=True)


def run(args: argparse.Namespace) -> int:
    """Print the history of the fleet or of one host, or what attempts used."""
    client = open_client(args)
    if args.run:
        found = client.show(args.run[0])
        stage = choose_stage("usage", found, args.run[1])
        _attempts(args, client.usage(found.run_id, stage.name))
    elif args.host:
        _host(args, client, client.host_history(args.host, args.minutes))
    else:
        _fleet(args, client.fleet_history(args.minutes))
    return 0


def _fleet(args: argparse.Namespace, found: FleetHistory) -> None:
    if args.json:
        out_json("fleet-history", found)
        return
    shown = clock_text if is_terminal() else exact_time
    pairs = zip(found.utilization, found.power, strict=True)
    rows = [
        [shown(found.begin + index * found.step_s), number(busy, " %"), number(power, " W")]
        for index, (busy, power) in enumerate(pairs)
        if busy is not None or power is not None
    ]
    out_table(args, FLEET, rows)


def _host(args: argparse.Namespace, client: Client, found: HostHistory) -> None:
    if args.json:
        out_json("history", found)
        return
    indices = gpu_indices(client.gpus())
    out_table(args, GPUS, [_gpu(indices.get(uuid), uuid, had) for uuid, had in found.gpus.items()])


def _attempts(args: argparse.Namespace, found: StageUsage) -> None:
    if args.json:
        out_json("usage", found)
        return
    out_table(args, ATTEMPTS, [_attempt(used) for used in found.attempts])


def _attempt(used: AttemptUsage) -> list[str]:
    peak, energy = used.peak_memory, used.energy_wh
    return [
        used.attempt_id,
        _time(used.gpu_seconds_allocated),
        _time(used.gpu_seconds_busy),
        number(used.mean_utilization, " %"),
        "-" if peak is None else format_size(peak),
        "-" if energy is None else _energy(energy),
    ]


def _energy(watt_hours: float) -> str:
    return f"{watt_hours:.3g} Wh" if watt_hours < 1000 else f"{watt_hours / 1000:.3g} kWh"


def _time(seconds: float | None) -> str:
    return "-" if seconds is None else format_duration(round(seconds, 1))


def _gpu(index: int | None, uuid: str, had: GpuColumns) -> list[str]:
    memory = mean(had.memory_used)
    return [
        uuid if index is None else str(index),
        number(mean(had.utilization), " %"),
        "-" if memory is None else format_size(memory),
        number(mean(had.power), " W"),
        number(highest(had.temperature), " C"),
        sparkline(had.utilization, 100.0, _WIDTH),
    ]
