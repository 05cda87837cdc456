"""An older version of Hostler beside this one, from the wheel that is kept here. No network."""

from __future__ import annotations

import sysconfig
import venv
import zipfile
from pathlib import Path

WHEEL = Path(__file__).with_name("hostler-0.1.0-fef9564.whl")


def install(folder: Path) -> Path:
    """A virtual environment with the old version; its Python.

    What Hostler needs comes from the environment of the tests, behind the old version. Files of
    that environment that add further places (`*.pth`) do not count there.
    """
    venv.create(folder, symlinks=True)
    place = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
    with zipfile.ZipFile(WHEEL) as wheel:
        wheel.extractall(place)
    (place / "needs.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "python"
