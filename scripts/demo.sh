#!/bin/sh
# Run the digits pipeline for real on this machine, with a state folder of its own, show what came of
# it, and let its model answer requests, through two releases and a rollback. Leaves no process behind, also on Ctrl-C. What a host keeps lies in
# /var/tmp/hostler-UID, as in real use; all else in .demo/. usage: demo.sh VENV
set -eu

case $1 in /*) venv=$1 ;; *) venv=$(pwd)/$1 ;; esac
shown=$1/bin/hostler
here=$(cd "$(dirname "$0")/.." && pwd)
hostler=$venv/bin/hostler
demo=$here/.demo
mkdir -p "$demo"
chmod 700 "$demo"

# A Unix socket's path may have 107 bytes; a deep checkout does not fit.
short_state() {
    name=hostler-demo-$(id -u)-$(printf '%s' "$here" | cksum | cut -d' ' -f1)
    for place in "${XDG_RUNTIME_DIR:-/nonexistent}" /tmp; do
        folder=$place/$name
        [ -d "$place" ] && [ -w "$place" ] || continue
        mkdir -m 700 "$folder" 2>/dev/null || true
        if [ -d "$folder" ] && [ ! -L "$folder" ] && [ -O "$folder" ]; then
            chmod 700 "$folder"
            echo "$folder"
            return
        fi
    done
    mktemp -d
}

HOSTLER_STATE=$demo/state
[ "$(printf '%s' "$HOSTLER_STATE/hostler.sock" | wc -c)" -le 100 ] || HOSTLER_STATE=$(short_state)
HOSTLER_CONFIG=$demo/config.toml
export HOSTLER_STATE HOSTLER_CONFIG
unset HOSTLER_SOCKET HOSTLER_DEBUG
write_config() {
    printf '# The demo: this machine, no SSH.\n[hosts.here]\ntransport = "local"\n%s\n' "$1" >"$HOSTLER_CONFIG"
}
gateway=$("$venv/bin/python" "$here/scripts/demo_serving.py" gateway)
port=$(printf '%s\n' "$gateway" | sed -n 's/^port = //p')
write_config "$gateway"
serving=$(mktemp -d)
served=

# Whatever happens: runs are cancelled, and the daemon is stopped.
clean_up() {
    trap '' INT TERM HUP PIPE
    trap - EXIT
    set +e # also where nobody reads what is said
    rm -rf "$serving"
    # One that was killed left its service and the gateway behind.
    [ -z "$served" ] || "$hostler" daemon start -q || true
    # A daemon that never came up has nothing to cancel and must not be started for it.
    if "$hostler" daemon status -q 2>/dev/null; then
        open=$("$hostler" runs --releases --state open -o ids 2>/dev/null || true)
        if [ -n "$open" ]; then
            echo "Stopping what still runs ..."
            # shellcheck disable=SC2086 (ids are words)
            "$hostler" cancel -q -y $open || true
            # shellcheck disable=SC2086
            "$hostler" wait -q --timeout 20s $open >/dev/null || true
        fi
        if [ -n "$port" ]; then
            write_config '' # without the section the daemon ends the gateway
            "$venv/bin/python" "$here/scripts/demo_serving.py" gone "$port" || true
        fi
        "$hostler" daemon stop -q || true
    fi
}
trap clean_up EXIT
trap 'clean_up; exit 130' INT
trap 'clean_up; exit 143' TERM HUP
trap 'clean_up; exit 141' PIPE

if [ -t 1 ]; then
    say() { printf '\n\033[1m$ hostler %s\033[0m\n' "$1"; }
else
    say() { printf '\n$ hostler %s\n' "$1"; }
fi

say gpus
"$hostler" gpus
cd "$here/examples/digits"
say 'run --wait pipeline.toml          # in examples/digits: 9 stages, a real classifier'
status=0
# Nothing on stdin: Ctrl-C ends the demo instead of asking whether the run should go on.
"$hostler" run --wait pipeline.toml </dev/null || status=$?
[ $status != 130 ] || exit 130
say 'logs last/validate'
"$hostler" logs last/validate || true
say 'runs --limit 5'
"$hostler" runs --limit 5
say 'show last'
"$hostler" show last
if [ $status = 0 ]; then
    cat <<END

Now its model answers requests. To look at it meanwhile, in another terminal (key 4 shows services):
  HOSTLER_STATE=$HOSTLER_STATE HOSTLER_CONFIG=$HOSTLER_CONFIG $venv/bin/hostler
END
    say 'get last/select best'
    served=1
    cp serve.py digits.py serve.toml "$serving"
    "$hostler" get last/select best -o "$serving"
    "$venv/bin/python" "$here/scripts/demo_serving.py" serve "$hostler" "$serving" \
        "$here/examples/digits/data/digits.csv.gz" </dev/null || status=$?
fi
cd "$here"
clean_up
cat <<END

That was a daemon, an agent, nine supervised processes, and a service with its gateway, all ended
again. Next:
  $shown init gpu1 gpu2      name your lab's machines (your SSH config is used)
  $shown doctor              see what each of them needs
  $shown gpus                which GPU is free?
  $shown run --gpus 1 -- python3 train.py
END
exit $status
