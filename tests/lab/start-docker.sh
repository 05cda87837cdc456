#!/bin/sh
# Starts dockerd on a lab host, in the background; the lab waits until its socket answers.
. /run/hostler-lab/features
# The pid file outlives a SIGKILL, and pids are soon used again in so small a machine.
rm -f /run/docker.pid
socket=/run/docker.sock
before=
if [ -e /run/hostler-lab/dockerproxy ]; then  # tests/chaos: a recorder stands before dockerd
    socket=/run/docker-behind.sock
    before="/usr/bin/python3 -S /run/hostler-lab/dockerproxy
        /run/docker.sock $socket /run/hostler-referee/docker.jsonl $NAME"
fi
# Set here, so that `-H` and friends need no configuration file that a test might want to write.
# What Docker starts inherits the variables, as in tests/support/machines/dockerd.py: less to compute.
# shellcheck disable=SC2086 (words)
GOGC=off GOMEMLIMIT=256MiB GOMAXPROCS=1 setsid $before /usr/sbin/dockerd \
    --host unix://$socket --group docker --pidfile /run/docker.pid \
    --data-root /var/lib/docker --exec-root /run/docker --storage-driver "${STORAGE_DRIVER:-overlay2}" \
    --exec-opt native.cgroupdriver=cgroupfs --ip6tables=false --log-level warn \
    ${LIVE_RESTORE:+--live-restore} \
    </dev/null >>/var/log/dockerd.log 2>&1 &
