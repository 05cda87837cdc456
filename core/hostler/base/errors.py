"""Every error that Hostler raises on purpose, one class per reaction of the caller; the exit codes.

HostlerError                  exit 1   Hostler itself failed
├── InputError                exit 2   what was asked is wrong: carries every Problem
│   ├── ConfigError                      in config.toml
│   ├── PipelineError                    in pipeline.toml
│   ├── NotFoundError                    no such run, stage, host
│   ├── ConflictError                    cannot be done in this state (already finished, ...)
│   └── ForbiddenError                   not this user's to do
├── HostError(host)                      an event and a red host, never a crash
│   ├── Unreachable                      retried with back-off
│   │   └── Superseded                   a newer generation of this daemon works there
│   ├── Refused                          login or host key: never retried by itself
│   ├── AgentError                       bad Python, wrong protocol, bad output
│   │   └── AgentGone                      it ended before its work did
│   └── EngineError                      Docker said no: becomes the attempt's cause
│       ├── NoImage                      the image is not there and cannot be pulled
│       │   └── ImageAway                  it may be once another host answers
│       ├── HostFault                    nothing starts there: tried elsewhere, counts for nothing
│       └── Unkillable                   SIGKILL does not end it
├── StateError                exit 1   the state folder cannot be used
│   ├── DaemonBusy                       another daemon holds it
│   └── SchemaTooNew                     written by a newer Hostler; left untouched
└── NoDaemonError             exit 5   nothing answers on the socket

Anything else that escapes is a bug. Standard library only, and no `dataclasses`: this module is on
the quick path.
"""

from __future__ import annotations

from collections.abc import Sequence


class Problem:
    """One problem in a file: `path` is the key (`stages.train.gpus`), `line` counts from 1."""

    __slots__ = ("hint", "line", "message", "path")

    def __init__(self, path: str, message: str, *, line: int | None = None, hint: str = "") -> None:
        self.path = path
        self.message = message
        self.line = line
        self.hint = hint

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line is not None else ""
        path = f"{self.path}: " if self.path else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{where}{path}{self.message}{hint}"

    def __repr__(self) -> str:
        return f"Problem({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Problem) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash((self.path, self.message, self.line, self.hint))

    def to_json(self) -> dict[str, str | int | None]:
        """A JSON object that `from_json` reads back."""
        return {"path": self.path, "message": self.message, "line": self.line, "hint": self.hint}

    @classmethod
    def from_json(cls, data: dict[str, object]) -> Problem:
        """The problem that `to_json` wrote."""
        line = data.get("line")
        return cls(
            str(data.get("path", "")),
            str(data.get("message", "")),
            line=line if isinstance(line, int) else None,
            hint=str(data.get("hint", "")),
        )


class HostlerError(Exception):
    """The base. `message` says what happened, `remedy` what to do about it (may be empty)."""

    exit_code = 1

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    @property
    def told(self) -> str:
        """Message and remedy, without the prefix that a subclass adds."""
        return f"{self.message}. {self.remedy}" if self.remedy else self.message

    def __str__(self) -> str:
        return self.told

    def to_json(self) -> dict[str, object]:
        """A JSON object that `error_from_json` turns back into the same kind of error."""
        return {"kind": type(self).__name__, "message": self.message, "remedy": self.remedy}


class InputError(HostlerError):
    """Wrong usage or a wrong file; `problems` lists all problems, not only the first."""

    exit_code = 2

    def __init__(self, message: str, *, remedy: str = "", problems: Sequence[Problem] = ()) -> None:
        super().__init__(message, remedy=remedy)
        self.problems = tuple(problems)

    @property
    def untold(self) -> tuple[Problem, ...]:
        """The problems that the message itself does not name."""
        return tuple(p for p in self.problems if not self.message.endswith(p.message))

    def to_json(self) -> dict[str, object]:
        """As the base, with the problems."""
        return {**super().to_json(), "problems": [p.to_json() for p in self.problems]}


class ConfigError(InputError):
    """config.toml cannot be used."""


