# The Compose file: by podman-compose, Compose 2 or Compose 1.
# shellcheck shell=bash
# shellcheck disable=SC2154  # the capitals are those of `run`

PROJECT=tunmesh-test-compose

# Nothing is changed in the file but the names of the images; `name:` is unknown to Compose 1.
compose() {
    local n
    find_compose || return 0
    mkdir "$scratch/deploy"
    cp -r "$deploy/compose" "$scratch/deploy/"
    rm -rf "$scratch/deploy/compose/keys"
    "$deploy/make-keys" "$scratch/deploy/compose/keys" 65532
    sed -e "s|image: tunmesh\$|image: $IMAGE|" -e "s|image: docker.*busybox.*|image: $APPLICATION|" \
        -e "s|image: registry.*pause.*|image: $APPLICATION\n  command: [sleep, infinity]\n  init: true|" -e /^name:/d \
        "$deploy/compose.yaml" > "$scratch/deploy/compose.yaml"
    holds "Compose starts what the Compose file says" by_compose up --no-build --detach
    for n in 1 2 3; do
        becomes "its check finds node$n healthy" healthy "$(container "node$n")"
        becomes "node$n is linked to both others" linked "$(container "node$n")" 2
    done
    holds "app1 can ping node2" by_compose exec -T app1 ping -c 1 -W 2 "$MESH.2"
    holds "… over IPv6 too" by_compose exec -T app1 ping -6 -c 1 -W 2 fd77::2
    says "… and reads the page of app3" '^hello from app3$' \
        by_compose exec -T app1 wget -qO- "http://$MESH.3:8080"
    says "tunmesh status answers there" '^node1 .* ready, up' by_compose exec -T node1 tunmesh status
    says "tunmesh doctor finds nothing wrong there" '^  ok  node1 runs, linked with 2 nodes$' \
        by_compose exec -T node1 tunmesh doctor
    says "the port for Prometheus has metrics" '^tunmesh_build_info\{node_name="node2",' \
        by_compose exec -T app1 wget -qO- http://pause2:9464/metrics
    says "… and the mesh's has none" '^404 ' page "$(container node1)" https://pause2:4567/metrics
    says "packets to the mesh are guarded" "^$MESH.0/16 is guarded$" \
        by_compose exec -T node1 tunmesh guard --show
    holds "Compose restarts node3" by_compose restart --timeout 5 node3
    says "… which said goodbye" 'node3 left the mesh' by_compose exec -T node1 tunmesh events
    becomes "… and is linked again" linked "$(container node3)" 2
    holds "Compose takes it all away" by_compose down --timeout 5
}

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

by_compose() { "${COMPOSE[@]}" --project-name "$PROJECT" --file "$scratch/deploy/compose.yaml" "$@"; }
container() { echo "$PROJECT$between$1$between${2:-1}"; }
