#!/bin/sh
# Every check and every test that this machine can run. As root on Debian or Ubuntu, what the lab of
# several hosts needs is installed from apt first, after saying so; else the lab is left out, aloud.
# usage: test.sh VENV [pytest arguments]
set -eu

venv=$1
shift
here=$(cd "$(dirname "$0")/.." && pwd)
cd "$here"
bin=$here/$venv/bin

missing_packages() {
    for package in $(grep -v '^#' tests/lab/packages.txt); do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || echo "$package"
    done
}

prepare_lab() {
    if [ "$(uname -s)" != Linux ]; then
        echo "Left out: the tests on a real lab of several hosts (they need Linux)."
    elif [ "$(id -u)" != 0 ]; then
        echo "Left out: the tests on a real lab of several hosts (they need root)."
    elif ! command -v apt-get >/dev/null 2>&1; then
        echo "Left out: the tests on a real lab of several hosts (they need Debian or Ubuntu)."
    else
        missing=$(missing_packages)
        if [ -n "$missing" ]; then
            echo "Installing for the lab, from apt:" $missing
            apt-get update -qq
            DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq $missing >/dev/null
        fi
        export HOSTLER_LAB=require
    fi
}

prepare_lab
"$bin/ruff" format --check --quiet . || { echo "hostler: run make fmt" >&2; exit 1; }
"$bin/ruff" check --quiet .
"$bin/mypy" --no-error-summary
"$bin/lint-imports" >/dev/null || { "$bin/lint-imports"; exit 1; }
exec "$bin/python" -m pytest "$@"
