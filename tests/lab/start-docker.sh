#!/bin/sh
# Starts dockerd on a lab host, in the background; the lab waits until its socket answers.
. /run/hostler-lab/features
# The pid file outlives a SIGKILL, and pids are soon used again in so small a machine.
rm -f /run/docker.pid
# Set here, so that `-H` and friends need no configuration file that a test might want to write.
setsid /usr/sbin/dockerd \
    --host unix:///run/docker.sock --group docker --pidfile /run/docker.pid \
    --data-root /var/lib/docker --exec-root /run/docker --storage-driver overlay2 \
    --exec-opt native.cgroupdriver=cgroupfs --ip6tables=false --log-level warn \
    ${LIVE_RESTORE:+--live-restore} \
    </dev/null >>/var/log/dockerd.log 2>&1 &
