"""The web page of `hostler gpus --html`: its content, columns by number of hosts, and when
values are marked as old. Pure."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from html import escape

from hostler.base.gpu_models import short_model
from hostler.base.text import clean
from hostler.base.units import format_duration
from hostler.model.views.gpus import FleetView, GpuView, HostGpus
from hostler.show.fleet import LETTERS, is_stale, letter
from hostler.show.gpus import is_simulated, owners_text
from hostler.show.gpus_style import SCRIPT, STYLE

_OLD_AFTER_S = 60.0
_ONE_COLUMN, _TWO_COLUMNS = 20, 60
"""Numbers of hosts; above each, the page gets one column more."""
_ROOMY_GPUS = 8


def page(fleet: FleetView, *, every: float | None = None, problem: str | None = None) -> str:
    """The whole page. `every`: it reloads after so many seconds. `problem`: why there are no newer
    values."""
    hosts = fleet["hosts"]
    at = datetime.fromtimestamp(float(fleet["at"])).astimezone()
    old_after = max(_OLD_AFTER_S, 3 * (every or 0))
    parts = [
        "<!doctype html>",
        '<html lang="en">',
        *_head(fleet, every),
        f'<body data-at="{float(fleet["at"]):.3f}" data-old="{old_after:g}"'
        f' style="--old:{old_after:g}s">',
        *_header(fleet, at, old_after),
        *([f'<p class="problem">{_text(problem)}</p>'] if problem else []),
        *_main(hosts, float(fleet["at"])),
        *_legend(hosts),
        f"<script>{SCRIPT}</script>",
        "</body>",
        "</html>",
    ]
    return "\n".join(parts) + "\n"


def _text(value: object) -> str:
    """External text: its control characters made visible, and its markup escaped."""
    return escape(clean(str(value)), quote=True)


def _head(fleet: FleetView, every: float | None) -> Iterator[str]:
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    yield "<head>"
    yield '<meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield '<meta name="color-scheme" content="light dark">'
    if every is not None:
        yield f'<meta http-equiv="refresh" content="{max(1, round(every))}">'
    yield f"<title>{'SIM: ' if is_simulated(fleet) else ''}{_count(fleet)} GPUs free</title>"
    yield f"<style>{STYLE}</style>"
    yield "</head>"


def _count(fleet: FleetView) -> str:
    return f"{fleet['summary']['free']} of {fleet['summary']['total']}"


def _header(fleet: FleetView, at: datetime, old_after: float) -> Iterator[str]:
    free, total = fleet["summary"]["free"], fleet["summary"]["total"]
    yield "<header>"
    yield f"<h1><b>{free}</b> of {total} GPUs free</h1>"
    if is_simulated(fleet):
        yield '<p class="sim">SIM <small>simulated lab, nothing is real</small></p>'
    yield '<ul class="models">'
    for name, (ready, there) in _by_model(fleet["hosts"]).items():
        kind = "some" if ready else "none"
        yield f'<li class="{kind}"><b>{ready}</b>/{there} {_text(name)}</li>'
    yield "</ul>"
    shown = at.strftime("%Y-%m-%d %H:%M:%S")
    yield (
        f'<p class="asof">as of <time datetime="{at.isoformat(timespec="seconds")}">{shown}</time>'
        f' {_text(at.strftime("%Z"))} <span id="age"></span></p>'
    )
    said = format_duration(round(old_after))
    yield f'<p class="old" id="old">OLD: <span id="since">nothing new for {said}</span></p>'
    yield "</header>"


def _by_model(hosts: Sequence[HostGpus]) -> dict[str, tuple[int, int]]:
    """For each model the number of free GPUs, and of all."""
    found: dict[str, tuple[int, int]] = {}
    for host in hosts:
        for gpu in host["gpus"]:
            name = short_model(gpu.get("model"), gpu.get("memory_total"))
            free, total = found.get(name, (0, 0))
            found[name] = free + (gpu["state"] == "free"), total + 1
    return dict(sorted(found.items()))


def _main(hosts: Sequence[HostGpus], at: float) -> Iterator[str]:
    columns = 1 if len(hosts) <= _ONE_COLUMN else 2 if len(hosts) <= _TWO_COLUMNS else 3
    rows = max(1, -(-len(hosts) // columns))
    most = max([1, *(len(host["gpus"]) for host in hosts)])
    dense = " dense" if most > _ROOMY_GPUS or columns > 2 else ""
    shape = f"--columns:{columns};--rows:{rows};--gpus:{most}"
    yield f'<main class="c{columns}{dense}" style="{shape}">'
    for host in hosts:
        yield from _host(host, at)
    yield "</main>"


def _host(host: HostGpus, at: float) -> Iterator[str]:
    gpus = host["gpus"]
    stale = is_stale(host)
    free = sum(gpu["state"] == "free" for gpu in gpus)
    names = [short_model(gpu.get("model"), gpu.get("memory_total")) for gpu in gpus]
    age = host.get("age_s")
    notes = _text(owners_text(host, at))
    kind = " stale" if stale else " some" if free else ""
    yield f'<section class="host{kind}">'
    yield f"<h2>{_text(host['host'])}{'~' if stale else ''}</h2>"
    yield f'<p class="model">{_text(",".join(dict.fromkeys(names)) or "-")}</p>'
    yield f'<ol class="gpus">{"".join(_gpu(gpu) for gpu in gpus)}</ol>'
    yield f'<p class="count">{"?" if stale else free}/{len(gpus)}</p>'
    yield f'<p class="notes" title="{notes}">{notes}</p>'
    yield f'<p class="age">{"-" if age is None else format_duration(max(0, round(age)))}</p>'
    yield "</section>"


def _gpu(gpu: GpuView) -> str:
    state = gpu["state"] if gpu["state"] in LETTERS else "unknown"
    used, total = gpu.get("memory_used"), gpu.get("memory_total")
    memory = ""
    if used is not None and total and state not in ("free", "unknown", "drained"):
        memory = f"{min(99, round(100 * used / total)):02d}"
    busy = gpu.get("utilization")
    bar = f' style="--u:{min(100, max(0, round(busy)))}%"' if busy and state != "unknown" else ""
    return (
        f'<li class="{state}" title="{_text(_title(gpu))}"{bar}>'
        f"<b>{letter(state)}</b><small>{memory}</small></li>"
    )


def _title(gpu: GpuView) -> str:
    said = f"GPU {gpu['index']}: {gpu['state']}"
    return f"{said}: {gpu['why']}" if gpu.get("why") else said


def _legend(hosts: Sequence[HostGpus]) -> Iterator[str]:
    counts: dict[str, int] = {}
    for host in hosts:
        for gpu in host["gpus"]:
            counts[gpu["state"]] = counts.get(gpu["state"], 0) + 1
    yield '<footer><ul class="legend">'
    for state, char in LETTERS.items():
        if counts.get(state) or state in ("free", "leased", "foreign"):
            yield f'<li><i class="{state}">{char}</i> {state} <b>{counts.get(state, 0)}</b></li>'
    yield '<li class="memory">number: memory in %</li>'
    yield "<li>line: load</li>"
    yield "<li>* without a lease</li><li>~ stale</li></ul></footer>"
