# Replicas: what `tunmesh init compose` writes, as its README says, by Compose 2, Compose 1 or
# podman-compose.
# shellcheck shell=bash
# shellcheck disable=SC2154  # the capitals are those of `run`

PROJECT=tunmesh-test-compose

# Nothing is changed in the files but the name of an image that would come from a registry; for podman
# also what docs/replicas.md says of its resolver.
compose() {
    local n
    find_compose || return 0
    holds "tunmesh init compose, from the image, writes a deployment" init compose --name "$PROJECT"
    sed -i "s|image: docker.io/.*|image: $APPLICATION|" "$scratch/compose/compose.yaml"
    [ "$ENGINE" = docker ] || for_podman
    holds "Compose starts it" by_compose up --build --detach
    for n in 1 2 3; do becomes "replica $n has an address" has_address "$(replica "$n")"; done
    becomes "the client's application, not tunmesh, reaches a replica by the service's name" reaches_any
    replicas_are_users
    scaling
    lives
    holds "Compose takes it all away" by_compose down --timeout 10
}

for_podman() {
    echo 'networks: {default: {ipam: {config: [{subnet: 203.0.113.0/24}]}}}' >> "$scratch/compose/compose.yaml"
    sed -i 's/127.0.0.11/203.0.113.1/' "$scratch/compose/config/config.yaml"
}

replicas_are_users() {
    local one
    one=$(replica 1)
    says "process 1 of a replica is two users" '^Uid:\s+10001\s+65532\s+65532\s+65532$' \
        "$ENGINE" exec "$one" cat /proc/1/status
    also "… with no capability" '^CapEff:\s+0{16}$'
    says "the application is another user" '^Uid:\s+10001\s+10001\s+10001\s+10001$' \
        application_status "$one"
    also "… without a capability" '^CapEff:\s+0{16}$'
    also "… and not in the group that may read the keys" '^Groups:\s*$'
}

# application_status CONTAINER
application_status() {
    "$ENGINE" exec "$1" sh -c 'for pid in $(cat /proc/1/task/1/children); do
        ! grep --quiet hello "/proc/$pid/cmdline" || cat "/proc/$pid/status"
    done'
}

# Five replicas, fewer, and five again: each has the address that it had.
scaling() {
    local n before=()
    holds "Compose scales it to five" scale 5
    for n in 1 2 3 4 5; do
        becomes "replica $n has an address" has_address "$(replica "$n")"
        before[n]=$(address_of "$(replica "$n")")
    done
    holds "five replicas, five addresses" [ "$(printf '%s\n' "${before[@]}" | sort --unique | wc --lines)" = 5 ]
    for n in 1 2 3 4 5; do
        becomes "replica $n is linked to all others and the client" linked "$(replica "$n")" 5
        says "… and found by its own name" "^hello, this is ${before[n]}\$" \
            in_client curl --ipv4 --silent --max-time 5 "http://$PROJECT-web-$n.mesh:8080"
    done
    becomes "the service's name leads to all five" reaches_all 5
    says "a replica finds the others, too" '^hello, this is ' "$ENGINE" exec "$(replica 2)" python3 -c \
        'from urllib.request import urlopen; print(urlopen("http://web.mesh:8080").read().decode())'
    becomes "names of containers lead to them as before" in_client getent hosts client
    silently "$ENGINE" kill --signal KILL "$(replica 3)"
    becomes "of a replica that is killed nobody hears any more" reaches_all 4
    holds "Compose scales it down to two" scale_down 2 5
    becomes "… which the name leads to" reaches_all 2
    holds "Compose scales it up again" scale 5
    for n in 1 2 3 4 5; do
        becomes "replica $n has the address that it had" has_address "$(replica "$n")" "${before[n]}"
    done
    becomes "… and the name leads to all" reaches_all 5
}

