# podman, with its own store of images.
# shellcheck shell=bash
# shellcheck disable=SC2154  # the capitals are those of `run`

engine_lacks() {
    if ! command -v podman > /dev/null; then
        echo "podman is not installed (on Debian: apt-get install podman runc netavark aardvark-dns catatonit)"
    elif ! names_resolve; then
        echo "podman's networks have no names without aardvark-dns or the dnsname plugin" \
            "(on Debian: apt-get install netavark aardvark-dns)"
    fi
}

# podman chooses for itself at its first use, and keeps to CNI where netavark came later.
has_netavark() { [ -x /usr/lib/podman/netavark ] || [ -x /usr/libexec/podman/netavark ]; }

# Whether containers on one network find each other by name, as those of the Compose file do.
names_resolve() {
    local place
    for place in /usr/{lib,libexec}/podman/aardvark-dns {/usr/lib,/usr/libexec,/opt}/cni/{,bin/}dnsname; do
        [ ! -x "$place" ] || return 0
    done
    return 1
}

# Limits that root of a container or of a small virtual machine may set, and no need of systemd.
configure() {
    cat > "$CONTAINERS_CONF" << EOF
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
$(! command -v runc > /dev/null || echo 'runtime = "runc"')
$(! has_netavark || printf '%s\n' '[network]' 'network_backend = "netavark"')
EOF
}
export CONTAINERS_CONF=$scratch/containers.conf

engine_builds() { configure; }
engine_start() { remove_all; } # what a run that was killed may have left
engine_stop() { remove_all; }
engine_says() { podman info 2>&1 | tail -1; }
engine_has() { podman image exists "$1"; }
# The format of docker's images has health checks, podman's own has none.
engine_build() {
    podman build --isolation chroot --format docker --tag "$1" "${@:2}"
}

# Whatever is on our network is ours.
remove_all() {
    podman pod ps --quiet --filter "network=$NETWORK" 2> /dev/null |
        xargs --no-run-if-empty podman pod rm --force --time 1 > /dev/null 2>&1 || true
    remove_containers "network=$NETWORK"
    remove_containers "network=$NETWORK-lan"
    remove_containers "label=io.podman.compose.project=$PROJECT"
    podman volume rm tunmesh > /dev/null 2>&1 || true # the ConfigMap of the Kubernetes example
    podman network rm "$NETWORK" "$NETWORK-lan" "${PROJECT}_default" > /dev/null 2>&1 || true
}

# remove_containers FILTER: by ones, since where systemd is not process 1 podman stops at the first
# that has a health check, which it has no timer of.
remove_containers() {
    local left tries
    for ((tries = 0; tries < 20; tries++)); do
        left=$(podman ps --all --quiet --filter "$1" 2> /dev/null)
        [ -n "$left" ] || return 0
        xargs podman rm --force --depend --volumes --time 1 <<< "$left" > /dev/null 2>&1 || true
    done
}

# The pods are podman's.
make_pod() { podman pod create --name "tunmesh-test-$1" "${@:2}"; }
in_pod() { POD=(--pod "tunmesh-test-$1"); }
LAN_OPTIONS=(--internal) # else podman's firewall translates what crosses its bridge
holder() { podman pod inspect --format '{{.InfraContainerID}}' "tunmesh-test-$1"; }
remove_pod() { podman pod rm --force --time 1 "tunmesh-test-$1"; }

# One look: without systemd podman has no timer that looks by itself.
HEALTHCHECK=()
healthy() { podman healthcheck run "$1"; }
unhealthy() { ! podman healthcheck run "$1"; }
