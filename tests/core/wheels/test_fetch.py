"""Wheels fetched by the real pip, from an index and from a folder on this machine."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hostler.base.errors import InputError
from hostler.model.packages import PackagesConfig
from hostler.wheels import fetch as fetching
from hostler.wheels.fetch import Order, fetch_all
from hostler.wheels.requirements import read_requirements
from hostler.wheels.shelf import Shelf
from hostler.wheels.target import Target
from tests.support.programs.package_index import Index, index_of, make_wheel, sha256

pytestmark = pytest.mark.programs

OLD = Target(
    "3.8.10", "cp38", "x86_64", 31, markers={"python_version": "3.8", "sys_platform": "linux"}
)
"""Neither the Python nor the C library of this machine."""


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    """apple needs pear on old Pythons alone; cherry is for new ones, or only a source."""
    folder = tmp_path / "index"
    make_wheel(folder, "apple", "1.0", needs=["pear; python_version < '3.9'", "nut; extra == 'n'"])
    make_wheel(folder, "pear", "2.1", "cp38-cp38-manylinux_2_17_x86_64")
    make_wheel(folder, "pear", "2.2", "cp38-cp38-manylinux_2_99_x86_64")
    make_wheel(folder, "pear", "2.3", "cp312-cp312-manylinux_2_17_x86_64")
    make_wheel(folder, "nut", "5.0", python=">=3.9")
    make_wheel(folder, "cherry", "1.0", "cp312-cp312-manylinux_2_17_x86_64")
    make_wheel(folder, "clash", "1.0", needs=["apple==7"])
    (folder / "cherry-0.9.tar.gz").write_bytes(b"no archive")
    with index_of(folder) as found:
        yield found


def names(text: str, packages: PackagesConfig, state: Path, **changed: object) -> list[str]:
    """The names of the wheels that are fetched."""
    order = Order(read_requirements(text, "r.txt"), OLD, packages, 60.0)
    order = replace(order, **changed)  # type: ignore[arg-type]
    shelf = Shelf(state)
    return [each.name for each in asyncio.run(fetch_all(order, shelf, fetching._silent))]


def refusal(text: str, packages: PackagesConfig, state: Path, **changed: object) -> InputError:
    with pytest.raises(InputError) as refused:
        names(text, packages, state, **changed)
    assert refused.value.remedy or "pip did not fetch" in refused.value.message
    return refused.value


def test_for_the_python_and_platform_of_the_host(tmp_path: Path, index: Index) -> None:
    packages = PackagesConfig(index=index.address)
    wanted = ["apple-1.0-py3-none-any.whl", "pear-2.1-cp38-cp38-manylinux_2_17_x86_64.whl"]
    assert names("apple==1.0\n", packages, tmp_path / "s") == wanted
    asked = len(index.asked)
    assert names("apple == 1.0  # again\n", packages, tmp_path / "s") == wanted
    assert len(index.asked) == asked, "what was fetched is kept"
    assert not list((tmp_path / "s" / "wheels" / "work").iterdir())
    assert names("", replace(packages, cache=1), tmp_path / "s") == []
    assert not list((tmp_path / "s" / "wheels" / "files").iterdir()), "more than may be kept"


def test_a_folder_does_instead(tmp_path: Path, index: Index) -> None:
    packages = PackagesConfig(wheels=str(index.folder))
    hashed = f"apple==1.0 --hash={sha256(index.folder / 'apple-1.0-py3-none-any.whl')}\n"
    pear = sha256(index.folder / "pear-2.1-cp38-cp38-manylinux_2_17_x86_64.whl")
    found = names(f"{hashed}pear==2.1 --hash={pear}\n", packages, tmp_path / "s")
    assert len(found) == 2
    assert index.asked == []
    make_wheel(index.folder, "pear", "2.15", "cp38-cp38-manylinux1_x86_64")
    newer = "pear-2.15-cp38-cp38-manylinux1_x86_64.whl"
    assert newer in names("apple==1.0\n", packages, tmp_path / "s")
    index.folder.chmod(0o777)
    said = refusal("apple==1.0\n", packages, tmp_path / "s")
    assert "is writable for all" in said.message
    index.folder.chmod(0o755)
    said = refusal("apple==1.0\n", PackagesConfig(wheels="/no/such"), tmp_path / "s")
    assert said.message == "/no/such on the daemon's machine: No such file or directory"


def test_a_host_without_pip_gets_one(tmp_path: Path, index: Index) -> None:
    packages, bare = PackagesConfig(wheels=str(index.folder)), replace(OLD, has_pip=False)
    said = refusal("", packages, tmp_path / "s", target=bare)
    assert said.message == (
        f"the host has no pip for new environments, and {index.folder} has no package pip"
    )
    hashed = f"nut==4.0 --hash={sha256(make_wheel(index.folder, 'nut', '4.0'))}"
    make_wheel(index.folder, "pip", "24.0")
    make_wheel(index.folder, "pip", "99.0", python=">=3.10")
    wanted = ["nut-4.0-py3-none-any.whl", "pip-24.0-py3-none-any.whl"]
    assert names(hashed, packages, tmp_path / "s", target=bare) == wanted
    assert names(hashed, packages, tmp_path / "s") == wanted[:1]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("cherry==1.0", "{0} has no wheel of cherry==1.0 for Python 3.8 on x86_64 with glibc 2.31; "
         "there is manylinux_2_17_x86_64 for cp312"),
        ("nut==5.0", "nut needs Python >=3.9, and the host has 3.8.10"),
        ("clash==1.0", "{0} has no apple==7, which clash needs; there is 1.0"),
        (f"apple==1.0 --hash=sha256:{'0' * 64}", "the hash of apple==1.0 differs"),
        ("apple==1.0; python_version <", "the condition after ; of a line is invalid"),
    ],
)  # fmt: skip
def test_why_not_in_our_words(tmp_path: Path, index: Index, line: str, said: str) -> None:
    packages = PackagesConfig(index=index.address)
    assert said.format(index.address) in refusal(line, packages, tmp_path / "s").message


def test_an_index_that_does_not_answer(tmp_path: Path) -> None:
    said = refusal("a==1", PackagesConfig(index="http://127.0.0.1:9/simple"), tmp_path / "s")
    assert said.message == (
        "http://127.0.0.1:9/simple cannot be read from the daemon's machine: [Errno 111] "
        "Connection refused"
    )


def test_too_many_bytes_and_too_long(tmp_path: Path, index: Index) -> None:
    make_wheel(index.folder, "large", "1", filling=300_000)
    packages = PackagesConfig(index=index.address, size=200_000)
    said = refusal("large==1", packages, tmp_path / "s")
    assert said.message == "the packages are larger than 195 KiB together"
    held = threading.Event()

    def hold(path: str) -> None:
        held.wait(60)

    index.before = hold
    try:
        said = refusal("apple==1.0", packages, tmp_path / "s", seconds=0.5)
    finally:
        held.set()
    assert "were not fetched from http://127.0.0.1:" in said.message
    assert not list((tmp_path / "s" / "wheels" / "work").iterdir())


def test_no_variable_of_the_daemon_reaches_pip(
    tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = tmp_path / "pip.conf"
    conf.write_text("[global]\nindex-url = http://127.0.0.1:9/simple\n")
    for name, value in (
        ("PIP_CONFIG_FILE", str(conf)), ("PIP_INDEX_URL", "http://127.0.0.1:9/simple"),
        ("PIP_NO_BINARY", ":all:"), ("PYTHONPATH", str(tmp_path)), ("HOME", str(tmp_path)),
        ("PYTHONSTARTUP", str(conf)), ("PIP_REQUIREMENT", str(conf)),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    (tmp_path / "pip.py").write_text("raise SystemExit(3)\n")
    monkeypatch.chdir(tmp_path)
    assert len(names("apple==1.0\n", PackagesConfig(index=index.address), tmp_path / "s")) == 2
    assert os.environ["PIP_NO_BINARY"] == ":all:"
