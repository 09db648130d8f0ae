"""The attacker's process: one attack on one node, as fast as one process can.

    python -m bench.attack.attacker ATTACK DIRECTORY HOST

`DIRECTORY` holds the mesh's certificate, key and secret. Attacks by strangers use only what can be
seen on the wire, those by members all of it. An attack is a generator: each step is one attack. It
runs until standard input is closed; then the number of attacks and the peak number of connections
held are written to standard output, as JSON.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
from pathlib import Path

from bench.attack.carrying import CARRIERS
from bench.attack.datagrams import DATAGRAMS
from bench.attack.hoarding import HOARDERS
from bench.attack.members import MEMBERS
from bench.attack.mobs import MOBS
from bench.attack.strangers import STRANGERS, nothing
from bench.attack.target import Attack, Target
from bench.attack.vouching import AIMED, VOUCHERS

FLOODS = {
    attack.__name__: attack
    for attack in (*STRANGERS, *DATAGRAMS, *MEMBERS, *HOARDERS, *MOBS, *CARRIERS, *VOUCHERS)
}
ATTACKS: dict[str, Attack] = FLOODS | {each.__name__: each for each in (nothing, *AIMED)}


def _await_end(over: threading.Event) -> None:
    sys.stdin.read()
    over.set()


def main(name: str, directory: str, host: str) -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    os.nice(19)  # CPU time that the kernel spends on the attacker is missing elsewhere
    steps = ATTACKS[name](Target(Path(directory), host))
    over = threading.Event()
    threading.Thread(target=_await_end, args=(over,), daemon=True).start()
    attacks, held = 0, next(steps)  # the first step may have to link many identities
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while not over.is_set():
        held = max(held, next(steps))
        attacks += 1
    sys.stdout.write(json.dumps({"attacks": attacks, "held": held}) + "\n")
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
