#!/bin/sh
# Measure the house (tests/house). Which files a command crosses can be told from Python 3.12 on: where
# .venv has an older one, the newest of this machine gets an environment. usage: house.sh VENV [options]
set -eu

case $1 in /*) venv=$1 ;; *) venv=$(pwd)/$1 ;; esac
shift
cd "$(dirname "$0")/.."

is_new() { [ -n "$1" ] && "$1" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; }

# What reads the source only needs no second Python.
follows() {
    case " $* " in *" --no-walk "* | *" --lower "* | *" --python "*) return 1 ;; *" --list walk"*) return 0 ;; *" --list "*) return 1 ;; esac
}

python=$venv/bin/python
if follows "$@" && ! is_new "$python"; then
    newest=$("$python" scripts/pythons.py --newest)
    if is_new "$newest"; then
        folder=$venv-$("$newest" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        "$folder/bin/python" -c 'import asyncssh, fastapi, uvicorn, docker' 2>/dev/null || {
            echo "Setting up $folder ..." >&2
            HOSTLER_PYTHON=$newest sh scripts/venv.sh "$folder" >&2
        }
        set -- --python "$folder/bin/python" "$@"
    fi
fi
exec "$venv/bin/python" -m tests.house "$@"
