"""The keys of config.toml about packages ([packages]): where the daemon gets them for hosts that
reach no package index.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hostler.base.keys import toml_key
from hostler.base.units import GIB
from hostler.base.value_kinds import ABSOLUTE, HOST_NAMES, INDEX, SIZE


@dataclass(frozen=True, slots=True)
class PackagesConfig:
    """The daemon fetches the packages of `venv`, and sends them to the hosts."""

    index: str | None = field(
        default=None,
        metadata=toml_key(
            INDEX, "Package index from which the daemon fetches wheels, for `venv` on the hosts."
        ),
    )
    wheels: str | None = field(
        default=None,
        metadata=toml_key(
            ABSOLUTE, "Folder of wheels on the daemon's machine, with an index or without."
        ),
    )
    hosts: tuple[str, ...] = field(
        default=(),
        metadata=toml_key(HOST_NAMES, "Hosts that get their packages in this way. Default: all."),
    )
    size: int = field(
        default=10 * GIB, metadata=toml_key(SIZE, "Total of the wheels of one requirements file.")
    )
    cache: int = field(
        default=20 * GIB, metadata=toml_key(SIZE, "Total of wheels kept on the daemon's machine.")
    )

    @property
    def is_on(self) -> bool:
        """Whether packages are fetched for any host."""
        return self.index is not None or self.wheels is not None

    @property
    def source(self) -> str:
        """The source of the packages, for people."""
        return " and ".join(filter(None, (self.index, self.wheels)))

    def serves(self, host: str) -> bool:
        """Whether the daemon fetches packages for that host."""
        return self.is_on and (not self.hosts or host in self.hosts)
