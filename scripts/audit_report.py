"""What pip-audit found, in words; status 1 for an advisory. usage: audit_report.py REPORT ERRORS"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def main(report: str, errors: str) -> int:
    """Tell it."""
    try:
        packages: list[dict[str, Any]] = json.loads(Path(report).read_text())["dependencies"]
    except (ValueError, KeyError):
        said = Path(errors).read_text().strip().splitlines() or ["pip-audit said nothing"]
        print(f"Left out: the audit of dependencies ({said[-1][:200]}).")
        return 0
    asked = [package for package in packages if "skip_reason" not in package]
    if not asked:
        print("Left out: the audit of dependencies (the package index here gives no advisories).")
        return 0
    found = [(package, each) for package in asked for each in package["vulns"]]
    for package, each in found:
        fixed = ", ".join(each["fix_versions"]) or "no version yet"
        print(f"{package['name']} {package['version']}: {each['id']}, fixed in {fixed}")
    unknown = len(packages) - len(asked)
    left = f" ({unknown} more are not on the index)" if unknown else ""
    print(f"{len(asked)} packages audited{left}: {len(found)} advisories.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
