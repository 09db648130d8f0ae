# A change of the secret, node by node, as docs/operating.md says: without a restart, and while
# applications talk.
# shellcheck shell=bash
# shellcheck disable=SC2154  # the capitals are those of `run`

rotation() {
    local n
    says "before a change of the secret tunmesh secret rotate says how to begin" 'To begin one' \
        in_node 1 tunmesh secret rotate
    silently once_writing tunmesh secret --out /keys/secret-2 --group 65532
    in_app 1 ping -i 0.2 -c 600 "$MESH.3" > "$scratch/pings" 2>&1 &
    local pings=$!
    for n in 1 2 3; do
        goes_by "$n" 'secret_files: [keys/secret-2, keys/secret]'
        reaches "$n" $((n % 3 + 1))
    done
    says "all have both secrets: the old one is waited for" 'Step [23] of 4' in_node 1 tunmesh secret rotate
    for n in 1 2 3; do
        says "… while links of all remain" 'linked to 2 nodes' in_node "$n" tunmesh healthcheck --ready
    done
    silently in_app 1 killall -INT ping
    wait "$pings" || true
    cp "$scratch/pings" "$scratch/output"
    also "… and no packet was lost meanwhile" ' 0% packet loss'
    for n in 1 2 3; do
        silently "$ENGINE" restart --time 10 "tunmesh-test-node$n"
        becomes "node$n, restarted, is linked to both" linked "tunmesh-test-node$n" 2
    done
    becomes "now all links are by the new secret, and the old one may go" rotation_says 1 'Step 3 of 4'
    for n in 1 2 3; do goes_by "$n" 'secret_file: keys/secret-2'; done
    becomes "the change is over" rotation_says 1 'No change of the secret is under way'
    for n in 1 2 3; do reaches "$n" $((n % 3 + 1)); done
    sed -i 's/secret_file: .*/secret_file: keys\/secret/' "$scratch/node3/config.yaml"
    silently "$ENGINE" restart --time 10 tunmesh-test-node3
    becomes "who comes with the old secret gets no link, and is told why" told_why 3
    denies "… and reaches nobody" in_app 3 ping -c 1 -W 1 "$MESH.1"
    sed -i 's/secret_file: .*/secret_file: keys\/secret-2/' "$scratch/node3/config.yaml"
    becomes "with the new one it is let in again, without a restart" linked tunmesh-test-node3 2
}

# once_writing COMMAND…: in the image, by root, with the keys where it may write.
once_writing() {
    "$ENGINE" run --rm --network none --no-healthcheck --volume "$scratch/keys:/keys" "$IMAGE" "$@"
}

# goes_by NUMBER LINE: the line is the node's secret now, and the node has read it.
goes_by() {
    local before
    before=$(reloads "$1")
    sed -i "s|secret_files\\?: .*|$2|" "$scratch/node$1/config.yaml"
    becomes "node$1 goes by ${2%%:*} without a restart" reloaded_since "$1" "$before"
}

reloads() { "$ENGINE" logs "tunmesh-test-node$1" 2>&1 | grep --count '"event": "reloaded"' || true; }
reloaded_since() { [ "$(reloads "$1")" -gt "$2" ]; }
rotation_says() { in_node "$1" tunmesh secret rotate | grep --quiet "$2"; }
told_why() { "$ENGINE" logs "tunmesh-test-node$1" 2>&1 | tail -3 | grep --quiet 'has it the same secret?'; }
