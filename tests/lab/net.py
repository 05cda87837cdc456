"""The lab's network: one bridge, one veth a host, and ways to cut it without a farewell packet."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from tests.lab.layout import LabError
from tests.lab.system import run

RANGE = IPv4Network("198.18.0.0/15")
"""Set aside for benchmarks of network devices (RFC 2544): hardly ever in use."""


@dataclass(frozen=True, slots=True)
class Net:
    """Names and addresses of one lab's network."""

    name: str
    number: int
    """Which /24 of RANGE."""

    @property
    def bridge(self) -> str:
        """The interface that all hosts hang on."""
        return f"{self.name}br"

    @property
    def gateway(self) -> IPv4Address:
        """This machine's address in the lab."""
        return RANGE.network_address + self.number * 256 + 1

    def veth(self, index: int) -> str:
        """This machine's end of a host's cable."""
        return f"{self.name}v{index}"

    def address(self, index: int) -> IPv4Address:
        """A host's address; hosts count from 1."""
        return self.gateway + 9 + index

    def mac(self, index: int) -> str:
        """A host's MAC address, the same after every boot."""
        return f"02:68:6c:{self.number >> 8:02x}:{self.number & 255:02x}:{index:02x}"


def batch(lines: list[str]) -> None:
    """Several `ip` commands by one process."""
    run(["ip", "-batch", "-"], text="\n".join(lines) + "\n")


def interfaces(name: str) -> list[str]:
    """This machine's interfaces that belong to a lab: its bridge and cables."""
    mine = re.compile(rf"{name}(br|v\d+)")
    listed = json.loads(run(["ip", "-json", "link", "show"]))
    return [item["ifname"] for item in listed if mine.fullmatch(item["ifname"])]


def free_number(taken: set[int]) -> int:
    """A /24 that no other lab has and in which this machine has no address."""
    listed = json.loads(run(["ip", "-json", "-4", "addr", "show"]))
    for item in listed:
        for address in item["addr_info"]:
            value = IPv4Address(address["local"])
            if value in RANGE:
                taken = taken | {(int(value) - int(RANGE.network_address)) // 256}
    for number in range(RANGE.num_addresses // 256):
        if number not in taken:
            return number
    raise LabError("no free /24 is left in 198.18.0.0/15: end some labs")


def make_bridge(net: Net) -> None:
    """The bridge, up, with this machine's address."""
    batch(
        [
            f"link add {net.bridge} type bridge",
            f"addr add {net.gateway}/24 dev {net.bridge}",
            f"link set {net.bridge} up",
        ]
    )


def plug_in(net: Net, index: int, pid: int) -> None:
    """Give the host whose init is `pid` its eth0."""
    veth, mac = net.veth(index), net.mac(index)
    batch(
        [
            f"link add {veth} type veth peer name eth0 address {mac} netns {pid}",
            f"link set {veth} master {net.bridge} up",
            # Known for good: a host that is gone is silent, and never "no route to host".
            f"neigh replace {net.address(index)} lladdr {mac} dev {net.bridge} nud permanent",
        ]
    )
    inside = f"addr add {net.address(index)}/24 dev eth0\nlink set eth0 up\n"
    run(["nsenter", f"--net=/proc/{pid}/ns/net", "ip", "-batch", "-"], text=inside)


def unplug(net: Net, index: int) -> None:
    """Remove a host's cable; none is no error."""
    with contextlib.suppress(LabError):
        run(["ip", "link", "del", net.veth(index)])


def link(net: Net, index: int, up: bool) -> None:
    """Pull a host's plug, or put it back. Nothing leaves, no FIN and no RST."""
    run(["ip", "link", "set", net.veth(index), "up" if up else "down"])


_CHAINS = {"in": ("PREROUTING", "-i"), "out": ("POSTROUTING", "-o")}


def drop_command(action: str, way: str) -> str:
    """The command, run inside a host, for the rule that loses what comes "in" or goes "out" by
    eth0; `action` is -I to insert it, or -D to delete one."""
    chain, flag = _CHAINS[way]
    return f"iptables -w -t mangle {action} {chain} {flag} eth0 -j DROP"


def undrop_script(*ways: str) -> str:
    """The shell script, run inside a host, that deletes all these rules."""
    one = "while {} 2>/dev/null; do :; done"
    return "; ".join(one.format(drop_command("-D", way)) for way in ways)


def remove(name: str) -> None:
    """Every interface of a lab, found by name."""
    for item in interfaces(name):
        with contextlib.suppress(LabError):  # went with its host's namespace
            run(["ip", "link", "del", item])
