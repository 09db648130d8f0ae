# `tunmesh init kubernetes`, as podman understands it; kubernetes.py says what that leaves out.
# shellcheck shell=bash
# shellcheck disable=SC2154  # the capitals are those of `run`

kubernetes() {
    local from to before other
    holds "tunmesh init kubernetes writes a deployment" init kubernetes
    "$PYTHON" "$here/cases/kubernetes.py" "$scratch/kubernetes" \
        198.51.100.21,198.51.100.22,198.51.100.23 \
        "tunmesh=$IMAGE" "application=$APPLICATION" > "$scratch/pods.yaml"
    holds "podman kube play takes its StatefulSet" \
        podman kube play --network "$NETWORK" --ip 198.51.100.21 --ip 198.51.100.22 \
        --ip 198.51.100.23 "$scratch/pods.yaml"
    for from in 0 1 2; do
        becomes "the startup probe of db-$from passes" podman exec "db-$from-tunmesh" \
            tunmesh wait --for address --timeout 1
        becomes "db-$from is linked to both others" linked "db-$from-tunmesh" 2
    done
    for from in 0 1 2; do
        for to in 0 1 2; do
            [ "$from" = "$to" ] || says "the application of db-$from reads a page of db-$to.mesh" \
                "^db-$to\$" podman exec "db-$from-application" \
                timeout 5 wget -q -O - "http://db-$to.mesh:8080/"
        done
    done
    says "db.mesh leads to one of them" '^db-[012]$' podman exec db-0-application \
        timeout 5 wget -q -O - http://db.mesh:8080/
    says "the node of db-0 has no capability left" '^CapEff:\s+0{16}$' \
        podman exec db-0-tunmesh cat /proc/1/status
    ends "… and a read-only file system" 1 "Read-only file system" \
        podman exec db-0-tunmesh touch /opt/tunmesh/file
    says "the pod's own address has metrics" '^200 .*tunmesh_build_info\{node_name="db-1",' \
        page db-0-tunmesh http://198.51.100.22:9464/metrics
    says "… and the mesh's port has none" '^404 ' page db-0-tunmesh https://tunmesh:4567/metrics
    before=$(address_of db-0-tunmesh)
    other=$(address_of db-1-tunmesh)
    silently podman kill --signal KILL db-0-tunmesh
    ends "while the node of db-0 is dead, its application is refused at once" 1 'No route to host' \
        podman exec db-0-application timeout 1 wget -q -O - "http://$other:8080/"
    silently podman start db-0-tunmesh
    becomes "… and it is linked again" linked db-0-tunmesh 2
    becomes "… with the address it had" has_address db-0-tunmesh "$before"
    holds "podman kube down takes it away" podman kube down "$scratch/pods.yaml"
}
