"""Explains why pip could not fetch wheels: recognises its messages, and names missing packages,
versions and platforms. Pure: pip's output and lists of files in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hostler.base.text import clean_line, first_of
from hostler.wheels.target import Target

_MISSING = re.compile(r"^ERROR: No matching distribution found for (?P<what>\S.*)$", re.MULTILINE)
_NOT_FOUND = re.compile(
    r"^ERROR: Could not find a version that satisfies the requirement (?P<what>\S.*?)"
    r"(?: \(from versions: .*\))?$",
    re.MULTILINE,
)
_NEEDED_BY = re.compile(r"\(from (?P<who>[^()]{1,200})\)")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_WANTED = re.compile(r"==\s*(?P<version>[A-Za-z0-9.!+_-]+)")
_CONFLICT = re.compile(r"^ERROR: Cannot install (?P<what>.+?) because these package versions",
                       re.MULTILINE)  # fmt: skip
_CONFLICT_LINE = re.compile(
    r"^ {4}(?P<line>\S.* depends on .*|The user requested .*)$", re.MULTILINE
)
_WRONG_HASH = re.compile(r"^ {4}(?P<what>\S+) from \S+", re.MULTILINE)
_PYTHON = re.compile(
    r"^ERROR: Package '(?P<name>[^']+)' requires a different Python: (?P<has>\S+) not in "
    r"'(?P<wants>[^']+)'",
    re.MULTILINE,
)
_ERROR = re.compile(r"^ERROR: (?P<line>.+)$", re.MULTILINE)
_WHEEL = re.compile(
    r"(?P<name>[^-]+)-(?P<version>[^-]+)(?:-\d[^-]*)?"
    r"-(?P<python>[^-]+)-(?P<abi>[^-]+)-(?P<platform>[^-]+)\.whl"
)
_SOURCE = (".tar.gz", ".zip", ".tar.bz2", ".tgz")
_NUMBER = re.compile(r"[0-9]{1,9}")
_MOST = 8
_RUNS = re.compile(r"[-_.]+")


@dataclass(frozen=True, slots=True)
class Missing:
    """A requirement for which pip found nothing."""

    name: str
    what: str
    """The requirement in pip's words: "numpy>=2"."""
    needed_by: str = ""


def normalized(name: str) -> str:
    """The name of a package in an index."""
    return _RUNS.sub("-", name).lower()


def missing_in(output: str) -> Missing | None:
    """The requirement for which pip found nothing; None if it failed for another reason."""
    found = _MISSING.search(output)
    if found is None:
        return None
    longer = _NOT_FOUND.search(output)
    what = (longer or found)["what"]
    by = _NEEDED_BY.search(what)
    plain = what.partition(" (from ")[0].strip()
    name = _NAME.match(plain)
    if name is None:
        return None
    who = "" if by is None or by["who"].startswith("-r ") else by["who"].partition("->")[0]
    return Missing(name[0], clean_line(plain, 200), clean_line(who, 100))


def not_there(missing: Missing, files: Sequence[str], source: str, target: Target) -> str:
    """Why nothing fits: the package, the version, or a wheel for this host does not exist."""
    needed = f", which {missing.needed_by} needs" if missing.needed_by else ""
    own = [file for file in files if _is_of(file, missing.name)]
    if not own:
        return f"{source} has no package {missing.name}{needed}"
    wanted = _WANTED.search(missing.what)
    version = None if wanted is None else wanted["version"]
    fitting = (
        own if version is None else [f for f in own if _plain(_version_of(f)) == _plain(version)]
    )
    if not fitting:
        return f"{source} has no {missing.what}{needed}; there is {_newest(own)}"
    wheels = [file for file in fitting if file.endswith(".whl")]
    if not wheels:
        return (
            f"{source} has {missing.what} only as source{needed}, which is not built here; only "
            f"wheels are installed"
        )
    there = _kinds(wheels, target)
    return f"{source} has no wheel of {missing.what}{needed} for {target}; there is {there}"


