"""The lab by hand: `python -m tests.lab up 3`, `ssh gpu1 -- COMMAND`, `cut gpu2`, `down`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence

from tests.lab import build, clean, lab, preflight, referee, template
from tests.lab.gpus import parse_value
from tests.lab.host import Host
from tests.lab.lab import Lab
from tests.lab.layout import DEFAULT_NAME, FEATURES, LabError, LabPaths


def _up(args: argparse.Namespace) -> None:
    without: dict[str, list[str]] = {}
    for item in args.without:
        host, _, features = item.partition("=")
        without.setdefault(host, []).extend(features.split(","))
    start = time.monotonic()
    made = Lab.up(
        args.count,
        name=args.name,
        without=without,
        gpus=args.gpus,
        live_restore=args.live_restore,
    )
    print(f"{len(made.hosts)} hosts are up after {time.monotonic() - start:.1f} s")
    print(f"try: ssh -F {made.ssh_config} gpu1")


def _prepare(_: argparse.Namespace) -> None:
    if reason := preflight.problem():
        raise LabError(reason)
    print(template.complete(build.prepare()))


def _down(args: argparse.Namespace) -> None:
    clean.destroy(args.name)
    left = clean.leftovers(args.name)
    if left:
        raise LabError("left behind: " + "; ".join(left))
    print(f"lab {args.name} is gone")


def _status(args: argparse.Namespace) -> None:
    made = Lab.open(args.name)
    print(f"lab {made.name}, ssh_config {made.ssh_config}")
    for host in made.hosts:
        docker = "no docker" if not host.has("docker") else "docker up"
        if host.has("docker") and not host.docker_answers():
            docker = "docker down"
        alive = "up" if host.alive else "down"
        lacks = f"  without {', '.join(host.state.without)}" if host.state.without else ""
        print(f"{host.name}  {host.address}  {alive}  {docker}  boot {host.boot_id}{lacks}")


def _gpus(args: argparse.Namespace) -> None:
    panel = Lab.open(args.name).host(args.host).gpus
    if args.change and args.change[0] in ("load", "unload"):
        panel.load() if args.change[0] == "load" else panel.unload()
    elif args.change:
        index, *settings = args.change
        fields = dict(item.split("=", 1) for item in settings)
        if code := fields.pop("xid", None):
            panel.xid(int(index), int(code))
        panel.set(int(index), **{key: parse_value(key, value) for key, value in fields.items()})
    for number, gpu in enumerate(panel.all):
        trouble = f"  error {gpu.error}" if gpu.error is not None else ""
        processes = "".join(f"  pid {item}" for item in gpu.processes)
        print(
            f"{number}  {gpu.uuid}  {gpu.name}  {gpu.used}/{gpu.total} MiB  "
            f"{gpu.utilization} %{trouble}{processes}"
        )


def _foreign(args: argparse.Namespace) -> None:
    host = Lab.open(args.name).host(args.host)
    process = host.foreign(args.gpu, args.user, args.memory)
    print(f"pid {process.pid} of {args.user} holds GPU {args.gpu} of {host.name}")


def _ssh(args: argparse.Namespace) -> None:
    paths = LabPaths(args.name)
    words = ["ssh", "-F", str(paths.ssh_config), "-l", args.user, args.host]
    sys.stdout.flush()
    os.execvp("ssh", [*words, *(["--", *args.command] if args.command else [])])


def _exec(args: argparse.Namespace) -> int:
    command = args.command or ["bash", "-l"]
    return Lab.open(args.name).host(args.host).popen(command, user=args.user, stdin=None).wait()


def _referee(args: argparse.Namespace) -> int:
    grants = Lab.open(args.name).grants()
    for grant in grants:
        when = time.strftime("%H:%M:%S", time.localtime(grant.at))
        what = f"refused: {grant.refused}" if grant.refused else " ".join(grant.gpus)
        print(f"{when}  {grant.host}  {grant.container[:12]}  {grant.name}  {what}")
    overlaps = referee.overlaps(grants)
    for overlap in overlaps:
        print(
            f"OVERLAP on {overlap.host}: {overlap.gpu} went to {overlap.container[:12]} "
            f"while {overlap.holder[:12]} had it"
        )
    return 1 if overlaps else 0


def _names(args: argparse.Namespace) -> None:
    for name in lab.names():
        owner = lab.owner_of(name)
        print(f"{name}  process {owner}" if owner else name)


def _on_host(method: str, *options: str) -> object:
    """A command that calls one method of a host, or of all with `all`."""

    def command(args: argparse.Namespace) -> None:
        made = Lab.open(args.name)
        hosts: list[Host] = made.hosts if args.host == "all" else [made.host(args.host)]
        for host in hosts:
            getattr(host, method)(*(getattr(args, option) for option in options))

    return command


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    parser.add_argument("--name", default=DEFAULT_NAME, help="which lab (hlab...)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, action: object, text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.set_defaults(action=action)
        return made

    up = add("up", _up, "boot hosts gpu1 ... gpuN; a lab of this name that is up goes first")
    up.add_argument("count", type=int, nargs="?", default=3)
    up.add_argument("--gpus", type=int, default=4, help="in each host")
    up.add_argument(
        "--without",
        action="append",
        default=[],
        metavar="HOST=FEATURE,...",
        help=f"features: {', '.join(FEATURES)}",
    )
    up.add_argument("--live-restore", action="append", default=[], metavar="HOST")
    add("prepare", _prepare, "make what all labs share, about a minute; `up` does it too")
    add("down", _down, "end the lab and leave nothing behind")
    add("status", _status, "its hosts")
    add("list", _names, "all labs on this machine")
    add("referee", _referee, "grants of GPUs so far; exit 1 if any overlapped")

    cut = add("cut", _on_host("cut", "way"), "silence a host's network")
    cut.add_argument("host")
    cut.add_argument("way", nargs="?", default="both", choices=["both", "in", "out"])
    for name, text in {
        "heal": "undo cut",
        "reboot": "cut the power, boot from the same disk",
        "kill-docker": "SIGKILL dockerd",
        "start-docker": "start dockerd again",
        "freeze": "stop all its processes where they stand",
        "thaw": "undo freeze",
        "fill-disk": "leave no byte free",
        "unfill-disk": "undo fill-disk",
        "revoke-gpus": "take from its containers the right to open their GPUs",
        "reset": "undo all of this, remove containers",
    }.items():
        add(name, _on_host(name.replace("-", "_")), text).add_argument("host", help='or "all"')

    gpus = add("gpus", _gpus, "show a host's GPUs, or change one: gpus gpu1 0 used=4096 error=lost")
    gpus.add_argument("host")
    gpus.add_argument("change", nargs="*", metavar="INDEX KEY=VALUE ... | load | unload")
    foreign = add("foreign", _foreign, "start somebody's own process on a GPU")
    foreign.add_argument("host")
    foreign.add_argument("gpu", type=int)
    foreign.add_argument("--user", default="cleo")
    foreign.add_argument("--memory", type=int, default=4096, help="MiB")
    ssh = add("ssh", _ssh, "log in, or run a command, by OpenSSH")
    run = add("exec", _exec, "run a command inside, past the network")
    for made, user in ((ssh, "ana"), (run, "root")):
        made.add_argument("--user", default=user)
        made.add_argument("host")
        made.usage = f"%(prog)s [--user USER] HOST [-- COMMAND ...] (as {user})"
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    cut = words.index("--") if "--" in words else len(words)
    args = _parser().parse_args(words[:cut])
    args.command = words[cut + 1 :]
    try:
        return args.action(args) or 0
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
