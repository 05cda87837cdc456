"""The keys of config.toml about containers ([docker]): network, shared memory, builds, image
delivery.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hostler.base.keys import toml_key
from hostler.base.value_kinds import (
    SIZE,
    SOME,
    SWITCH,
    TARGET,
)


@dataclass(frozen=True, slots=True)
class DockerConfig:
    """Containers."""

    network: str | None = field(
        default=None,
        metadata=toml_key(
            TARGET,
            'Docker network of every container, like "host". Default: the engine\'s default.',
        ),
    )
    shm: int | None = field(
        default=None,
        metadata=toml_key(
            SIZE,
            "Shared memory (/dev/shm) of a container whose stage names none. Default: half its "
            "memory.",
        ),
    )
    builds: bool = field(
        default=False,
        metadata=toml_key(
            SWITCH,
            "On a shared daemon: its members may build images on the hosts. A personal one always "
            "may.",
        ),
    )
    deliver_from: tuple[str, ...] | None = field(
        default=None,
        metadata=toml_key(
            SOME,
            "Hosts (globs) from which images named without a digest are copied to others. "
            "Default: all for a personal daemon, none for a shared one.",
        ),
    )
