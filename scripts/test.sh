#!/bin/sh
# Every check and every test that this machine can run, but for those marked `long` or `chaos`; or
# those marked `long` alone, without the checks. As root on Debian or Ubuntu, what the tests with
# real sshd, dockerd and a lab of several hosts need is installed from apt first, after saying so.
# Whatever is left out is said in one line. usage: test.sh VENV daily|long [pytest arguments]
set -eu

case $1 in /*) bin=$1/bin ;; *) bin=$(pwd)/$1/bin ;; esac
which=$2
shift 2
cd "$(dirname "$0")/.."

missing_packages() {
    for package in $(grep -v '^#' tests/lab/packages.txt); do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || echo "$package"
    done
}

install_packages() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 || return 0
    missing=$(missing_packages | tr '\n' ' ')
    [ -n "$missing" ] || return 0
    echo "Installing for the tests, from apt: $missing"
    # One broken source of many makes an update fail that fetched what is needed here.
    apt-get update -qq || echo "(apt-get update failed; going on with the package lists that are there)"
    # RUNLEVEL=1: no service is started by being installed.
    # shellcheck disable=SC2086 (package names are words)
    DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 RUNLEVEL=1 \
        apt-get install -y -qq --no-install-recommends $missing >/dev/null || {
        echo "hostler: apt could not install these (its reason stands above)." >&2
        echo "  Mend that, or leave out what needs them: HOSTLER_LAB=off make test" >&2
        exit 1
    }
}

# The lab's base is made before pytest starts: it can take longer than one test may.
prepare_lab() {
    [ "${HOSTLER_LAB:-}" != off ] || { echo "Left out: the lab of several hosts (HOSTLER_LAB=off)."; return; }
    why=$("$bin/python" -c 'from tests.lab.preflight import problem; print(problem() or "")')
    if [ -n "$why" ]; then
        echo "Left out: the lab of several hosts, and what else needs root ($why)."
        export HOSTLER_LAB=off
    else
        export HOSTLER_LAB=require
        ls /var/cache/hostler-lab/template-*.img >/dev/null 2>&1 \
            || echo "Making the base of the lab's hosts, once; this takes about a minute ..."
        "$bin/python" -m tests.lab prepare >/dev/null
    fi
}

# No part may rely on `set -e`, which does not count where a function's status is asked for.
check_code() {
    "$bin/ruff" format --check --quiet . || { echo "hostler: run make fmt" >&2; return 1; }
    # To write its cache costs mypy a quarter of its time, and a clean checkout is checked once.
    "$bin/ruff" check --quiet . && "$bin/mypy" --no-error-summary ${CI:+--cache-dir=/dev/null} || return 1
    "$bin/lint-imports" >/dev/null || { "$bin/lint-imports"; return 1; }
}

# Loads all test files once, on the other core while the types are checked: pytest stores each as it
# compiled it, and the workers take the list of tests (tests/listed.py), where each would load every file.
# What it finds wrong, the tests say.
list_tests() {
    HOSTLER_TEST_LIST=$work/tests "$bin/python" -m pytest -qq --collect-only -m "$marked" "$@" \
        >/dev/null 2>&1 || true
}

# A failed check ends the tests that have begun meanwhile.
check_beside_tests() {
    ! check_code || return 0
    touch "$work/failed"
    [ ! -e "$work/pid" ] || kill -INT "$(cat "$work/pid")" 2>/dev/null || true
    return 1
}

say_checks() {
    wait "$checks" || { cat "$work/report" >&2; exit 1; }
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
marked="not chaos and not long"
left_out="Left out: what takes minutes (make test-long runs it) or hours (make chaos)."
# Most tests wait for processes more than they compute: more workers than cores.
workers=7
if [ "$which" = long ]; then
    marked="long and not chaos"
    left_out="Left out: what takes hours (make chaos runs it)."
    workers=4 # each has a lab of its own, which takes seconds to boot
    # shellcheck disable=SC2046 (the paths of test files are words)
    set -- $(grep -rlF mark.long tests --include='test_*.py') "$@"
    checks=
elif [ "${HOSTLER_CHECKS:-}" = off ] && [ -z "${CI:-}" ]; then
    echo "Left out: format, lint, types and import rules (HOSTLER_CHECKS=off)."
    checks=
else
    # Types alone take half a minute the first time, on one core: beside all else.
    check_beside_tests >"$work/report" 2>&1 &
    checks=$!
fi
case "${HOSTLER_LAB:-}" in off) ;; *) install_packages ;; esac
prepare_lab
list_tests "$@"
[ ! -e "$work/failed" ] || say_checks
# A file stays on one worker.
# tests/scheduling.py says in which order they begin, and which workers take those with the lab.
# Where the lab is off, many are skipped for the one reason that was said above: their list is left out.
[ "$HOSTLER_LAB" = require ] && shown=-ra || shown=-rfE
echo "$left_out"
HOSTLER_TEST_LIST=$work/tests sh -c 'echo $$ >"$0" && exec "$@"' "$work/pid" \
    "$bin/python" -m pytest "$shown" -n "${HOSTLER_TEST_WORKERS:-$workers}" --dist loadfile \
    --no-loadscope-reorder -m "$marked" "$@" || failed=$?
rm "$work/pid"
[ -z "$checks" ] || say_checks
exit "${failed:-0}"
