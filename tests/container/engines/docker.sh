# A Docker engine of our own, started by hand: its roots and sockets are in directories of ours; its
# network (docker0, veths, rules, forwarding), its mounts and its processes are in namespaces of their
# own. The network of this machine, and the engine that it may have, see nothing of it.
#
# No way leads out of that network. So the images are built by the same engine in the machine's
# network, started without any network of its own, and then it is started again.
# shellcheck shell=bash
# shellcheck disable=SC2154  # the capitals are those of `run`

CGROUP=/tunmesh-test-docker
export DOCKER_HOST=unix://$scratch/docker.sock PATH=$PATH:/usr/sbin:/sbin
unset DOCKER_CONTEXT DOCKER_TLS_VERIFY
made=() # directories that had to be there

engine_lacks() {
    local tool
    for tool in docker dockerd containerd runc iptables ip unshare; do
        command -v "$tool" > /dev/null || {
            echo "$tool is not installed (on Debian: apt-get install docker.io iptables iproute2)"
            return
        }
    done
}

# The engine as it builds: in the machine's network, with no network and no rule of its own.
engine_builds() {
    start_daemons -- --bridge none --iptables=false --ip6tables=false --ip-forward=false
}

engine_start() {
    stop_daemons
    start_daemons --net -- --default-address-pool base=172.29.0.0/16,size=24
}

engine_stop() {
    [ -z "${daemons-}" ] || remove_all
    stop_daemons
    [ ${#made[@]} = 0 ] || rmdir "${made[@]}"
}

# The last that dockerd said before it ended.
engine_says() { grep --no-filename -E 'failed|rror' "$scratch/daemons.log" | tail -1; }
engine_has() { docker image inspect "$1" > /dev/null 2>&1; }

# The builder that is part of the engine; docker's own, buildx, is another program.
engine_build() {
    DOCKER_BUILDKIT=0 docker build --network host --tag "$1" "${@:2}"
}

# start_daemons OPTION… -- OPTION…: those of unshare, those of dockerd.
start_daemons() {
    local namespaces=() place
    while [ "$1" != -- ]; do namespaces+=("$1"); shift; done
    shift
    for place in /etc/docker /run/docker /run/containerd; do
        [ -d "$place" ] || { mkdir "$place"; made+=("$place"); }
    done
    mkdir --parents "$cache/docker" "$cache/containerd"
    # What a run that was killed has left would come up, in whatever network the engine is now.
    rm -rf "$cache"/docker/{containers,network,volumes}
    echo '{}' > "$scratch/dockerd.json"
    cat > "$scratch/containerd.toml" << EOF
version = 2
root = "$cache/containerd"
state = "$scratch/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
address = "$scratch/containerd.sock"
EOF
    [ -p "$scratch/alive" ] || mkfifo "$scratch/alive"
    unshare --mount --pid --fork --kill-child --mount-proc "${namespaces[@]}" \
        "$BASH" "$here/engines/docker_daemons.sh" "$scratch" --config-file "$scratch/dockerd.json" \
        --data-root "$cache/docker" --cgroup-parent "$CGROUP" "$@" > "$scratch/daemons.log" 2>&1 &
    daemons=$!
    exec {alive}> "$scratch/alive"
    until docker version > /dev/null 2>&1; do
        kill -0 "$daemons" 2> /dev/null || return 1
        sleep 0.2
    done
}

# All but the images: the engine is ours alone.
remove_all() {
    docker ps --all --quiet | xargs --no-run-if-empty docker rm --force --volumes
    docker network prune --force
    docker volume prune --force
    docker image prune --force # those that a build has replaced
} > "$scratch/removed" 2>&1

daemons_ended() { ! kill -0 "$daemons"; }

stop_daemons() {
    [ -n "${daemons-}" ] || return 0
    exec {alive}>&-
    within 20 daemons_ended || kill -KILL "$daemons"
    wait "$daemons" || true
    unset daemons
    find /sys/fs/cgroup -depth -type d -path "*$CGROUP*" -exec rmdir {} \; 2> /dev/null || true
}

# A container that only holds the network namespace, which the others join.
make_pod() {
    docker run --detach --name "tunmesh-test-$1" --init "${@:2}" --sysctl net.ipv6.conf.all.disable_ipv6=0 \
        --sysctl net.ipv6.conf.default.disable_ipv6=0 "$APPLICATION" sleep infinity
}
in_pod() { POD=(--network "container:tunmesh-test-$1"); }
LAN_OPTIONS=()
holder() { echo "tunmesh-test-$1"; }
remove_pod() { docker rm --force "tunmesh-test-node$1" "tunmesh-test-app$1" "tunmesh-test-$1"; }

# The engine looks by itself; the image's own intervals are in cases/daemon.sh.
HEALTHCHECK=(--health-interval 1s --health-timeout 2s --health-retries 1 --health-start-period 1s)
healthy() { [ "$(docker inspect --format '{{.State.Health.Status}}' "$1")" = healthy ]; }
unhealthy() { [ "$(docker inspect --format '{{.State.Health.Status}}' "$1")" = unhealthy ]; }
