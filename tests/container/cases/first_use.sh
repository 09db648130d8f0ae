# What users of the image do before they have a mesh.
# shellcheck shell=bash
# shellcheck disable=SC2154  # the capitals are those of `run`

CONFINED=(--read-only --cap-drop ALL --security-opt no-new-privileges)
AS_ROOT=(--cap-add NET_ADMIN --cap-add SETUID --cap-add SETGID --device /dev/net/tun)

commands() {
    local n
    says "README: docker run … bin/generate_tun_mesh_example_config prints the example" \
        '^ *config_version: 1.1' "$ENGINE" run --rm "$IMAGE" bin/generate_tun_mesh_example_config
    holds "tunmesh makes a secret and a certificate" make_keys "$scratch/keys"
    for n in 1 2 3; do
        mkdir --parents "$scratch/node$n/keys" # where the keys are mounted
        cp "$here/mesh.yaml" "$scratch/node$n/config.yaml"
    done
    says "bin/parse_tun_mesh_config reads a config" 'node_address_cidr: 10.77.0.1/16' \
        once bin/parse_tun_mesh_config
    ends "… and refuses one that is none" 1 "tun_mesh: is missing" \
        once bin/parse_tun_mesh_config /etc/fstab
    says "they need no root" '^ *config_version: 1.1' \
        once --user 65532 bin/generate_tun_mesh_example_config
    ends "there is no pip in the image" 1 "No module named pip" once python -m pip --version
    ends "there is no compiler in the image" 127 "not found" once sh -c 'cc --version'
}

# make_keys DIRECTORY: what all nodes share, readable by the group of their user.
make_keys() {
    local tunmesh
    tunmesh=$(dirname "$PYTHON")/tunmesh
    mkdir --mode 750 "$1" && chgrp 65532 "$1" &&
        "$tunmesh" secret --out "$1/secret" --group 65532 &&
        "$tunmesh" certificate --dir "$1" --group 65532
}

# of_node NUMBER: what its container mounts and knows. Directories, so that files can be replaced.
of_node() {
    NODE=(
        --volume "$scratch/node$1:/etc/tunmesh:ro" --volume "$scratch/keys:/etc/tunmesh/keys:ro"
        --env "NUMBER=$1"
    )
}

# once [OPTION…] COMMAND…: in the image, alone, with the config of node 1.
once() {
    local options=()
    while [[ $1 == --* ]]; do options+=("$1" "$2"); shift 2; done
    of_node 1
    "$ENGINE" run --rm --network none --sysctl net.ipv6.conf.all.disable_ipv6=0 \
        --no-healthcheck "${NODE[@]}" "${CONFINED[@]}" \
        "${options[@]}" "$IMAGE" "$@"
}

# What Docker's own documents call the least: all capabilities dropped, those needed added.
refusals() {
    local twistd=(twistd --nodaemon --pidfile= tunmesh)
    ends "without NET_ADMIN a node says what is missing" 1 "CAP_NET_ADMIN is missing" \
        once --cap-add SETUID --cap-add SETGID --device /dev/net/tun "${twistd[@]}"
    ends "without the device too" 1 "/dev/net/tun" \
        once --cap-add NET_ADMIN --cap-add SETUID --cap-add SETGID "${twistd[@]}"
    ends "tunmesh doctor says so before the start" 2 "none answers at /run/tunmesh/control.sock" \
        once tunmesh doctor
    also "… of the device" '^  NO  /dev/net/tun does not exist'
    also "… and of what it takes to let go of root" '^  NO  .*CAP_SETUID and CAP_SETGID are needed'
    ends "without a config it ends with code 78" 78 "/etc/tunmesh/none.yaml" \
        once --env TUNMESH_CONFIG_PATH=/etc/tunmesh/none.yaml "${twistd[@]}"
}
