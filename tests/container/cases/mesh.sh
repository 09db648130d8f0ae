# Three pods on a network that leads nowhere else, and what their applications, which know nothing of
# tunmesh, see of each other.
# shellcheck shell=bash
# shellcheck disable=SC2154  # the capitals are those of `run`

# Each pod is a container that only holds a network namespace, one of the application, one of tunmesh.
pods() {
    local n
    silently "$ENGINE" network create --internal --subnet "$SUBNET" "$NETWORK"
    for n in 1 2 3; do silently start_pod "$n"; done
    denies "before the nodes run, app1 cannot ping node2" in_app 1 ping -c 1 -W 1 "$MESH.2"
    for n in 1 2 3; do silently start_node "$n" "${AS_ROOT[@]}"; done
    for n in 1 2 3; do becomes "node$n is linked to both others" linked "tunmesh-test-node$n" 2; done
}

# make_pod and in_pod are the engine's.
start_pod() {
    make_pod "$1" --network "$NETWORK" --ip "198.51.100.1$1" \
        --add-host pause1:198.51.100.11 --add-host pause2:198.51.100.12 --add-host pause3:198.51.100.13
    in_pod "$1"
    "$ENGINE" run --detach "${POD[@]}" --name "tunmesh-test-app$1" "$APPLICATION" sh -c "
        mkdir /www && echo hello from app$1 > /www/index.html
        head -c 16M /dev/urandom > /www/random
        exec httpd -f -p 8080 -h /www"
}

# start_node NUMBER OPTION…
start_node() {
    in_pod "$1"
    of_node "$1"
    "$ENGINE" run --detach "${POD[@]}" "${NODE[@]}" --name "tunmesh-test-node$1" \
        "${HEALTHCHECK[@]}" "${CONFINED[@]}" "${@:2}" "$IMAGE"
}

# linked CONTAINER COUNT
linked() {
    "$ENGINE" exec "$1" python -m tunmesh.healthcheck /readyz | grep --quiet "linked to $2 node"
}

in_app() { "$ENGINE" exec "tunmesh-test-app$1" "${@:2}"; }
in_node() { "$ENGINE" exec "tunmesh-test-node$1" "${@:2}"; }

traffic() {
    local from to
    for from in 1 2 3; do
        for to in 1 2 3; do
            [ "$from" = "$to" ] || reaches "$from" "$to"
        done
    done
    for from in 1 2 3; do becomes "packets of node$from go over UDP to both others" uses_udp "$from"; done
    denies "nobody answers for an address that no node has" in_app 1 ping -c 1 -W 1 "$MESH.9"
    holds "16 MB by HTTP arrive as they were sent" same_bytes 1 3
}

# In the column VIA of its status.
uses_udp() { [ "$(in_node "$1" tunmesh status | grep --count --extended-regexp '(in|out) +udp ')" = 2 ]; }

# reaches FROM TO
reaches() {
    holds "app$1 reaches app$2 in the mesh: ping over IPv4 and IPv6, a page over HTTP" talk "$@"
}

talk() {
    in_app "$1" ping -c 1 -W 2 "$MESH.$2" &&
        in_app "$1" ping -6 -c 1 -W 2 "fd77::$2" &&
        in_app "$1" timeout 5 wget -q -O - "http://$MESH.$2:8080/" | grep "^hello from app$2\$"
}

same_bytes() {
    local sent received
    sent=$(in_app "$2" sha256sum < /dev/null /www/random | cut -d ' ' -f 1)
    received=$(in_app "$1" timeout 10 sh -c "wget -q -O - http://$MESH.$2:8080/random | sha256sum")
    [ "$received" = "$sent  -" ]
}
