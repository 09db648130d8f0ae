# The Kubernetes example as podman understands it; kubernetes.py says what that leaves out.
# shellcheck shell=bash
# shellcheck disable=SC2154  # the capitals are those of `run`

kubernetes() {
    local from to
    "$PYTHON" "$here/cases/kubernetes.py" "$deploy/kubernetes/tunmesh.yaml" "$scratch/keys" \
        198.51.100.21,198.51.100.22,198.51.100.23 \
        "tunmesh=$IMAGE" "application=$APPLICATION" > "$scratch/pods.yaml"
    holds "podman kube play takes the Kubernetes example" \
        podman kube play --network "$NETWORK" --ip 198.51.100.21 --ip 198.51.100.22 \
        --ip 198.51.100.23 "$scratch/pods.yaml"
    for from in 0 1 2; do
        becomes "mesh-$from is linked to both others" linked "mesh-$from-tunmesh" 2
    done
    for from in 0 1 2; do
        for to in 0 1 2; do
            [ "$from" = "$to" ] || says "the application of mesh-$from reads a page of mesh-$to" \
                "^mesh-$to\$" podman exec "mesh-$from-application" \
                timeout 5 wget -q -O - "http://10.77.1.$to:8080/"
        done
    done
    for from in 0 1 2; do
        holds "the gate of the application of mesh-$from is open" podman exec "mesh-$from-tunmesh" \
            tunmesh wait --for peers=2 --timeout 5
    done
    says "the node of mesh-0 has no capability left" '^CapEff:\s+0{16}$' \
        podman exec mesh-0-tunmesh cat /proc/1/status
    ends "… and a read-only file system" 1 "Read-only file system" \
        podman exec mesh-0-tunmesh touch /opt/tunmesh/file
    says "the pod's own address has metrics" '^200 .*tunmesh_build_info\{node_name="mesh-1",' \
        page mesh-0-tunmesh http://198.51.100.22:9464/metrics
    says "… and the mesh's port has none" '^404 ' page mesh-0-tunmesh https://mesh:4567/metrics
    podman kill --signal KILL mesh-0-tunmesh > "$scratch/output"
    ends "while the node of mesh-0 is dead, its application is refused at once" 1 'No route to host' \
        podman exec mesh-0-application timeout 1 wget -q -O - http://10.77.1.1:8080/
    podman start mesh-0-tunmesh &> "$scratch/output"
    becomes "… and it is linked again" linked mesh-0-tunmesh 2
    holds "podman kube down takes it away" podman kube down "$scratch/pods.yaml"
}
