"""Information disclosure: what a stranger sees at the port of a real mesh, and what its operators
see at the address for monitoring."""

from __future__ import annotations

import json
import os
import socket

from tests.real.test_mesh import MeshCase
from tests.support import netns
from tests.support.realnode import Ground, reactor
from tunmesh import __version__

METRICS = {"method": "prometheus", "enable_node_packet_metrics": True}
LISTEN = "127.0.0.1:9464"

# All requests that a stranger may try, by the bytes sent over TLS; the whole answers.
_PROBE = """
import itertools, json, socket, ssl, sys
from concurrent.futures import ThreadPoolExecutor

def answer(trial):
    request, protocols = trial
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(protocols)
    said = b""
    try:
        with socket.create_connection(("10.99.0.1", 4567), 3) as raw:
            with context.wrap_socket(raw) as secure:
                secure.sendall(request.encode("latin-1"))
                while data := secure.recv(65536):
                    said += data
    except OSError:
        pass  # it hung up, or waits for more
    return said.decode("latin-1")

with ThreadPoolExecutor(16) as pool:
    trials = itertools.product(json.load(open(sys.argv[1])), (["http/1.1"], ["tunmesh/1"], []))
    print(json.dumps(list(pool.map(answer, trials))))
"""

_HTTP = """
import http.client, json, ssl, sys
tls, address, port, path = sys.argv[1:]
context = ssl._create_unverified_context()
make = http.client.HTTPConnection
if tls == "True":
    make = lambda *a, **k: http.client.HTTPSConnection(*a, context=context, **k)
connection = make(address, int(port), timeout=200)
try:
    connection.request("GET", path)
    response = connection.getresponse()
    print(json.dumps([response.status, response.read().decode()]))
except OSError as error:
    print(json.dumps([0, type(error).__name__]))
"""

HEALTH = ("/livez", "/readyz", "/health", "/livez?verbose=1")
OTHERS = ("/metrics", "/", "/v1/status", "/v1/mesh", "/v1/events", "/livez/x", "//livez", "*")
METHODS = ("GET", "HEAD", "POST", "OPTIONS", "TRACE", "BREW")
NONSENSE = (
    "\r\n\r\n",
    "GET\r\n\r\n",
    "GET /livez HTTP/9.9\r\n\r\n",
    "9:hello,",
    "1:H,",
    "\x16\x03\x01",
)


