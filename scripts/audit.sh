#!/bin/sh
# Known vulnerabilities of what requirements-dev.txt names, by the advisories of the package index.
# Where the index cannot be asked or gives none, one line says so; only an advisory is a failure.
set -eu
cd "$(dirname "$0")/.."

tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
. scripts/tool.sh
tool_venv "$tools/venv" pip-audit 2>"$tools/why" || {
    echo "Left out: the audit of dependencies (pip-audit cannot be installed: $(tail -n 1 "$tools/why"))."
    exit 0
}
# pip-audit ends with 1 for an advisory as for a lost connection: its report tells them apart.
"$tools/venv/bin/pip-audit" --requirement requirements-dev.txt --require-hashes --disable-pip \
    --vulnerability-service pypi --progress-spinner off --timeout 20 --format json \
    >"$tools/report" 2>"$tools/why" || true
"$tools/venv/bin/python" scripts/audit_report.py "$tools/report" "$tools/why"
