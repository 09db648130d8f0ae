# The unit, by systemd itself. podman only: it sets a container up for a systemd.
# shellcheck shell=bash
# shellcheck disable=SC2154  # the capitals are those of `run`

MACHINE=localhost/tunmesh-test-systemd

# A machine of its own, with systemd as process 1 and the unit as it is; node4 of the same mesh.
systemd() {
    holds "an image with systemd is built" \
        engine_build "$MACHINE" --build-arg "BASE=$BASE" --build-arg "IMAGE=$IMAGE" \
        --file "$here/images/systemd.Dockerfile" "$deploy/systemd"
    mkdir --parents "$scratch/node4/keys" # the journal's format is chosen by the node, if none is given
    grep --invert-match logging: "$scratch/node1/config.yaml" > "$scratch/node4/config.yaml"
    of_node 4
    podman run --detach --name tunmesh-test-machine --systemd always --privileged \
        --network "$NETWORK" --ip 198.51.100.14 --sysctl net.ipv6.conf.all.disable_ipv6=0 \
        --sysctl net.ipv6.conf.default.disable_ipv6=0 --add-host pause1:198.51.100.11 \
        --add-host pause2:198.51.100.12 --add-host pause3:198.51.100.13 \
        "${NODE[@]}" "$MACHINE" /sbin/init &> "$scratch/output"
    if ! within 30 on_machine systemctl is-active basic.target; then
        skip "the systemd unit: systemd does not start in a container on this machine"
        return
    fi
    # As if `systemctl edit tunmesh` had been used: what the config wants to know, and a watchdog
    # that we need not wait for.
    on_machine sh -c 'mkdir /etc/systemd/system/tunmesh.service.d && printf "%s\n" "[Service]" \
        Environment=NUMBER=4 WatchdogSec=4 > /etc/systemd/system/tunmesh.service.d/test.conf'
    holds "systemd takes the unit" on_machine systemctl daemon-reload
    holds "systemctl start comes back when the node is up" on_machine systemctl start tunmesh
    says "… and carries packets" "^node4 +$MESH.4/16" on_machine tunmesh status
    becomes "systemctl status says whom it is linked with" unit_says 'Status: "linked to 3 nodes"'
    says "the node under systemd has no capability left" '^CapEff:\s+0{16}$' in_unit 'cat /proc/$P/status'
    says "… and may not even have most" '^CapBnd:\s+00000000000010c0$' in_unit 'cat /proc/$P/status'
    for place in /run /etc /usr /var /home; do
        ends "… sees a read-only $place, root or not" 1 'Read-only file system' \
            in_unit "nsenter --target \$P --mount touch $place/file"
    done
    holds "the journal has what it says" journal_says 'linked with node1' --priority info
    denies "… and tells it from warnings" journal_says 'linked with node1' --priority warning
    holds "systemctl reload is heard" on_machine systemctl reload tunmesh
    says "… by the node" 'reloaded|nothing new' on_machine journalctl --unit tunmesh
    in_unit 'kill -STOP $P'
    becomes "a node that hangs is killed by the watchdog" \
        journal_says "Failed with result 'watchdog'"
    becomes "… and started again" unit_says 'Status: "linked to 3 nodes"'
    in_unit 'kill -KILL $P'
    becomes "so is one that was killed" journal_says 'restart counter is at 2'
    becomes "… and it is linked again" unit_says 'Status: "linked to 3 nodes"'
    holds "systemctl stop" on_machine systemctl stop tunmesh
    says "… ends it with code 0" '^ExecMainStatus=0$' on_machine systemctl show tunmesh
    becomes "… and with a goodbye" heard_goodbye 1 4
    says "… and leaves the guard" "^$MESH.0/16 is guarded$" on_machine env NUMBER=4 tunmesh guard --show
    says "… which root removes" '^removed: ' on_machine env NUMBER=4 tunmesh guard --remove
    on_machine rm /etc/systemd/system/tunmesh.service.d/test.conf
    on_machine systemctl daemon-reload
    denies "without its NUMBER the config is no good, and it does not start" \
        on_machine systemctl start tunmesh
    sleep 3
    says "… with code 78" '^ExecMainStatus=78$' on_machine systemctl show tunmesh
    says "… which is not tried again" '^NRestarts=0$' on_machine systemctl show tunmesh
    podman rm --force --volumes --time 1 tunmesh-test-machine &> "$scratch/output"
}

on_machine() { podman exec tunmesh-test-machine "$@"; }

# in_unit COMMAND: in a shell on that machine where $P is the node.
in_unit() { on_machine sh -c 'P=$(systemctl show --value --property MainPID tunmesh); '"$1"; }

unit_says() { on_machine systemctl status --no-pager tunmesh | grep --quiet --fixed-strings "$1"; }

# journal_says TEXT OPTION…
journal_says() { on_machine journalctl --unit tunmesh "${@:2}" | grep --quiet --fixed-strings "$1"; }
