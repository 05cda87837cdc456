#!/bin/sh
# Run the digits pipeline for real on this machine, with a state folder of its own, and show what
# came of it. Leaves no process behind and touches nothing outside this folder but /var/tmp/hostler-UID.
set -eu

venv=$1
here=$(cd "$(dirname "$0")/.." && pwd)
demo=$here/.demo
hostler=$here/$venv/bin/hostler
mkdir -p "$demo"
chmod 700 "$demo"

# A Unix socket's path may have 107 bytes; a deep checkout would not fit.
export HOSTLER_STATE=$demo/state
export HOSTLER_CONFIG=$demo/config.toml
unset HOSTLER_SOCKET
[ -e "$HOSTLER_CONFIG" ] || printf '# The demo: this machine, no SSH.\n[hosts.here]\ntransport = "local"\n' >"$HOSTLER_CONFIG"

say() { printf '\n\033[1m%s\033[0m\n' "$1"; }
[ -t 1 ] || say() { printf '\n%s\n' "$1"; }

stop() { "$hostler" daemon stop --quiet || true; }
trap stop EXIT INT TERM

say "\$ hostler gpus"
"$hostler" gpus || true
say "\$ hostler run examples/digits/pipeline.toml"
cd "$here/examples/digits"
status=0
"$hostler" run pipeline.toml --attach || status=$?
say "\$ hostler runs"
"$hostler" runs --limit 5
say "\$ hostler show (the last run)"
"$hostler" show last
cat <<END

Next:
  $venv/bin/hostler init gpu1 gpu2      name your lab's machines (your SSH config is used)
  $venv/bin/hostler doctor              see what each of them needs
  $venv/bin/hostler gpus                which GPU is free?
  $venv/bin/hostler run --gpus 1 -- python train.py
END
exit $status
