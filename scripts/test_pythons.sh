#!/bin/sh
# The tests, but for the lab's, on every other Python from 3.11 on that this machine has; `make test`
# ran on the one of .venv. Each gets an environment of its own. usage: test_pythons.sh VENV [pytest arguments]
set -eu

case $1 in /*) venv=$1 ;; *) venv=$(pwd)/$1 ;; esac
shift
cd "$(dirname "$0")/.."

minor() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])'; }

ours=$(minor "$venv/bin/python")
others=$("$venv/bin/python" scripts/pythons.py --but "$ours")
[ -n "$others" ] || echo "Left out: other Pythons than $ours; this machine has none from 3.11 on."
failed=
for python in $others; do
    version=$(minor "$python")
    folder=$venv-$version
    echo "Python $version ($python): every test but the lab's"
    [ -n "$("$folder/bin/python" -c 1 2>&1 && echo "$folder")" ] || rm -rf "$folder"
    HOSTLER_PYTHON=$python sh scripts/venv.sh "$folder" dev
    # The code was checked on the first; a fresh clone was tried there, on the newest Python.
    PATH=$folder/bin:$PATH HOSTLER_LAB=off "$folder/bin/python" -m pytest -rfE -q \
        -n "${HOSTLER_TEST_WORKERS:-4}" --dist loadfile --no-loadscope-reorder -m "not chaos" \
        --deselect tests/e2e/test_fresh_clone.py "$@" || failed="$failed $version"
done
[ -z "$failed" ] || { echo "hostler: tests failed on Python$failed" >&2; exit 1; }
