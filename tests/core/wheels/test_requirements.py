"""Requirements of which the daemon fetches the wheels: only plain lines, and nothing else."""

from __future__ import annotations

import pytest

from hostler.base.errors import InputError
from hostler.wheels.requirements import MAX_LINES, read_requirements

A, B = "a" * 64, "b" * 96


def test_plain_lines() -> None:
    text = (
        "\ufeff# by hand\r\n\r\nnumpy==2.1.3  # fast\r\n"
        "torch[opt, x-y] == 2.5.1+cu124 ; python_version >= \"3.9\" and sys_platform != 'win32'\n"
        f"zlib_ng==0.5 \\\n    --hash=sha256:{A} \\\n    --hash=sha384:{B}\n"
    )
    assert [str(each) for each in read_requirements(text, "r.txt")] == [
        "numpy==2.1.3",
        "torch[opt,x-y]==2.5.1+cu124 ; python_version >= \"3.9\" and sys_platform != 'win32'",
        f"zlib_ng==0.5 --hash=sha256:{A} --hash=sha384:{B}",
    ]
    assert read_requirements("", "r.txt") == ()


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("-r base.txt", "is an option"), ("--index-url https://x.org/", "is an option"),
        ("-e .", "is an option"), ("numpy==1 --global-option=x", "is not like name==version"),
        ("numpy==1 --hash=md5:00", "is not like name==version"),
        ("git+https://example.org/x.git", "is an address"), ("x @ file:///etc/x", "is an address"),
        ("./wheels/a.whl", "is a path"), ("../a", "is a path"), ("a-1-py3-none-any.whl", "is a"),
        ("a==${TOKEN}", "has a variable"), ("numpy", "names no version"),
        ("numpy[x]", "names no version"), ("numpy>=2", "allows several versions"),
        ("numpy==2.*", "allows several versions"), ("numpy~=2.0", "allows several versions"),
        ("numpy===2.0", "allows several versions"), ("numpy==2,<3", "allows several versions"),
        ("numpy==2 ; python_version < '3' $(x)", "is not like name[extra]==version"),
        ("numpy==2 ; os_name == 'x' --global-option=y", "is not like name[extra]==version"),
        ("numpy==2 ; -r x", "is not like"), ("numpy==2 ; 1 -i x", "is not like"),
        ("a==1 ; x == '\x1b[31m'", "is not like"), ("a[b/c]==1", "is not like"),
        ("a==1; x\x00", "is not like"), ("a==1 \\\n-r x", "is not like name==version"),
        ("a==1\r-e .", "is not like"), ("a==1\x0b--pre", "is not like"),
    ],
)  # fmt: skip
def test_anything_else_is_refused_by_its_line(line: str, why: str) -> None:
    with pytest.raises(InputError) as refused:
        read_requirements(f"six==1.16.0\n{line}\n", "r.txt")
    assert refused.value.message.startswith("r.txt: line 2: ")
    assert why in refused.value.message
    assert "name==" in refused.value.message or "numpy==2.1.3" in refused.value.remedy
    assert "\x1b" not in refused.value.message


def test_many_are_counted_and_a_huge_file_is_cut() -> None:
    with pytest.raises(InputError) as refused:
        read_requirements("numpy\n" * 50, "r.txt")
    assert refused.value.message.endswith("and 45 more")
    with pytest.raises(InputError, match=f"more than {MAX_LINES} lines"):
        read_requirements("six==1\n" * 9000, "r.txt")
    with pytest.raises(InputError, match="longer than"):
        read_requirements("six==" + "1" * 100_000, "r.txt")
