# Sourced. tool_venv FOLDER PACKAGE...: a virtual environment with tools that Hostler itself is
# developed without.
tool_venv() {
    folder=$1
    shift
    if command -v uv >/dev/null 2>&1; then
        uv venv -q --clear --python '>=3.11' "$folder"
        uv pip install -q --python "$folder/bin/python" "$@"
        return
    fi
    python=.venv/bin/python
    [ -x "$python" ] || python=python3
    "$python" -m venv "$folder"
    "$folder/bin/python" -m pip install -q --disable-pip-version-check "$@"
}
