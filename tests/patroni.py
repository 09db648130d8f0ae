"""Patroni with a floating address, as docs/floating.md says: `make test-patroni`, not `make test`.

etcd runs beside node1, PostgreSQL with Patroni beside node2 and node3, and all of them talk through
the mesh. A client beside node1 connects to the floating address until it can write a row there.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
from pathlib import Path

import yaml
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.utils import getProcessOutputAndValue

from tests.real.test_floating import VIP, Daemon, FloatingCase
from tests.support import netns
from tests.support.realnode import reactor
from tests.test_docs import ROOT

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
PORT = 5432
# Prints whose server it wrote to: any, or only the one whose directory is given.
WRITE = f"""
import sys, time, psycopg2
while True:
    try:
        connection = psycopg2.connect(
            host={VIP!r}, user="postgres", dbname="postgres", password="p", connect_timeout=2)
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute("select current_setting('data_directory')")
        directory = cursor.fetchone()[0]
        if sys.argv[1] in directory:
            cursor.execute("create table if not exists rows (at timestamptz)")
            cursor.execute("insert into rows values (now())")
            print(directory)
            break
        connection.close()
    except psycopg2.Error as error:
        print(error, file=sys.stderr)
    time.sleep(0.05)
"""


def missing() -> str | None:
    """What this machine lacks, in a line."""
    absent = [name for name in ("etcd", "patroni", "curl", "setpriv") if not shutil.which(name)]
    if absent or not BINARIES:
        return "apt-get install patroni etcd-server postgresql curl"
    return netns.skip_reason()


class Patroni(FloatingCase):
    """The leader is changed, killed and cut off."""

    skip = missing()
    timeout = 600

    async def test_follows_the_leader(self) -> None:
        """A client that connects again reaches the leader, whatever happened to the one before."""
        self.ground.directory.chmod(0o755)  # for the user of PostgreSQL
        nodes = await self.ground.linked(3)
        self.run_in(1, "etcd", *self.etcd())
        databases = {number: self.patroni(number) for number in (2, 3)}
        scripts = {number: self.script(number) for number in (2, 3)}
        leader = await self.written()
        follower = 5 - leader

        await self.until_follows(follower)
        began = reactor.seconds()
        await self.switch(leader, follower)
        await self.moved("a switchover", began, follower)
        leader, follower = follower, leader

        await self.until_follows(follower)
        began = reactor.seconds()
        ended = Deferred.fromCoroutine(databases[leader].kill("TERM"))
        await self.moved("Patroni ends on the leader", began, follower)
        await ended
        databases[leader] = self.patroni(leader)
        leader, follower = follower, leader

        await self.until_follows(follower)
        began = reactor.seconds()
        nodes[leader - 1].signal("KILL")
        await nodes[leader - 1].ended
        nodes[leader - 1] = self.ground.start(leader)
        # If that took longer than Patroni puts up with, the other one leads now.
        leader = await self.written()
        self.measured("the leader's mesh node is killed, started again", reactor.seconds() - began)
        follower = 5 - leader

        await self.until_follows(follower)
        began = reactor.seconds()
        self.kill(databases[leader])
        await self.moved("Patroni is killed on the leader", began, follower)
        await self.kill_database(leader)
        databases[leader] = self.patroni(leader)
        leader, follower = follower, leader

        await self.until_follows(follower)
        began = reactor.seconds()
        self.cable(leader, "down")
        await self.moved("the leader's cable is pulled", began, follower)
        self.cable(leader, "up")
        await self.until_follows(leader)
        self.assertEqual(await self.written(), follower)
        for script in scripts.values():
            await script.kill("TERM")
        await self.is_off(follower)

    def run_in(self, number: int, *command: str, user: str = "postgres") -> Daemon:
        """A program beside a node."""
        daemon = Daemon()
        who = pwd.getpwnam(user)
        wrapped = [
            "setpriv",
            f"--reuid={who.pw_uid}",
            f"--regid={who.pw_gid}",
            "--clear-groups",
            *command,
        ]
        with self.ground.namespace(number):
            reactor.spawnProcess(
                daemon, str(shutil.which("setpriv")), wrapped, env=dict(os.environ)
            )
        self.addCleanup(daemon.kill, "KILL")
        return daemon

    def kill(self, patroni: Daemon) -> None:
        """Not to be waited for: its PostgreSQL lives on, and holds its output open."""
        if patroni.transport is not None and patroni.transport.pid is not None:
            patroni.transport.signalProcess("KILL")

    def place(self, name: str) -> Path:
        place = self.ground.directory / name
        place.mkdir(exist_ok=True)
        place.chmod(0o700)
        who = pwd.getpwnam("postgres")
        os.chown(place, who.pw_uid, who.pw_gid)
        return place

    def etcd(self) -> list[str]:
        client, peer = f"http://{self.address(1)}:2379", "http://127.0.0.1:2380"
        return [
            f"--data-dir={self.place('etcd')}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
        ]

    def patroni(self, number: int) -> Daemon:
        """PostgreSQL, with Patroni's own times: ttl 30, loop_wait 10."""
        place, own = self.place(f"database{number}"), self.address(number)
        account = {"username": "postgres", "password": "p"}
        config = {
            "scope": "database",
            "name": f"node{number}",
            "restapi": {"listen": "0.0.0.0:8008", "connect_address": f"{own}:8008"},
            "etcd3": {"host": f"{self.address(1)}:2379"},
            "bootstrap": {
                "dcs": {"postgresql": {"use_pg_rewind": True}},
                "initdb": [
                    {"auth-local": "trust"},
                    {"auth-host": "scram-sha-256"},
                    "data-checksums",
                ],
            },
            "postgresql": {
                "listen": f"0.0.0.0:{PORT}",
                "connect_address": f"{own}:{PORT}",
                "data_dir": str(place / "data"),
                "bin_dir": str(BINARIES[-1]),
                "pgpass": str(place / "pgpass"),
                "parameters": {"unix_socket_directories": str(place)},
                "pg_hba": [
                    "local all all trust",
                    "host all all all scram-sha-256",
                    "host replication all all scram-sha-256",
                ],
                "authentication": {"superuser": account, "replication": account},
            },
        }
        path = place / "patroni.yaml"
        path.write_text(yaml.safe_dump(config))
        path.chmod(0o644)
        daemon = self.run_in(number, "patroni", str(path))
        self.addCleanup(self.kill_database, number)
        self.addCleanup(self.kill, daemon)
        return daemon

    def script(self, number: int) -> Daemon:
        """The one of docs/floating.md."""
        page = (ROOT / "docs" / "floating.md").read_text(encoding="utf-8")
        found = re.search(r"```sh\n(#!/bin/sh\n# \S*/database-address:.*?)```", page, re.S)
        assert found is not None
        text = found[1].replace("10.77.0.100", VIP)
        socket = self.ground.directory / self.ground.plans[number - 1].socket
        path = self.ground.directory / f"database-address{number}"
        path.write_text(text.replace("/run/tunmesh/control.sock", str(socket)))
        path.chmod(0o755)
        return self.run_in(number, str(path), user="root")

    async def kill_database(self, number: int) -> None:
        """PostgreSQL that its Patroni has left behind."""
        data = self.ground.directory / f"database{number}" / "data"
        await self.inside(
            number, str(BINARIES[-1] / "pg_ctl"), "stop", "-m", "immediate", "-D", str(data)
        )

    async def inside(self, number: int, *command: str) -> str:
        """The output of a command beside a node, as the user of PostgreSQL."""
        daemon = self.run_in(number, *command)
        await daemon.ended
        return daemon.text.decode()

    async def written(self, number: int = 0) -> int:
        """Write a row at the floating address, to any server or only to that node's: to whose."""
        name = f"/database{number or ''}"
        with self.ground.namespace(1):
            running = getProcessOutputAndValue(
                "/usr/bin/python3", ["-c", WRITE, name], reactor=reactor
            )
        out, err, code = await running
        self.assertEqual(code, 0, err)
        return int(Path(out.decode()).parent.name.removeprefix("database"))

    async def moved(self, what: str, began: float, number: int) -> None:
        await self.written(number)
        self.measured(what, reactor.seconds() - began)

    async def switch(self, leader: int, follower: int) -> None:
        body = json.dumps({"leader": f"node{leader}", "candidate": f"node{follower}"})
        url = f"http://{self.address(leader)}:8008/switchover"
        await self.inside(1, "curl", "--silent", "--fail", "--data", body, url)

    async def until_follows(self, number: int) -> None:
        """Wait until a server has all that the leader has, and only follows."""
        url = f"http://{self.address(number)}:8008/replica?lag=0"
        while "running" not in await self.inside(1, "curl", "--silent", "--fail", url):
            await deferLater(reactor, 0.5)
