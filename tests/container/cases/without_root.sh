# podman gives an ambient NET_ADMIN to a container that is started as another user.
# shellcheck shell=bash
# shellcheck disable=SC2154  # the capitals are those of `run`

# NET_ADMIN alone is enough for who is process/uid already: podman makes it an ambient capability.
# The device then has to be everybody's, as it is on most machines.
without_root() {
    mknod --mode 666 "$scratch/tun" c 10 200
    silently start_node 3 --user 65532:65532 --cap-add NET_ADMIN --device "$scratch/tun:/dev/net/tun"
    becomes "node3 starts as uid 65532 with NET_ADMIN alone, and is linked to both" \
        linked tunmesh-test-node3 2
    says "… with no capability left" '^CapEff:\s+0{16}$' status 3
    says "tunmesh status answers there" '^node3 .* ready, up' in_node 3 tunmesh status
    says "… at a socket that is for uid 65532 alone" '^600 65532$' \
        in_node 3 stat --format '%a %u' /run/tunmesh/control.sock
    ends "… and not for others" 1 'permission denied' \
        "$ENGINE" exec --user 2000 tunmesh-test-node3 tunmesh status
    reaches 3 1
    reaches 2 3
}
