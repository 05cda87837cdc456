"""A real host that reaches no package index builds its environment from wheels of the daemon. Nor
has it a pip: Debian's python3-venv is not installed in the lab."""

from __future__ import annotations

import ensurepip
import shutil
import sysconfig
from pathlib import Path

import pytest

from tests.lab.lab import Lab
from tests.support.machines.desk import Desk, desk_folder
from tests.support.programs.package_index import index_of, make_wheel

pytestmark = pytest.mark.lab

PIPELINE = """
name = "with-packages"
[stages.train]
venv = "requirements.txt"
command = ["python", "-c", "import apple, pear; print(apple.VERSION, pear.VERSION)"]
resources = { host = "gpu2" }
"""


def _wheel_of_pip() -> Path:
    """The one that comes with Python; distributions keep it in a folder of their own."""
    folder = sysconfig.get_config_var("WHEEL_PKG_DIR")
    kept = Path(folder) if folder else Path(ensurepip.__file__).parent / "_bundled"
    (pip,) = kept.glob("pip-*.whl")
    return pip


def test_a_host_without_index_and_pip_gets_both(lab: Lab, tmp_path: Path) -> None:
    make_wheel(tmp_path / "index", "apple", "1.0", needs=["pear"])
    make_wheel(tmp_path / "index", "pear", "2.0")
    shutil.copy(_wheel_of_pip(), tmp_path / "index")
    with index_of(tmp_path / "index") as index, desk_folder() as folder:
        more = f'[packages]\nindex = "{index.address}"\nhosts = ["gpu2"]\n'
        desk = Desk.at_lab(lab, folder, more=more, hosts=("gpu2",))
        (desk.work / "requirements.txt").write_text("apple==1.0\n")
        run = desk.run(PIPELINE)
        assert run["outcome"] == "succeeded", run["stages"]
        assert desk.output(run["run_id"], "train").splitlines()[-1] == "1.0 2.0"
        desk.close()
