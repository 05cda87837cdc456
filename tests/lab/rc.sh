#!/bin/sh
# What a lab host does when it boots: pid 1 (boot.c) runs this once. The lab puts it, and everything
# else it reads here, into the host's own folder, seen in the host as /run/hostler-lab.
cd / || exit 1
# NAME GPUS DOCKER PYTHON NVML HOOK LIVE_RESTORE; the last ones are empty for "no".
. /run/hostler-lab/features

ip link set lo up
echo "$NAME" >/etc/hostname
cp /run/hostler-lab/hosts /etc/hosts
: >/etc/resolv.conf

library=/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1
hook=/usr/bin/nvidia-container-runtime-hook
rm -f "$library" "$hook"
if [ -n "$NVML" ]; then
    cp /run/hostler-lab/libnvidia-ml.so.1 "$library"
    ln -sfn /run/hostler-lab/gpus/nvml /etc/hostler-fake-nvml
    number=0
    while [ "$number" -lt "$GPUS" ]; do
        # Nodes of a driver that is not there: opening them fails, as it should.
        mknod -m 666 "/dev/nvidia$number" c 195 "$number"
        number=$((number + 1))
    done
    mknod -m 666 /dev/nvidiactl c 195 255
fi
[ -z "$HOOK" ] || cp /run/hostler-lab/hook "$hook"
[ -n "$PYTHON" ] || rm -f /usr/bin/python3*

mkdir -p /run/sshd
/usr/sbin/sshd -f /run/hostler-lab/sshd_config -E /var/log/sshd.log

if [ -n "$DOCKER" ]; then
    exec /bin/sh /run/hostler-lab/start-docker
else
    rm -f /usr/bin/docker /usr/sbin/dockerd
fi
