"""`hostler gpus`: options, exit codes (3 no, 4 cannot tell), pauses of --watch and --wait, and
when it asks the hosts instead of the daemon."""

from __future__ import annotations

import json
import sys
import time

from hostler.base.errors import NoDaemonError
from hostler.base.gpu_models import short_model
from hostler.base.paths import NO_HOSTS, is_configured
from hostler.base.table import is_terminal, terminal_width, wants_color
from hostler.base.text import clean
from hostler.base.units import format_duration
from hostler.quick.socket import Found, ask, find_socket, heard, unreadable
from hostler.show import fleet as fleets
from hostler.show.gpus import render
from hostler.show.need import NO, YES, Answer, Need, answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from hostler.model.views.gpus import FleetView

_WATCH_EVERY = 2.0
_WAIT_EVERY = 1.0
_WAIT_EVERY_DIRECT = 10.0
_NO = 3
DIRECT_DEADLINE = 3.0


class Options:
    """The command's options and their defaults; argparse fills one in."""

    socket: str | None = None
    read_timeout: float = 5.0
    color: str = "auto"
    quiet: bool = False
    json: bool = False
    output: str = "table"
    hosts: list[str] | None = None
    models: list[str] | None = None
    free: bool = False
    need: int | None = None
    gpu_memory: int | None = None
    spread: bool = False
    wait: float | None = None
    watch: bool = False
    interval: float = _WATCH_EVERY
    max_age: float | None = None
    direct: bool = False
    html: str | None = None
    debug: bool = False


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    from hostler.cli.shared import add_common

    add_common(parser, listing=True)
    parser.add_argument(
        "-o", "--output", choices=("table", "wide", "ids", "tsv", "json", "jsonl"),
        help="output format; wide: one row per GPU",
    )  # fmt: skip
    parser.add_argument(
        "--host", dest="hosts", action="append", metavar="NAME",
        help="only this host; a glob; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--model", dest="models", action="append", metavar="TEXT",
        help="only GPUs of this model: words of the name (A100, A100-80G), or a glob with a *",
    )  # fmt: skip
    parser.add_argument("--free", action="store_true", help="only free GPUs")
    parser.add_argument(
        "--html", nargs="?", const="-", metavar="FILE",
        help="write a web page for a wall display to FILE or stdout; --watch keeps it up to date",
    )  # fmt: skip
    _configure_need(parser)
    _configure_source(parser)


def _configure_need(parser: argparse.ArgumentParser) -> None:
    from hostler.cli.options import count, duration, size

    parser.add_argument(
        "--need", type=count, metavar="N",
        help="check whether N GPUs of one host are free: exit 0 yes, 3 no, 4 cannot tell",
    )  # fmt: skip
    parser.add_argument(
        "--gpu-memory", type=size, metavar="SIZE",
        help="with --need: only GPUs with at least this much memory, like 24GiB",
    )  # fmt: skip
    parser.add_argument(
        "--spread", action="store_true", help="with --need: the GPUs may be on several hosts"
    )
    parser.add_argument(
        "--wait", type=duration, metavar="TIME",
        help="with --need: wait until the answer is yes, at most this long",
    )  # fmt: skip


def _configure_source(parser: argparse.ArgumentParser) -> None:
    from hostler.cli.options import duration, interval

    parser.add_argument("-w", "--watch", action="store_true", help="refresh the display")
    parser.add_argument(
        "--interval", type=interval, metavar="TIME",
        help="with --watch: how often, at least 0.5s (default 2s)",
    )  # fmt: skip
    parser.add_argument(
        "--max-age", type=duration, metavar="TIME",
        help="treat hosts with older values as unknown",
    )  # fmt: skip
    parser.add_argument(
        "--direct", action="store_true",
        help="query the hosts directly, without the daemon",
    )  # fmt: skip


def run(options: Options) -> int:
    """Answer once, or with --watch and --wait again and again; the exit code."""
    _check(options)
    if options.need is not None:
        return _answer_need(options)
    if options.html is not None:
        return _write_html(options, options.html)
    if options.watch:
        return _watch(options)
    fleet = look(options)
    sys.stdout.write(_rendered(options, fleet))
    return _say_what_is_missing(options, fleet)


