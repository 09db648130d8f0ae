#!/usr/bin/env bash
# containerd and dockerd, from their start to their end, in the namespaces that `unshare` made:
# docker_daemons.sh DIRECTORY OPTION… of dockerd. They end when DIRECTORY/alive is closed, so also when the
# test is killed; then this script, process 1 here, takes every container and every mount along.
set -u
scratch=$1
exec 3< "$scratch/alive" < /dev/null

# What they write at fixed places is theirs alone.
mount --make-rprivate /
for place in /etc/docker /run/docker /run/containerd; do
    mount -t tmpfs tmpfs "$place"
done
ip link set lo up

containerd --config "$scratch/containerd.toml" &
containerd=$!
until [ -S "$scratch/containerd.sock" ]; do
    kill -0 "$containerd" 2> /dev/null || exit 1
    sleep 0.1
done
dockerd --containerd "$scratch/containerd.sock" --exec-root "$scratch/docker" \
    --pidfile "$scratch/docker.pid" --host "unix://$scratch/docker.sock" "${@:2}" &
dockerd=$!
cat <&3 > /dev/null &
wait -n # for the end of input or of a daemon
kill "$dockerd"
wait "$dockerd"
kill "$containerd"
wait "$containerd"
