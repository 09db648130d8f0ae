# A network that only a gateway is in, and an application in a pod that reaches it through the mesh.
# shellcheck shell=bash
# shellcheck disable=SC2154  # the capitals are those of `run`

LAN=203.0.113 # RFC 5737: nobody's

# node5 is beside the application, node6 is the gateway. Both know node1. Routes and rules are made as
# docs/routes.md says, by a container beside the gateway's or the host's.
routes() {
    silently lan "${LAN_OPTIONS[@]}"
    denies "the application has no way to the host in the LAN" in_app 5 ping -c 1 -W 1 "$LAN.9"
    for n in 5 6; do silently start_node "$n" "${AS_ROOT[@]}"; done
    becomes "the node of the application is linked with the gateway, which leads there" in_node 5 \
        tunmesh wait --for peers=2 --for "$LAN.9" --timeout 1
    says "tunmesh routes names the gateway" "^$LAN.0/24 +node6 " in_node 5 tunmesh routes
    says "tunmesh doctor on the gateway finds that its kernel forwards" "forwards to $LAN.0/24" \
        in_node 6 tunmesh doctor
    says "tunmesh explain knows the way" "node6 leads there: it advertises $LAN.0/24" \
        in_node 5 tunmesh explain "$MESH.5" "$LAN.9"
    denies "without a way back nothing comes back" in_app 5 ping -c 1 -W 1 "$LAN.9"

    holds "with a route back, without translation" \
        with_net_admin host ip route add 10.77.0.0/16 via "$LAN.16"
    becomes "… by ping and HTTP" reaches_lan
    says "… and sees the application's node" "$MESH.5" "$ENGINE" logs tunmesh-test-host
    holds "… which it reaches itself" "$ENGINE" exec tunmesh-test-host ping -c 1 -W 2 "$MESH.5"
    holds "16 MB from the LAN arrive as they were sent" same_bytes_from_lan

    holds "without that route" with_net_admin host ip route del 10.77.0.0/16
    denies "… it is not reached" in_app 5 ping -c 1 -W 1 "$LAN.9"
    holds "with translation on the gateway" masquerade 6
    becomes "… it is reached" reaches_lan
    says "… and sees the gateway" "$LAN.16" "$ENGINE" logs tunmesh-test-host
    holds "16 MB arrive as they were sent" same_bytes_from_lan

    holds "the gateway ends" "$ENGINE" stop --time 10 tunmesh-test-node6
    ends "who connects to the LAN is told at once that nobody leads there" 7 'connect' \
        in_app 5 curl -sS --max-time 3 "http://$LAN.9:8080/"
    says "… and the log says so" '"event": "network_lost"' "$ENGINE" logs tunmesh-test-node5
    silently remove_lan 5 6
}

# The engine's own host is the gateway: to a network of containers, past the engine's firewall. Docker
# sets this policy where it turned on forwarding itself; here that was on.
host_routes() {
    routes_config 5 "accept_routes: [$LAN.0/24]"
    routes_config 6 "advertise: [$LAN.0/24]"
    silently "$ENGINE" network create --subnet "$LAN.0/24" "$NETWORK-lan"
    silently run_host --network "$NETWORK-lan" --ip "$LAN.9"
    silently make_pod 5 --network "$NETWORK" --ip 198.51.100.15 --add-host pause1:198.51.100.11
    in_pod 5
    silently "$ENGINE" run --detach "${POD[@]}" --name tunmesh-test-app5 "$APPLICATION" sleep infinity
    silently start_node 5 "${AS_ROOT[@]}"
    of_node 6
    silently "$ENGINE" run --detach --network host --add-host pause1:198.51.100.11 "${NODE[@]}" \
        --name tunmesh-test-node6 "${CONFINED[@]}" "${AS_ROOT[@]}" "$IMAGE"
    becomes "the node of the application is linked with the host, which leads there" in_node 5 \
        tunmesh wait --for peers=2 --for "$LAN.9" --timeout 1
    silently with_net_admin engine iptables -P FORWARD DROP
    denies "the engine's firewall lets nothing through" in_app 5 ping -c 1 -W 1 "$LAN.9"
    holds "… until its chain for users does" with_net_admin engine iptables -I DOCKER-USER -i tun1 -j ACCEPT
    holds "… in both directions" with_net_admin engine iptables -I DOCKER-USER -o tun1 -j ACCEPT
    becomes "then the application reaches a container on the host" reaches_lan
    says "… which sees the application's node" "$MESH.5" "$ENGINE" logs tunmesh-test-host
    holds "… and reaches it itself" "$ENGINE" exec tunmesh-test-host ping -c 1 -W 2 "$MESH.5"
    holds "16 MB from a container on the host arrive as they were sent" same_bytes_from_lan
    silently remove_lan 5
}