def _check(options: Options) -> None:
    from_need = options.gpu_memory is not None or options.spread or options.wait is not None
    if options.need is None and from_need:
        from hostler.base.errors import InputError

        raise InputError(
            "--gpu-memory, --spread and --wait work only with --need", remedy="Add --need N"
        )
    if options.need is not None and options.watch:
        from hostler.base.errors import InputError

        raise InputError(
            "--watch cannot be combined with --need",
            remedy="To wait for a yes: --need N --wait 30m",
        )
    if options.json:
        options.output = "json"
    if options.html is not None and (options.need is not None or options.output != "table"):
        from hostler.base.errors import InputError

        raise InputError(
            "--html cannot be combined with another format",
            remedy="Leave out --need, -o and --json",
        )


def look(options: Options) -> FleetView:
    """The fleet: from the daemon, else from the hosts. Raises NoDaemonError where a named daemon
    does not answer: asking around it could contradict what it does."""
    if not options.direct:
        found = find_socket(options.socket)
        try:
            fleet = _from_daemon(found, options)
        except NoDaemonError as error:
            if not found.personal:
                error.remedy += "; `hostler gpus --direct` asks the hosts themselves"
                raise
        else:
            return _with_named_hosts(options, fleet)
    return _with_named_hosts(options, _from_hosts(options))


def _with_named_hosts(options: Options, fleet: FleetView) -> FleetView:
    """The fleet. Raises NotFoundError for a --host that names none of its hosts."""
    names = [str(host["host"]) for host in fleet["hosts"]]
    for pattern in options.hosts or ():
        if not any(fleets.host_matches(name, [pattern]) for name in names):
            from hostler.base.errors import NotFoundError

            names = _all_names() if fleet.get("source") == "direct" else names
            remedy = f"Known hosts: {', '.join(names[:20])}"
            raise NotFoundError(f"there is no host {pattern!r}", remedy=remedy)
    return fleet


def _all_names() -> list[str]:
    """The names of all hosts: an answer holds only the hosts that match."""
    from hostler.cli.gpus_direct import quick_config

    return [host.name for host in quick_config().hosts]


def _say_what_is_missing(options: Options, fleet: FleetView) -> int:
    """Why the table is empty: a model that no GPU is, which is a no; on a terminal also that
    nothing is configured. The exit code."""
    missing = bool(options.models) and not _chosen_of_any_state(options, fleet)["hosts"]
    if missing and not options.quiet:
        sys.stderr.write(clean(_no_such_model(fleet)) + "\n")
    is_alone = [host["host"] for host in fleet["hosts"]] == ["local"]
    silent = options.quiet or options.output in ("json", "jsonl") or not is_terminal(sys.stderr)
    if is_alone and not silent and not is_configured():
        sys.stderr.write(NO_HOSTS + "\n")
    return _NO if missing else 0


def _no_such_model(fleet: FleetView) -> str:
    models = sorted(
        {
            short_model(gpu.get("model"), gpu.get("memory_total"))
            for host in fleet["hosts"]
            for gpu in host["gpus"]
        }
    )
    known = f"there are: {', '.join(models)}" if models else "there are no GPUs"
    return f"hostler: no GPU matches this model; {known}"


def _chosen_of_any_state(options: Options, fleet: FleetView) -> FleetView:
    return fleets.select(fleet, hosts=options.hosts or (), models=options.models or ())


def _from_daemon(found: Found, options: Options) -> FleetView:
    """The daemon's answer; from one that has just started, once every host has answered or failed,
    since "connecting" answers nothing. A silent host is waited for as long as without a daemon."""

    def asked() -> FleetView:
        return _checked(ask(found, "GET", "/v1/gpus", timeout=options.read_timeout))

    fleet = asked() if options.watch else heard(asked, fleets.is_new, DIRECT_DEADLINE)
    return fleets.age_out(fleet, options.max_age)


