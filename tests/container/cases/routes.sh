# A network that only a gateway is in, and an application in a pod that reaches it through the mesh.
# podman only: its pods may be in two networks.
# shellcheck shell=bash
# shellcheck disable=SC2154  # the capitals are those of `run`

LAN=203.0.113 # RFC 5737: nobody's

# node5 is beside the application, node6 is the gateway. Both know node1.
routes() {
    if ! command -v nft > /dev/null; then
        skip "networks behind a gateway: nft is not installed (on Debian: nftables)"
        return
    fi
    routes_config 5 "accept_routes: [$LAN.0/24]"
    routes_config 6 "advertise: [$LAN.0/24]"
    silently podman network create --internal --subnet "$LAN.0/24" "$NETWORK-lan"
    silently podman run --detach --network "$NETWORK-lan" --ip "$LAN.9" --name tunmesh-test-host \
        "$APPLICATION" sh -c 'mkdir /www && echo hello from the LAN > /www/index.html &&
            head -c 16M /dev/urandom > /www/random && exec busybox httpd -f -vv -p 8080 -h /www'
    silently make_pod 5 --network "$NETWORK:ip=198.51.100.15" --add-host pause1:198.51.100.11
    silently make_pod 6 --network "$NETWORK:ip=198.51.100.16" --network "$NETWORK-lan:ip=$LAN.16" \
        --add-host pause1:198.51.100.11 --sysctl net.ipv4.ip_forward=1
    in_pod 5
    silently podman run --detach "${POD[@]}" --name tunmesh-test-app5 "$APPLICATION" sleep infinity
    denies "the application has no way to the host in the LAN" in_app 5 ping -c 1 -W 1 "$LAN.9"
    for n in 5 6; do silently start_node "$n" "${AS_ROOT[@]}"; done
    becomes "the node of the application is linked with all others" in_node 5 tunmesh wait \
        --for peers=4 --timeout 1
    says "tunmesh routes names the gateway" "^$LAN.0/24 +node6 " in_node 5 tunmesh routes
    says "tunmesh doctor on the gateway finds that its kernel forwards" "forwards to $LAN.0/24" \
        in_node 6 tunmesh doctor
    says "tunmesh explain knows the way" "node6 leads there: it advertises $LAN.0/24" \
        in_node 5 tunmesh explain "$MESH.5" "$LAN.9"
    denies "without a way back nothing comes back" in_app 5 ping -c 1 -W 1 "$LAN.9"

    holds "with a route back, without translation" \
        in_net tunmesh-test-host ip route add 10.77.0.0/16 via "$LAN.16"
    becomes "… by ping and HTTP" reaches_lan
    says "… and sees the application's node" "$MESH.5" podman logs tunmesh-test-host
    holds "… which it reaches itself" podman exec tunmesh-test-host ping -c 1 -W 2 "$MESH.5"
    holds "16 MB from the LAN arrive as they were sent" same_bytes_from_lan

    holds "without that route" in_net tunmesh-test-host ip route del 10.77.0.0/16
    denies "… it is not reached" in_app 5 ping -c 1 -W 1 "$LAN.9"
    printf '%s\n' 'table ip nat {' 'chain out {' 'type nat hook postrouting priority 100' \
        'iifname tun1 masquerade' '}' '}' > "$scratch/masquerade"
    holds "with translation on the gateway" in_net "$(infra 6)" nft -f "$scratch/masquerade"
    becomes "… it is reached" reaches_lan
    says "… and sees the gateway" "$LAN.16" podman logs tunmesh-test-host
    holds "16 MB arrive as they were sent" same_bytes_from_lan

    holds "the gateway ends" podman stop --time 10 tunmesh-test-node6
    ends "who connects to the LAN is told at once that nobody leads there" 7 'connect' \
        in_app 5 curl -sS --max-time 3 "http://$LAN.9:8080/"
    says "… and the log says so" '"event": "network_lost"' podman logs tunmesh-test-node5
    remove_containers "network=$NETWORK-lan"
    silently podman network rm "$NETWORK-lan"
}

# routes_config NUMBER LINE: the shared config with a line under networking.
routes_config() {
    mkdir --parents "$scratch/node$1/keys"
    sed -e "s|^  networking:|&\n    $2|" -e "s|https://pause\${NUMBER}:|https://198.51.100.1$1:|" \
        -e "/pause2/s/, [^]]*//" "$here/mesh.yaml" > "$scratch/node$1/config.yaml"
}

infra() { podman pod inspect --format '{{.InfraContainerID}}' "tunmesh-test-$1"; }

# in_net CONTAINER COMMAND…: a command of this machine in its network.
in_net() {
    nsenter --net="/proc/$(podman inspect --format '{{.State.Pid}}' "$1")/ns/net" "${@:2}"
}

reaches_lan() {
    in_app 5 ping -c 1 -W 2 "$LAN.9" &&
        in_app 5 timeout 5 curl -s "http://$LAN.9:8080/" | grep '^hello from the LAN$'
}

same_bytes_from_lan() {
    local sent
    sent=$(podman exec tunmesh-test-host sha256sum < /dev/null /www/random | cut -d ' ' -f 1)
    [ "$(in_app 5 timeout 20 sh -c "curl -s http://$LAN.9:8080/random | sha256sum")" = "$sent  -" ]
}