class PipelineError(InputError):
    """pipeline.toml cannot be used."""


class NotFoundError(InputError):
    """No such run, stage, host or file."""


class ConflictError(InputError):
    """The thing exists but cannot do this now (a finished run cannot be cancelled)."""


class ForbiddenError(InputError):
    """The caller may not do this."""


class HostError(HostlerError):
    """A problem of one host. It stops only the work on that host."""

    def __init__(self, host: str, message: str, *, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.host = host

    def __str__(self) -> str:
        return f"{self.host}: {super().__str__()}"

    def to_json(self) -> dict[str, object]:
        """As the base, with the host's name."""
        return {**super().to_json(), "host": self.host}


class Unreachable(HostError):
    """The host does not answer. The daemon retries with back-off and concludes nothing from the
    silence."""


class Refused(HostError):
    """The host or Hostler refused (login, host key). Never retried automatically."""


class Superseded(Unreachable):
    """The host knows a newer generation of this daemon, and refuses this one. `mark`: what that one
    signed its number with."""

    def __init__(
        self, host: str, message: str, *, remedy: str = "", number: int = 0, mark: str = ""
    ) -> None:
        super().__init__(host, message, remedy=remedy)
        self.number = number
        self.mark = mark


class AgentError(HostError):
    """The agent could not run or violated the protocol."""


class AgentGone(AgentError):
    """The agent ended before its work did: killed, often by a kernel that has no memory left."""


class EngineError(HostError):
    """Docker refused or failed. `status` is its HTTP status, 0 if there was none."""

    def __init__(self, host: str, message: str, *, remedy: str = "", status: int = 0) -> None:
        super().__init__(host, message, remedy=remedy)
        self.status = status


class HostFault(EngineError):
    """The host cannot start any workload; no part of this workload has run. `gpus_only`: workloads
    without GPUs may still start there."""

    def __init__(
        self, host: str, message: str, *, remedy: str = "", status: int = 0, gpus_only: bool = False
    ) -> None:
        super().__init__(host, message, remedy=remedy, status=status)
        self.gpus_only = gpus_only


class NoImage(EngineError):
    """The host does not have the image, and cannot pull it; another host may provide it."""


class ImageAway(NoImage):
    """The host that has the image does not answer: the stage waits for it, and no attempt is
    counted."""


class Unkillable(EngineError):
    """A workload does not end after SIGKILL: it hangs in the kernel."""

    def __init__(self, host: str, message: str) -> None:
        remedy = f"a GPU or disk of {host} hangs: restart {host}"
        super().__init__(host, message, remedy=remedy)


class StateError(HostlerError):
    """The state folder or its database cannot be used."""


class DaemonBusy(StateError):
    """Another daemon holds this state folder."""


class SchemaTooNew(StateError):
    """A newer Hostler wrote the database; this one changed nothing in it."""


class NoDaemonError(HostlerError):
    """No daemon answers."""

    exit_code = 5


_KINDS: dict[str, type[HostlerError]] = {
    cls.__name__: cls
    for cls in (
        HostlerError, InputError, ConfigError, PipelineError, NotFoundError, ConflictError,
        ForbiddenError, HostError, Unreachable, Refused, Superseded, AgentError, AgentGone,
        EngineError, NoImage,
        StateError, DaemonBusy, SchemaTooNew, NoDaemonError,
    )
}  # fmt: skip


def error_from_json(data: dict[str, object]) -> HostlerError:
    """The error that `to_json` wrote; an unknown kind becomes a plain `HostlerError`."""
    cls = _KINDS.get(str(data.get("kind", "")), HostlerError)
    message, remedy = str(data.get("message", "")), str(data.get("remedy", ""))
    if issubclass(cls, InputError):
        listed = data.get("problems")
        found = [p for p in listed if isinstance(p, dict)] if isinstance(listed, list) else []
        return cls(message, remedy=remedy, problems=[Problem.from_json(p) for p in found])
    if issubclass(cls, HostError):
        return cls(str(data.get("host", "?")), message, remedy=remedy)
    return cls(message, remedy=remedy)
