"""pip's failures in our words, from what pip 23 and 26 said."""

from __future__ import annotations

import pytest

from hostler.wheels.explain import (
    Missing,
    last_errors,
    missing_in,
    not_there,
    other_failure,
    trouble_here,
)
from hostler.wheels.target import Target, read_target
from hostler_agent.json_values import Json, Message

TARGET = Target("3.8.10", "cp38", "x86_64", 31)
FILES = [
    "numpy-1.24.4-cp38-cp38-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    "numpy-2.1.3-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    "numpy-2.1.3-cp311-cp311-macosx_14_0_arm64.whl",
    "numpy-2.1.3.tar.gz",
    "numpy-2.0.0.tar.gz",
    "numpy_extra-9.9-py3-none-any.whl",
]


def test_what_pip_found_nothing_for() -> None:
    said = (
        "Looking in indexes: https://user:pw@pypi.org/simple\n"
        "ERROR: Could not find a version that satisfies the requirement numpy==9 (from versions: "
        "1.0, 2.0)\nERROR: No matching distribution found for numpy==9\n"
    )
    assert missing_in(said) == Missing("numpy", "numpy==9")
    by = (
        "ERROR: Could not find a version that satisfies the requirement pear>=3 (from apple) (from "
        "versions: none)\nERROR: No matching distribution found for pear>=3\n"
    )
    assert missing_in(by) == Missing("pear", "pear>=3", "apple")
    assert missing_in("ERROR: something else") is None


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("numpy==9", "has no numpy==9; there is 2.1.3, 2.0.0, 1.24.4"),
        ("numpy==2.0", "has numpy==2.0 only as source, which is not built here"),
        ("numpy==2.1.3", "has no wheel of numpy==2.1.3 for Python 3.8 on x86_64 with glibc 2.31; "
         "there is manylinux_2_17_x86_64 for cp312"),
    ],
)  # fmt: skip
def test_what_there_is_instead(what: str, said: str) -> None:
    assert said in not_there(Missing("numpy", what), FILES, "https://pypi.org/simple", TARGET)


def test_versions_of_a_hostile_index() -> None:
    files = [f"numpy-{'9' * 5000}.1-py3-none-any.whl", "numpy-\xb2-py3-none-any.whl"]
    said = not_there(Missing("numpy", "numpy==1"), files, "https://x.org", TARGET)
    assert len(said) < 200


def test_no_such_package_and_who_needs_it() -> None:
    said = not_there(Missing("pear", "pear>=3", "apple"), FILES, "/srv/wheels", TARGET)
    assert said == "/srv/wheels has no package pear, which apple needs"


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("ERROR: Package 'nut' requires a different Python: 3.8.10 not in '>=3.9'",
         "nut needs Python >=3.9, and the host has 3.8.10"),
        ("ERROR: Cannot install a==1 and b==2 because these package versions have conflicting "
         "dependencies.\n\nThe conflict is caused by:\n    The user requested a==1\n    b 2 "
         "depends on a>=2\n", "exclude each other: The user requested a==1, b 2 depends on a>=2"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.\n    a==1 from "
         "https://x/a.whl:\n        Expected sha256 00\n", "the hash of a==1 differs"),
        ("ERROR: In --require-hashes mode, all requirements must", "some packages have hashes"),
    ],
)  # fmt: skip
def test_other_failures(output: str, said: str) -> None:
    assert said in (other_failure(output) or "")


def test_the_rest_is_what_pip_says() -> None:
    assert other_failure("ERROR: odd\n") is None
    assert last_errors("x\nERROR: odd\x1b[0m\nERROR: thing\n") == "odd␛[0m; thing"
    assert last_errors("") == "it says nothing"
    assert last_errors("ERROR: Exception:\nTraceback:\n  x\nOSError: odd\n") == "OSError: odd"


def test_trouble_of_the_daemons_machine() -> None:
    full = trouble_here("OSError: [Errno 28] No space left on device", "https://x.org")
    assert full == ("the disk of the daemon's machine is full", "free space there, then retry")
    memory = trouble_here("ERROR: Exception:\nMemoryError\n", "https://x.org")
    assert memory is not None
    assert memory[0] == "pip needs too much memory for what https://x.org sends"
    assert trouble_here("ERROR: odd", "https://x.org") is None


SAID: Message = {
    "implementation": "cpython", "python": "3.11.2", "machine": "x86_64", "glibc": "2.36",
    "soabi": "cpython-311-x86_64-linux-gnu.so", "pip": "23.2.1",
    "markers": {"python_version": "3.11", "platform_version": "#1", "os_name": 7, "other": "x"},
}  # fmt: skip


def test_the_python_of_a_host() -> None:
    target = read_target({**SAID})
    assert (target.version, target.abi, target.glibc) == ("3.11", "cp311", 36)
    assert target.platforms[0] == "manylinux_2_36_x86_64"
    assert target.platforms[-1] == "linux_x86_64"
    assert "manylinux2014_x86_64" in target.platforms
    assert target.markers == {"python_version": "3.11", "platform_version": "#1"}
    old = read_target({**SAID, "glibc": "2.31", "pip": "20.0.2"})
    assert old.platforms == (
        "manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64",
    )  # fmt: skip
    without = read_target({**SAID, "pip": ""})
    assert (old.has_pip, without.has_pip, without.platforms) == (True, False, target.platforms)
    musl = read_target({**SAID, "glibc": ""})
    assert musl.platforms == ("linux_x86_64",)
    assert read_target({**SAID, "markers": {"platform_version": "#2"}}).key != target.key
    newer: Json = {"python_version": "3.11", "platform_version": "#2"}
    assert read_target({**SAID, "markers": newer}).key == target.key, "a kernel decides nothing"
    threads = read_target({**SAID, "soabi": "cpython-313t-x86_64-linux-gnu.so"})
    assert threads.abi == "cp313t"


@pytest.mark.parametrize(
    "wrong",
    [
        {"implementation": "pypy"}, {"soabi": "so"}, {"python": "3.11"}, {"machine": "../x"},
        {"python": "3.11.2 --pre"}, {"machine": 7}, {"soabi": None},
    ],
)  # fmt: skip
def test_a_host_that_says_something_else_is_not_believed(wrong: dict[str, Json]) -> None:
    with pytest.raises(ValueError, match=r"its Python|does not say"):
        read_target({**SAID, **wrong})
