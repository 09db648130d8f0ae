# Nodes that hang, are killed, restart and leave.
# shellcheck shell=bash
# shellcheck disable=SC2154  # the capitals are those of `run`

health() {
    says "tunmesh healthcheck says why it is well" '"reason": "the tun is open"' \
        in_node 1 tunmesh healthcheck
    says "… and why others can count on it" '"reason": "linked to 2 nodes"' \
        in_node 1 tunmesh healthcheck --ready
    becomes "HEALTHCHECK of the image says healthy" healthy tunmesh-test-node1
    silently "$ENGINE" kill --signal STOP tunmesh-test-node1
    becomes "… and unhealthy while the node hangs" unhealthy tunmesh-test-node1
    silently "$ENGINE" kill --signal CONT tunmesh-test-node1
    becomes "… and healthy afterwards" healthy tunmesh-test-node1
    for n in 1 2 3; do becomes "node$n is linked to both others" linked "tunmesh-test-node$n" 2; done
}

restarts() {
    silently "$ENGINE" kill --signal KILL tunmesh-test-node2
    becomes "after kill -9 of node2, node1 notices" linked tunmesh-test-node1 1
    denies "… and app1 cannot reach app2" in_app 1 timeout 1 wget -q -O - "http://$MESH.2:8080/"
    refused "app2 is told at once that there is no mesh" 2 1
    silently "$ENGINE" start tunmesh-test-node2
    becomes "node2 starts again in the same pod and is linked to both" linked tunmesh-test-node2 2
    reaches 1 2
    reaches 2 3
    silently "$ENGINE" restart --time 10 tunmesh-test-node2
    becomes "restarted by the engine, node2 says goodbye first" heard_goodbye 1 2
    becomes "… and is linked to both again" linked tunmesh-test-node2 2
    reaches 2 1
}

# refused TEXT FROM TO: by the guard of app FROM's pod.
refused() {
    ends "$1" 1 'No route to host' in_app "$2" timeout 1 wget -q -O - "http://$MESH.$3:8080/"
    ends "… over IPv6 too" 1 'No route to host' \
        in_app "$2" timeout 1 wget -q -O - "http://[fd77::$3]:8080/"
}

# unguarded FROM TO: packets go wherever the engine's network sends them, which is nowhere.
unguarded() {
    local said
    said=$(in_app "$1" timeout 1 wget -q -O - "http://$MESH.$2:8080/" 2>&1) && return 1
    [[ $said != *"No route to host"* ]]
}

leaving() {
    local began=$SECONDS
    silently "$ENGINE" stop --time 10 tunmesh-test-node3
    says "after TERM node3 ends with code 0" '^0$' \
        "$ENGINE" inspect --format '{{.State.ExitCode}}' tunmesh-test-node3
    holds "… well within the grace period: after $((SECONDS - began)) s" test $((SECONDS - began)) -lt 5
    says "… having said goodbye" 'gone' "$ENGINE" logs --tail 1 tunmesh-test-node3
    becomes "… which node1 heard" linked tunmesh-test-node1 1
    silently "$ENGINE" rm tunmesh-test-node3
    refused "to app3, whose node is removed, the mesh is closed" 3 1
    says "after tunmesh drain --keep-guard node2 is gone, having said goodbye" 'gone' \
        drained tunmesh-test-node2 --keep-guard
    becomes "… which node1 heard" heard_goodbye 1 2 2
    refused "… and to app2 the mesh is closed" 2 1
    silently "$ENGINE" start tunmesh-test-node2
    becomes "… until it is started" linked tunmesh-test-node2 1
    reaches 2 1
    says "after tunmesh drain node2 is gone" 'gone' drained tunmesh-test-node2
    holds "… and its guard with it" unguarded 2 1
    silently "$ENGINE" start tunmesh-test-node2
    becomes "… and it comes back when it is started" linked tunmesh-test-node2 1
}

# heard_goodbye NUMBER FROM [TIMES]
heard_goodbye() {
    [ "$(in_node "$1" tunmesh events | grep --count "node$2 left the mesh")" -ge "${3:-1}" ]
}

# drained CONTAINER OPTION…: it ends, with code 0. The command may be cut off by the end of its container.
drained() {
    "$ENGINE" exec "$1" tunmesh drain "${@:2}" || true
    [ "$(timeout 10 "$ENGINE" wait "$1")" = 0 ] && "$ENGINE" logs --tail 1 "$1"
}
