#!/bin/sh
# Make a virtual environment with Hostler in it. usage: venv.sh FOLDER [dev]
# With "dev" the development tools come too. Uses uv where it is, else python3 -m venv.
set -eu

folder=$1
wanted=${2:-}
here=$(cd "$(dirname "$0")/.." && pwd)
unset PYTHONDONTWRITEBYTECODE  # without bytecode every start would be twice as slow

find_python() {
    for name in ${HOSTLER_PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
        if command -v "$name" >/dev/null 2>&1 \
            && "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    echo "hostler: no Python 3.11 or newer is on PATH." >&2
    echo "  Get one with: uv python install 3.12   or: conda create -n hostler python=3.12" >&2
    exit 1
}

make_venv() {
    python=$(find_python)
    if "$python" -c 'import ensurepip' 2>/dev/null; then
        "$python" -m venv "$folder"
        return
    fi
    version=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "Installing $version with apt, since this Python cannot make environments by itself ..."
        apt-get update -qq && apt-get install -y -qq "$version" >/dev/null
        "$python" -m venv "$folder"
    else
        echo "hostler: this Python cannot make virtual environments (no ensurepip)." >&2
        echo "  Ask an administrator for: apt install $version   or install uv: pip install uv" >&2
        exit 1
    fi
}

if command -v uv >/dev/null 2>&1; then
    [ -x "$folder/bin/python" ] || uv venv -q --python '>=3.11' "$folder"
    if [ "$wanted" = dev ]; then
        uv pip install -q --compile-bytecode --python "$folder/bin/python" -e "$here" --group "$here/pyproject.toml:dev"
    else
        uv pip install -q --compile-bytecode --python "$folder/bin/python" -e "$here"
    fi
else
    [ -x "$folder/bin/pip" ] || make_venv
    "$folder/bin/python" -m pip install -q --disable-pip-version-check -U 'pip>=25.1'
    cd "$here"
    if [ "$wanted" = dev ]; then
        "$folder/bin/python" -m pip install -q -e . --group dev
    else
        "$folder/bin/python" -m pip install -q -e .
    fi
fi
