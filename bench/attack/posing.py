"""An attacker with the certificate's key, but without the secret, poses as a node."""

from __future__ import annotations

import socket
import time
from contextlib import suppress

from OpenSSL import SSL

from bench.attack.stage import Figures, Stage
from bench.attack.target import GONE
from bench.lab import Lab
from tunmesh.localmesh.plan import CERTIFICATE, KEY, LISTEN_PORT, NodePlan
from tunmesh.tls.credentials import ALPN
from tunmesh.wire import messages, sizes
from tunmesh.wire.netstring import Decoder, encode
from tunmesh.wire.proofs import Challenge, Hello

ATTACKER = NodePlan(2)  # no node runs on its host
SECONDS = 10.0


def posing_port(lab: Lab) -> Figures:
    """Node 1 dials the attacker: which parts of its record can be read?"""
    stage = Stage(lab, 1)
    stage.configure(
        1, {"clustering__bootstrap_groups": {"first": {"bootstrap_node_urls": [ATTACKER.url]}}}
    )
    context = SSL.Context(SSL.TLS_METHOD)
    context.use_certificate_chain_file(str(stage.directory / CERTIFICATE))
    context.use_privatekey_file(str(stage.directory / KEY))
    context.set_alpn_select_callback(lambda *_: ALPN)
    with stage.attacker.namespace:
        port = socket.create_server((ATTACKER.underlay, LISTEN_PORT))
    with port:
        port.settimeout(SECONDS)
        stage.start(1)
        caller, _ = port.accept()
        heard = _converse(caller, context)
    own = NodePlan(1)
    secrets = (own.name, own.ipv4, own.ipv6, own.url, '"id"')
    yield "messages heard", len(heard)
    yield (
        "of name, addresses, URL and id, readable",
        sum(any(each.encode() in payload for payload in heard) for each in secrets),
    )


def _converse(caller: socket.socket, context: SSL.Context) -> list[bytes]:
    """What a dialer sends until it gives up on a listener that cannot prove anything."""
    caller.settimeout(None)
    limit = b"\1\0\0\0\0\0\0\0" + bytes(8)
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    connection = SSL.Connection(context, caller)
    connection.set_accept_state()
    decoder, heard = Decoder(sizes.MAX_FRAME), list[bytes]()
    end = time.monotonic() + SECONDS
    with caller, suppress(*GONE):
        connection.do_handshake()
        while time.monotonic() < end:
            for payload in map(bytes, decoder.feed(connection.recv(65536))):
                heard.append(payload)
                if payload[0] == messages.HELLO:
                    key_id = Hello.decode(payload).key_ids[0]
                    challenge = Challenge(sizes.VERSION, key_id, bytes(32))
                    connection.sendall(encode(challenge.encode()))
    return heard