# What happens to one of the two in a container, and to a sidecar.
lives() {
    local two before
    two=$(replica 2)
    before=$(address_of "$two")
    silently "$ENGINE" exec --user 10001:10001 "$two" sh -c 'kill -KILL $(cat /proc/1/task/1/children) || true'
    becomes "a replica whose application crashes is started again" restarted "$two"
    becomes "… and has its address again" has_address "$two" "$before"
    silently "$ENGINE" stop --time 10 "$two"
    says "docker stop ends application and node, and says how the application ended" '^143$' \
        "$ENGINE" inspect --format '{{.State.ExitCode}}' "$two"
    says "… having said goodbye" 'gone' "$ENGINE" logs --tail 1 "$two"
    becomes "… so that nobody looks for it" reaches_all 4
    holds "the client's node restarts" by_compose restart --timeout 10 client-node
    becomes "… and its application goes on" reaches_all 4
}

# init KIND OPTION…: into $scratch/KIND, by the image.
init() {
    "$ENGINE" run --rm --network none --no-healthcheck --volume "$scratch:/out" "$IMAGE" \
        tunmesh init "$1" --image "$IMAGE" "${@:2}" "/out/$1"
}

# has_address CONTAINER [ADDRESS]
has_address() {
    "$ENGINE" exec "$1" tunmesh wait --for address --timeout 1 &&
        [ "$(address_of "$1")" = "${2:-$(address_of "$1")}" ]
}

# Its IPv4 address in the mesh.
address_of() {
    "$ENGINE" exec "$1" tunmesh address -o json | "$PYTHON" -c '
import json, sys
addresses = json.load(sys.stdin)["addresses"]
print(next(each.partition("/")[0] for each in addresses if "." in each))'
}

in_client() { by_compose exec -T client-app "$@"; }
reaches_any() { in_client curl --silent --max-time 5 http://web.mesh:8080; }

# reaches_all COUNT: the service's name leads to so many replicas, each of them answers, and curl finds
# one. (Not to each in turn: the C library sorts addresses by how much they resemble its own.)
reaches_all() {
    reaches_any && in_client sh -c '
        addresses=$(getent ahostsv4 web.mesh | cut -d " " -f 1 | sort -u)
        for address in $addresses; do
            curl --silent --show-error --max-time 5 "http://$address:8080" | grep -x "hello, this is $address" || exit 1
        done
        [ "$(echo "$addresses" | wc -l)" = "$1" ]' sh "$1"
}

restarted() { [ "$("$ENGINE" inspect --format '{{.RestartCount}}' "$1")" -ge 1 ]; }

# find_compose: what this engine has, and how it names a container: project_service_1 or project-service-1.
find_compose() {
    between=_
    if [ "$ENGINE" = podman ]; then
        COMPOSE=("$scratch/venv/bin/podman-compose")
        { "$PYTHON" -m venv "$scratch/venv" &&
            "$scratch/venv/bin/pip" install "podman-compose==1.6.0"; } &> "$scratch/output" ||
            { skip "Compose: pip does not find podman-compose"; return 1; }
    elif docker compose version &> "$scratch/output"; then
        COMPOSE=(docker compose)
        between=-
    elif docker-compose version &> "$scratch/output"; then
        COMPOSE=(docker-compose)
    else
        skip "Compose: neither docker compose nor docker-compose is installed"
        return 1
    fi
    step "     $("${COMPOSE[@]}" version 2> /dev/null | head -1)"
}

by_compose() { (cd "$scratch/compose" && "${COMPOSE[@]}" "$@"); }
scale() { by_compose up --detach --scale "web=$1"; }

# scale_down TO FROM: podman-compose only adds.
scale_down() {
    local n
    [ "$ENGINE" = podman ] || { scale "$1"; return; }
    for ((n = $1 + 1; n <= $2; n++)); do podman rm --force --time 10 "$(replica "$n")"; done
}
replica() { echo "$PROJECT${between}web${between}$1"; }
