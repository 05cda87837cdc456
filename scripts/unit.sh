#!/bin/sh
# The unit tests, with coverage by room. They need no root, no network and no other program.
# HOSTLER_COVERAGE=on measures coverage on any Python, off on none. usage: unit.sh VENV [pytest arguments]
set -eu

case $1 in /*) bin=$1/bin ;; *) bin=$(pwd)/$1/bin ;; esac
shift
cd "$(dirname "$0")/.."

# From Python 3.12 on the interpreter itself reports lines (sys.monitoring), at a low price. Before,
# a trace function does, and the tests take twice as long.
if "$bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 12))'; then
    export COVERAGE_CORE=sysmon
elif [ -z "${HOSTLER_COVERAGE:-}" ]; then
    echo "Left out: coverage, which takes long on Python 3.11 (HOSTLER_COVERAGE=on measures it)."
    HOSTLER_COVERAGE=off
fi
report=$(mktemp -d)
trap 'rm -rf "$report"' EXIT
if [ "${HOSTLER_COVERAGE:-on}" = on ]; then
    export COVERAGE_FILE="$report/data"
    set -- --cov --cov-report "json:$report/coverage.json" "$@"
fi
# They compute more than they wait, and each worker imports everything: as many as cores, 4 at most.
HOSTLER_LAB=off "$bin/python" -m pytest -p tests.unit -q -rfE -n "${HOSTLER_TEST_WORKERS:-auto}" \
    --maxprocesses 4 --dist loadfile tests/core tests/tui tests/agents "$@" || failed=$?
[ ! -e "$report/coverage.json" ] || "$bin/python" scripts/coverage_rooms.py "$report/coverage.json"
exit "${failed:-0}"
