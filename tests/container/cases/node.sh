# What a node in a container may do, and what it says to whom.
# shellcheck shell=bash
# shellcheck disable=SC2154  # the capitals are those of `run`

privileges() {
    says "the node is process 1 of its container" 'twistd' in_node 1 cat /proc/1/cmdline
    says "… as uid 65532 in all four senses" '^Uid:\s+65532\s+65532\s+65532\s+65532$' status 1
    says "… and gid 65532" '^Gid:\s+65532\s+65532\s+65532\s+65532$' status 1
    says "… in no other group" '^Groups:\s*$' status 1
    for set in CapInh CapPrm CapEff CapAmb; do
        says "… with no $set" "^$set:\s+0{16}\$" status 1
    done
    says "… and never to gain any" '^NoNewPrivs:\s+1$' status 1
    says "… behind a filter of system calls" '^Seccomp:\s+2$' status 1
    ends "its container's file system is read-only" 1 "Read-only file system" \
        in_node 1 touch /opt/tunmesh/file
    says "it says so itself" 'root is gone: uid 65532, gid 65532, no capabilities, system calls filtered' \
        "$ENGINE" logs tunmesh-test-node1
}

status() { in_node "$1" cat /proc/1/status; }

# What it writes for a collector of logs.
logs() {
    local n
    for n in 1 2 3; do
        holds "every line of node$n's log is a JSON object with a time, a level and an event" json_lines "$n"
    done
    says "… among them the links, with the peer's name" '"event": "linked".*"peer": "node3"' \
        "$ENGINE" logs tunmesh-test-node1
}

json_lines() {
    "$ENGINE" logs "tunmesh-test-node$1" 2>&1 | "$PYTHON" -c '
import json, sys
lines = [json.loads(line) for line in sys.stdin]
assert len(lines) >= 5, lines
assert all(line.keys() >= {"time", "level", "part", "event", "text"} for line in lines)'
}

# What the port that is open to everybody says, and what the address of monitoring.listen does.
strangers() {
    says "at the mesh's port /readyz says a word" '^200 \{"status": "ok"\}$' \
        page tunmesh-test-node2 https://pause1:4567/readyz
    says "… /livez too" '^200 \{"status": "ok"\}$' page tunmesh-test-node2 https://pause1:4567/livez
    says "… and there are no metrics" '^404 \{"status": "not found"\}$' \
        page tunmesh-test-node2 https://pause1:4567/metrics
    says "at monitoring.listen there are" '^tunmesh_build_info\{node_name="node1",' \
        in_app 2 wget -q -O - http://198.51.100.11:9464/metrics
    says "… and /readyz has the reasons" '"reason": "linked to 2 nodes"' \
        in_app 2 wget -q -O - http://198.51.100.11:9464/readyz
}

# page CONTAINER URL: the status code and the text in one line, to who does not ask for certificates.
page() {
    "$ENGINE" exec "$1" python -c '
import ssl, sys, urllib.error, urllib.request
try:
    answer = urllib.request.urlopen(sys.argv[1], None, 5, context=ssl._create_unverified_context())
except urllib.error.HTTPError as error:
    answer = error
print(answer.status, "".join(map(str.strip, answer.read().decode().splitlines())))' "$2"
}

# The control socket: the only thing in the container that can be written to.
control() {
    says "tunmesh status in the container says that the node is ready" '^node1 .* ready, up' \
        in_node 1 tunmesh status
    says "… and lists its peers" "^node3 +$MESH.3 " in_node 1 tunmesh status
    holds "tunmesh wait lets an application start that needs node2" \
        in_node 1 tunmesh wait --for ready --for peers=2 --for "$MESH.2" --timeout 5
    ends "… and not one that needs what is not there" 1 'waited 1 s for peers=9 in vain' \
        in_node 1 tunmesh wait --for peers=9 --timeout 1
    says "tunmesh doctor finds nothing wrong, though packets went astray" '^  ok  node1 runs, linked with 2 nodes$' \
        in_node 1 tunmesh doctor
    holds "tunmesh ping is answered" in_node 1 tunmesh ping -c 1 node2
    ends "only who started the node may ask it" 1 'permission denied' \
        "$ENGINE" exec --user 2000 tunmesh-test-node1 tunmesh status
}
