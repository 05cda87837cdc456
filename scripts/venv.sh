#!/bin/sh
# Make a virtual environment with Hostler in it. usage: venv.sh FOLDER [dev]
# With "dev" the development tools come too. Uses uv where it is, else Python's venv and pip.
# HOSTLER_LOCKED=1 takes exactly the versions and hashes of requirements-dev.txt.
# HOSTLER_PYTHON names a Python; without it the first on PATH that is new enough is taken.
set -eu

folder=$1
wanted=${2:-}
here=$(cd "$(dirname "$0")/.." && pwd)
unset PYTHONDONTWRITEBYTECODE PYTHONHOME PYTHONPATH # without bytecode every start is twice as slow

# Every Python from 3.11 on PATH, as the interpreter behind the name (a name may be pyenv's shim).
pythons() {
    [ -z "${HOSTLER_PYTHON:-}" ] || interpreter "$HOSTLER_PYTHON" || true
    for name in python3 python3.14 python3.13 python3.12 python3.11; do
        old=$IFS
        IFS=:
        for place in $PATH; do
            IFS=$old
            [ -x "$place/$name" ] && interpreter "$place/$name" || true
        done
        IFS=$old
    done
}

interpreter() {
    "$1" -c 'import sys; sys.version_info >= (3, 11) and print(sys.executable)' 2>/dev/null
}

# The first of them that can make environments by itself, else the first at all.
find_python() {
    found=
    for candidate in $(pythons); do
        [ -n "$found" ] || found=$candidate
        if "$candidate" -c 'import venv; from ensurepip import version' 2>/dev/null; then
            found=$candidate
            break
        fi
    done
    echo "$found"
}

make_venv() {
    python=$(find_python)
    if [ -z "$python" ]; then
        echo "hostler: no Python 3.11 or newer is on PATH." >&2
        echo "  Get one: uv python install 3.12, or: conda create -n hostler python=3.12" >&2
        echo "  (HOSTLER_PYTHON=/path/to/python3.12 names one that is not on PATH)" >&2
        exit 1
    fi
    if "$python" -c 'import venv; from ensurepip import version' 2>/dev/null; then
        "$python" -m venv --clear "$folder"
    elif "$python" -m virtualenv --version >/dev/null 2>&1; then
        "$python" -m virtualenv -q --clear "$folder"
    elif "$python" -m pip --version >/dev/null 2>&1; then
        with_borrowed_virtualenv
    else
        with_distribution
    fi
}

# Debian's python3-pip may be there without python3-venv: virtualenv into a folder that goes again.
with_borrowed_virtualenv() {
    borrowed=$(mktemp -d)
    trap 'rm -rf "$borrowed"' EXIT
    "$python" -m pip install -q --disable-pip-version-check --target "$borrowed" virtualenv
    PYTHONPATH=$borrowed "$python" -m virtualenv -q --clear "$folder"
    rm -rf "$borrowed"
    trap - EXIT
}

with_distribution() {
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "Installing $package with apt, since this Python cannot make environments ..."
        # One broken source of many makes an update fail that fetched what is needed here.
        apt-get update -qq || echo "(apt-get update failed; going on with the package lists that are there)"
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$package" >/dev/null || {
            echo "hostler: apt could not install $package (its reason stands above)." >&2
            echo "  Mend that, or install uv, which needs no package: https://docs.astral.sh/uv/" >&2
            exit 1
        }
        "$python" -m venv --clear "$folder"
    else
        echo "hostler: $python cannot make virtual environments (no ensurepip)." >&2
        echo "  Ask an administrator for: apt install $package" >&2
        echo "  or install uv, which needs nobody: https://docs.astral.sh/uv/" >&2
        exit 1
    fi
}

if command -v uv >/dev/null 2>&1; then
    [ -x "$folder/bin/python" ] || uv venv -q --python '>=3.11' "$folder"
    install() { uv pip install -q --compile-bytecode --python "$folder/bin/python" "$@"; }
else
    "$folder/bin/python" -m pip --version >/dev/null 2>&1 || make_venv
    install() { "$folder/bin/python" -m pip install -q --disable-pip-version-check "$@"; }
    install 'pip>=25.1' # the first that knows --group
fi
if [ "$wanted" = dev ] && [ -n "${HOSTLER_LOCKED:-}" ]; then
    install --require-hashes -r "$here/requirements-dev.txt"
    install --no-deps -e "$here"
elif [ "$wanted" = dev ]; then
    install -e "$here" --group "$here/pyproject.toml:dev"
else
    install -e "$here"
fi