def _checked(answer: object) -> FleetView:
    try:
        return fleets.checked(answer)
    except ValueError as error:
        raise unreadable(str(error)) from error


def _from_hosts(options: Options) -> FleetView:
    from hostler.cli.gpus_direct import look_direct

    def say(text: str) -> None:
        _note(options, text if options.direct else f"no daemon runs: {text}")

    return look_direct(options.hosts or (), deadline=DIRECT_DEADLINE, say=say)


def _note(options: Options, text: str) -> None:
    """A note to a waiting user."""
    if not options.quiet and options.output not in ("json", "jsonl") and is_terminal(sys.stderr):
        sys.stderr.write(clean(text) + "\n")


def _chosen(options: Options, fleet: FleetView) -> FleetView:
    return fleets.select(
        fleet, hosts=options.hosts or (), models=options.models or (), free=options.free
    )


def _write_html(options: Options, name: str) -> int:
    from hostler.cli.gpus_page import keep_written, write_once

    def chosen() -> FleetView:
        return _chosen(options, look(options))

    if options.watch:
        keep_written(name, chosen, options.interval)
    write_once(name, chosen)
    return 0


def _rendered(options: Options, fleet: FleetView) -> str:
    chosen = _chosen(options, fleet)
    terminal = is_terminal()
    return render(
        chosen,
        options.output,
        terminal=terminal,
        width=terminal_width() if terminal else None,
        color=wants_color(options.color),
    )


def _answer_need(options: Options) -> int:
    need = Need(
        options.need or 1,
        memory=options.gpu_memory,
        models=options.models or (),
        hosts=options.hosts or (),
        spread=options.spread,
    )
    deadline, told = time.monotonic() + (options.wait or 0.0), False
    while True:
        fleet = look(options)
        found = answer(fleet, need)
        left = deadline - time.monotonic()
        if found.verdict == YES or found.hopeless or left <= 0:
            break
        if not told:
            _note(
                options, f"{found.sentence}; waiting, at most {format_duration(options.wait or 0)}"
            )
            told = True
        direct = fleet.get("source") != "daemon"
        time.sleep(min(left, _WAIT_EVERY_DIRECT if direct else _WAIT_EVERY))
    _show_answer(options, fleet, need, found)
    return found.exit_code


def _show_answer(options: Options, fleet: FleetView, need: Need, found: Answer) -> None:
    if options.output in ("json", "jsonl"):
        whole = {
            **fleets.select(fleet, hosts=options.hosts or (), models=options.models or ()),
            "need": found.to_json(need),
        }
        sys.stdout.write(json.dumps(whole, separators=(",", ":")) + "\n")
        return
    if options.output == "ids":
        for host, indices in found.picks:
            sys.stdout.write(f"{clean(host)} {','.join(map(str, indices))}\n")
    elif not options.quiet:
        sys.stdout.write(clean(found.sentence) + "\n")
    if options.quiet or not is_terminal(sys.stderr):
        return
    for hint in found.hints:
        sys.stderr.write(clean(hint) + "\n")
    if found.verdict == YES:
        of_one = "to take them" if len(found.picks) == 1 else "a run takes GPUs of one host"
        command = need.command(found.picks)
        sys.stderr.write(clean(f"now is not a reservation; {of_one}: {command}") + "\n")
    elif found.verdict == NO and options.wait is None and not found.hopeless:
        sys.stderr.write("to wait for it: --wait 30m\n")


def _watch(options: Options) -> int:
    """Show the table repeatedly: on a terminal in place, else one block after the other."""
    in_place = is_terminal() and options.output in ("table", "wide")
    while True:
        text = _rendered(options, look(options))
        if in_place:
            # Home, each line cleared to its end, then all below: no flicker as with a full clear.
            lines = "".join(f"{line}\x1b[K\n" for line in text.splitlines())
            text = f"\x1b[H{lines}\x1b[J"
        elif options.output in ("table", "wide", "tsv", "ids"):
            text += "\n"
        sys.stdout.write(text)
        sys.stdout.flush()
        time.sleep(options.interval)