class StrangersView(MeshCase):
    """Two linked nodes, the first one observed."""

    async def probe(self) -> list[str]:
        requests = [
            f"{method} {path} HTTP/1.1\r\nHost: node1\r\n\r\n"
            for method in METHODS
            for path in HEALTH + OTHERS
        ]
        file = self.ground.directory / "requests.json"
        file.write_text(json.dumps([*requests, *NONSENSE]))
        with self.ground.namespace(2):
            running = netns.run_python(reactor, _PROBE, str(file))
        out, err, code = await running
        self.assertEqual((err, code), (b"", 0))
        answers: list[str] = json.loads(out)
        return answers

    async def fetch(
        self, path: str, number: int = 1, tls: bool = False, address: str = "127.0.0.1"
    ) -> tuple[int, str]:
        """A page at the first node's address for monitoring, fetched in the namespace of a node."""
        with self.ground.namespace(number):
            running = netns.run_python(reactor, _HTTP, str(tls), address, "9464", path)
        out, err, code = await running
        self.assertEqual((err, code), (b"", 0))
        status, body = json.loads(out)
        return status, body

    async def test_nothing_is_told(self) -> None:
        """Whatever a stranger requests at the port, no answer contains, even in its headers, a
        name, version, address, id, count or anything derived from the secret."""
        self.ground.change(1, monitoring={**METRICS, "listen": LISTEN})
        await self.ground.linked(2)
        path = self.ground.directory / self.ground.plans[0].socket
        status = await self.ground.status()
        answers = await self.probe()
        self.assertEqual(len(answers), 3 * (len(METHODS) * len(HEALTH + OTHERS) + len(NONSENSE)))
        words = {"node1", "node2", __version__, "10.77.", "fd77:", "10.99.", "python", "twisted"}
        words |= {"tunmesh", "key", "peer", "link", str(path), "server:", "traceback"}
        words |= {status["node"]["id"], status["peers"][0]["id"], "4567"}
        phrases = {"ok", "unavailable", "not found", "method not allowed"}
        allowed = {json.dumps({"status": phrase}, indent=2) + "\n" for phrase in phrases} | {""}
        codes = set()
        for answer in answers:
            head, _, body = answer.partition("\r\n\r\n")
            codes.add(" ".join(head.split()[1:2]))
            self.assertIn(body, allowed)
            for word in words:
                self.assertNotIn(word, answer.lower())
        self.assertEqual(codes, {"", "200", "400", "404", "405"})
        self.assertEqual((await self.ground.get("/metrics"))[0], 404)

    async def test_monitoring(self) -> None:
        """The address for monitoring has the metrics, and health with its reasons; in plain HTTP
        and for this machine only, if so configured."""
        self.ground.change(1, monitoring={**METRICS, "listen": LISTEN})
        node, _ = await self.ground.linked(2)
        self.assertEqual((await node.logged("monitoring"))["url"], f"http://{LISTEN}")
        status, body = await self.fetch("/readyz")
        self.assertEqual(status, 200)
        self.assertEqual(json.loads(body)["checks"]["membership"]["reason"], "linked to 1 node")
        status, body = await self.fetch("/metrics")
        self.assertEqual(status, 200)
        for sample in ('links_by_key{key_id="1"} 1.0', 'rx_packets_total{node="node2"}'):
            self.assertIn(f"tunmesh_{'node_' * ('node=' in sample)}{sample}", body)
        self.assertEqual((await self.fetch("/v1/status"))[0], 404)
        refused = await self.fetch("/metrics", number=2, address="10.99.0.1")
        self.assertEqual(refused, (0, "ConnectionRefusedError"))
        self.assertEqual(node.all_logged("public_metrics"), [])

    async def test_over_tls(self) -> None:
        """With TLS, on both families, it presents the node's certificate, and refuses clients that
        want a link or no TLS."""
        self.ground.change(1, monitoring={**METRICS, "listen": "[::]:9464", "tls": True})
        node, _ = await self.ground.linked(2)
        for number, address in ((1, "127.0.0.1"), (1, "::1"), (2, "10.99.0.1")):
            status, body = await self.fetch("/livez", number, tls=True, address=address)
            self.assertEqual((status, json.loads(body)["checks"]["tun"]["ok"]), (200, True))
        status, _ = await self.fetch("/livez")
        self.assertEqual(status, 0)
        self.assertEqual(node.all_logged("bug"), [])

    async def test_on_the_public_port(self) -> None:
        """Without an address for monitoring, the metrics are at the public port as before, and the
        log says who can read them."""
        ground: Ground = self.ground
        node = ground.start()
        await node.logged("ready")
        said = await node.logged("public_metrics")
        self.assertIn("tells strangers the name, version and counts", said["text"])
        self.assertEqual((await ground.get("/metrics"))[0], 200)

    async def test_taken(self) -> None:
        """An address in use, or one that the machine does not have, keeps the node from starting,
        and the line names the key."""
        with self.ground.namespace(1):
            other = socket.create_server(("127.0.0.1", 9464))
        self.addCleanup(other.close)
        for listen, why in (
            (LISTEN, f"cannot listen at {LISTEN}: Address already in use by pid {os.getpid()} ("),
            ("192.0.2.77:9464", "192.0.2.77 is no address of this machine"),
        ):
            self.ground.change(1, monitoring={**METRICS, "listen": listen})
            node = self.ground.start()
            self.assertEqual(await node.ended, 1)
            (failed,) = node.all_logged("failed")
            self.assertIn(f"monitoring/listen: {why}", failed["error"])
            self.assertNotIn("Traceback", node.text)

    async def test_next_start(self) -> None:
        """The address for monitoring is fixed at the start; a change is reported."""
        self.ground.change(1, monitoring={**METRICS, "listen": LISTEN})
        node = self.ground.start()
        await node.logged("ready")
        self.ground.change(1, monitoring={**METRICS, "listen": "127.0.0.1:9465", "tls": True})
        node.signal("HUP")
        keys = (await node.logged("restart_needed"))["keys"]
        self.assertEqual(keys, "tun_mesh/monitoring/listen, tun_mesh/monitoring/tls")
        self.assertEqual((await self.fetch("/livez"))[0], 200)