def trouble_here(output: str, source: str) -> tuple[str, str] | None:
    """What the daemon's machine lacks, and the remedy; None if pip failed for another reason."""
    if "No space left on device" in output:
        return "the disk of the daemon's machine is full", "free space there, then retry"
    if "MemoryError" in output:
        said = f"pip needs too much memory for what {source} sends"
        return said, "check `index` or `wheels` under [packages] in config.toml"
    return None


def other_failure(output: str) -> str | None:
    """Another error in the requirements; None if pip failed for another reason."""
    python = _PYTHON.search(output)
    if python is not None:
        name, has, wants = (clean_line(python[part], 100) for part in ("name", "has", "wants"))
        return f"{name} needs Python {wants}, and the host has {has}"
    conflict = _CONFLICT.search(output)
    if conflict is not None:
        lines = [clean_line(found["line"], 200) for found in _CONFLICT_LINE.finditer(output)]
        return f"these lines exclude each other: {first_of(lines, _MOST)}"
    if "DO NOT MATCH THE HASHES" in output:
        found = _WRONG_HASH.search(output)
        return f"the hash of {clean_line(found['what'], 100) if found else 'a package'} differs"
    if "--require-hashes mode" in output:
        return (
            "some packages have hashes and others do not: with hashes, each package needs one, and "
            "those that they need have to be listed as well"
        )
    if "Invalid requirement" in output or "Expected a marker" in output:
        return "the condition after ; of a line is invalid"
    return None


def last_errors(output: str) -> str:
    """Pip's own error, if no better reason is known."""
    lines = [clean_line(found["line"], 300) for found in _ERROR.finditer(output)]
    said = [line for line in lines if line != "Exception:"]  # its last line says which
    last = output.strip().rpartition("\n")[2]
    return "; ".join(said[-2:]) or clean_line(last, 300) or "it says nothing"


def _is_of(file: str, name: str) -> bool:
    wheel = _WHEEL.fullmatch(file)
    if wheel is not None:
        return normalized(wheel["name"]) == normalized(name)
    stem = _stem(file)
    return stem is not None and normalized(stem.rpartition("-")[0]) == normalized(name)


def _stem(file: str) -> str | None:
    return next((file.removesuffix(end) for end in _SOURCE if file.endswith(end)), None)


def _version_of(file: str) -> str:
    wheel = _WHEEL.fullmatch(file)
    return wheel["version"] if wheel else (_stem(file) or "").rpartition("-")[2]


def _plain(version: str) -> str:
    """A version without what makes no difference in most: 1.0 and 1.0.0 are the same."""
    text = version.lower().replace("_", "-").removeprefix("v")
    while text.endswith(".0"):
        text = text.removesuffix(".0")
    return text


def _newest(files: Iterable[str]) -> str:
    by_value = {_plain(version): version for version in map(_version_of, files)}
    versions = sorted(by_value.values(), key=_order, reverse=True)
    return first_of([clean_line(version, 40) for version in versions], _MOST)


def _order(version: str) -> list[tuple[int, str]]:
    parts = version.split(".")
    return [(int(part), "") if _NUMBER.fullmatch(part) else (-1, part) for part in parts]


def _kinds(wheels: Iterable[str], target: Target) -> str:
    """The Python versions of the wheels, by platform; if some are for this kind of machine, only
    these."""
    found: dict[str, dict[str, None]] = {}
    for file in wheels:
        wheel = _WHEEL.fullmatch(file)
        if wheel is not None:
            python = wheel["abi"] if wheel["abi"] not in ("none", "abi3") else wheel["python"]
            platform = wheel["platform"].split(".")[0]
            found.setdefault(clean_line(platform, 60), {})[clean_line(python, 20)] = None
    alike = [name for name in found if "linux" in name and name.endswith(target.machine)]
    said = [f"{name} for {first_of(sorted(found[name]), _MOST)}" for name in alike or found]
    return first_of(sorted(said), _MOST)