# lan OPTION…: a network with a host in it, an application in pod 5, and pod 6, which is in both networks.
lan() {
    local n
    routes_config 5 "accept_routes: [$LAN.0/24]"
    routes_config 6 "advertise: [$LAN.0/24]"
    "$ENGINE" network create --subnet "$LAN.0/24" "$@" "$NETWORK-lan"
    run_host --network "$NETWORK-lan" --ip "$LAN.9"
    make_pod 5 --network "$NETWORK" --ip 198.51.100.15 --add-host pause1:198.51.100.11
    make_pod 6 --network "$NETWORK" --ip 198.51.100.16 --add-host pause1:198.51.100.11 \
        --sysctl net.ipv4.ip_forward=1
    for n in 5 6; do
        in_pod "$n"
        "$ENGINE" run --detach "${POD[@]}" --name "tunmesh-test-app$n" "$APPLICATION" sleep infinity
    done
    "$ENGINE" network connect --ip "$LAN.16" "$NETWORK-lan" "$(holder 6)"
}

# run_host OPTION…: a host of the LAN, with a page and 16 MB.
run_host() {
    "$ENGINE" run --detach "$@" --name tunmesh-test-host "$APPLICATION" sh -c 'mkdir /www &&
        echo hello from the LAN > /www/index.html && head -c 16M /dev/urandom > /www/random &&
        exec busybox httpd -f -vv -p 8080 -h /www'
}

# remove_lan NUMBER…: the pods, their nodes and the LAN.
remove_lan() {
    local n
    "$ENGINE" rm --force tunmesh-test-node6 tunmesh-test-host
    for n in "$@"; do remove_pod "$n"; done
    "$ENGINE" network rm "$NETWORK-lan"
}

# routes_config NUMBER LINE: the config of node1, by now, with a line under networking.
routes_config() {
    mkdir --parents "$scratch/node$1/keys"
    sed -e "s|^  networking:|&\n    $2|" -e "s|https://pause\${NUMBER}:|https://198.51.100.1$1:|" \
        -e "/pause2/s/, [^]]*//" "$scratch/node1/config.yaml" > "$scratch/node$1/config.yaml"
}

# with_net_admin WHERE COMMAND…: in a container that may change the network of pod WHERE, of the host of
# the LAN, or of the engine.
with_net_admin() {
    case $1 in
        host) POD=(--network container:tunmesh-test-host) ;;
        engine) POD=(--network host) ;;
        *) in_pod "$1" ;;
    esac
    "$ENGINE" run --rm "${POD[@]}" --cap-add NET_ADMIN "$APPLICATION" "${@:2}"
}

# masquerade NUMBER
masquerade() {
    with_net_admin "$1" sh -c "nft add table ip tunmesh &&
        nft add chain ip tunmesh postrouting '{ type nat hook postrouting priority srcnat; }' &&
        nft add rule ip tunmesh postrouting iifname tun1 oifname eth1 masquerade"
}

reaches_lan() {
    in_app 5 ping -c 1 -W 2 "$LAN.9" &&
        in_app 5 timeout 5 curl -s "http://$LAN.9:8080/" | grep '^hello from the LAN$'
}

same_bytes_from_lan() {
    local sent
    sent=$("$ENGINE" exec tunmesh-test-host sha256sum < /dev/null /www/random | cut -d ' ' -f 1)
    [ "$(in_app 5 timeout 20 sh -c "curl -s http://$LAN.9:8080/random | sha256sum")" = "$sent  -" ]
}
