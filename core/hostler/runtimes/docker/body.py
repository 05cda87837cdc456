"""The JSON body of Docker's create call, as types; `options` sets the values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict


class Ulimit(TypedDict):
    """A limit of the kernel."""

    Name: str
    Soft: int
    Hard: int


class HealthCheck(TypedDict, total=False):
    """A command that Docker runs in the container at intervals; times in nanoseconds."""

    Test: list[str]
    Interval: int
    Timeout: int
    Retries: int


class LogConfig(TypedDict):
    """The destination of the output."""

    Type: str
    Config: dict[str, str]


class DeviceRequest(TypedDict, total=False):
    """Requested GPUs."""

    Driver: str
    DeviceIDs: list[str]
    Capabilities: list[list[str]]


class VolumeOptions(TypedDict, total=False):
    """Options of a mount that is a volume."""

    NoCopy: bool
    Labels: dict[str, str]


class MountEntry(TypedDict, total=False):
    """A mount in the container."""

    Type: str
    Source: str
    Target: str
    ReadOnly: bool
    BindOptions: dict[str, str]
    VolumeOptions: VolumeOptions


class PortBinding(TypedDict):
    """The host's address and port for a port of the container; if the port is empty, the engine
    chooses one."""

    HostIp: str
    HostPort: str


class HostConfig(TypedDict, total=False):
    """Resources and rights on the host."""

    CapDrop: list[str]
    SecurityOpt: list[str]
    GroupAdd: list[str]
    Init: bool
    PidsLimit: int
    Ulimits: Sequence[Ulimit]
    IpcMode: str
    RestartPolicy: dict[str, str]
    AutoRemove: bool
    LogConfig: LogConfig
    CpuShares: int
    Mounts: list[MountEntry]
    Memory: int
    MemorySwap: int
    ShmSize: int
    NetworkMode: str
    PortBindings: dict[str, list[PortBinding]]
    DeviceRequests: list[DeviceRequest]
    UsernsMode: str


class _Entry(TypedDict, total=False):
    """Fields that most containers do not use."""

    Entrypoint: list[str]
    """Replaces the image's entry point."""
    ExposedPorts: dict[str, dict[str, str]]


class ContainerBody(_Entry):
    """The whole body."""

    Image: str
    Cmd: list[str]
    Env: list[str]
    User: str
    WorkingDir: str
    Labels: dict[str, str]
    StopSignal: str
    StopTimeout: int
    Healthcheck: HealthCheck
    HostConfig: HostConfig
