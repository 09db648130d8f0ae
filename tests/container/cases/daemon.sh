# What the engine does by itself, which podman leaves to systemd: health checks and restarts.
# shellcheck shell=bash
# shellcheck disable=SC2154  # the capitals are those of `run`

daemon() {
    mkdir --parents "$scratch/node4/keys"
    cp "$scratch/node1/config.yaml" "$scratch/node4/config.yaml"
    of_node 4
    silently "$ENGINE" run --detach --name tunmesh-test-node4 --hostname pause4 --restart unless-stopped \
        --network "$NETWORK" --ip 198.51.100.14 --sysctl net.ipv6.conf.all.disable_ipv6=0 \
        --add-host pause1:198.51.100.11 --add-host pause2:198.51.100.12 --add-host pause3:198.51.100.13 \
        "${NODE[@]}" "${CONFINED[@]}" "${AS_ROOT[@]}" "$IMAGE"
    becomes "by the image's own HEALTHCHECK, with its own intervals, the engine finds node4 healthy" \
        healthy tunmesh-test-node4
    becomes "… and it is linked to both others" linked tunmesh-test-node4 2
    says "… though nobody in its container may ever have more than NET_ADMIN, SETUID and SETGID" \
        '^CapBnd:\s+00000000000010c0$' in_node 4 cat /proc/self/status
    silently in_node 4 tunmesh drain || true # it may be cut off by the end of its container
    becomes "a node that ends is started again by its restart policy" restarted tunmesh-test-node4
    becomes "… and linked again" linked tunmesh-test-node4 2
    silently "$ENGINE" kill --signal TERM tunmesh-test-node4
    becomes "docker kill --signal TERM lets it say goodbye" heard_goodbye 1 4 2
    silently "$ENGINE" rm --force --volumes tunmesh-test-node4
}

