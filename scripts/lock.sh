#!/bin/sh
# Write requirements-dev.txt: every package of development, with versions and hashes, for every
# Python from 3.11. What is there already is kept where it still fits. usage: lock.sh [1: newest of all]
set -eu
cd "$(dirname "$0")/.."

command -v uv >/dev/null 2>&1 || {
    tools=$(mktemp -d)
    trap 'rm -rf "$tools"' EXIT
    . scripts/tool.sh
    tool_venv "$tools" uv
    PATH=$tools/bin:$PATH
}
[ -n "${1:-}" ] && newest=--upgrade || newest=
# shellcheck disable=SC2086 (an empty option is none)
uv pip compile -q $newest --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
    --output-file requirements-dev.txt --group pyproject.toml:dev pyproject.toml >/dev/null
