"""The scenarios of nodes that also have UDP ports."""

from __future__ import annotations

from tunmesh.simulator.scenario import Limits, Scenario
from tunmesh.simulator.steps import (
    BlockDatagrams,
    Carried,
    Divide,
    Exchange,
    Heal,
    Impair,
    Readdress,
    Rebind,
    Restart,
    Start,
    Wait,
    Whole,
)

UDP = (
    Scenario(
        "udp-auto",
        "packets go over what is better, while two halves part and meet, and nodes start again",
        (
            *(Start(), Whole(15), Exchange(3), Divide(), Whole(40), Wait(20), Heal(), Whole(30)),
            *(Wait(5), Exchange(5), Restart(0.3, "vanish"), Whole(20), Exchange(5)),
        ),
        Limits(10, 80, 2500),
        transport="auto",
    ),
    Scenario(
        "udp-lossy",
        "UDP loses, delays and doubles datagrams, and a third of the nodes is started again",
        (
            *(Start(), Whole(15), Carried("udp", 10), Exchange(3)),
            *(Impair(loss=0.03, twice=0.03, late=0.1), Exchange(10, least=0.7)),
            *(Restart(0.3, "vanish"), Whole(30), Carried("udp", 20), Exchange(5, least=0.7)),
            *(Impair(), Carried("udp", 20), Exchange(3)),
        ),
        Limits(6, 80, 2500),
        transport="udp",
    ),
    Scenario(
        "udp-blocked",
        "no datagram gets through at first, then all do, then none, and then all again",
        (
            *(BlockDatagrams(1.0), Start(), Whole(15), Carried("tcp", 1), Exchange(3)),
            *(BlockDatagrams(0.0), Carried("udp", 90), Exchange(3)),
            *(BlockDatagrams(1.0), Exchange(5, least=0.5), Carried("tcp", 60), Exchange(3)),
            *(BlockDatagrams(0.0), Carried("udp", 120)),
        ),
        Limits(6, 80, 2500),
        transport="udp",
    ),
    Scenario(
        "udp-one-way",
        "on a third of all paths, datagrams get through in one direction only",
        (
            *(Start(), Whole(15), Carried("udp", 10), BlockDatagrams(0.3, one_way=True)),
            *(Exchange(5, least=0.5), Carried("udp", 60), Exchange(3)),
            *(BlockDatagrams(0.0), Carried("udp", 120)),
        ),
        Limits(6, 80, 2500),
        transport="udp",
    ),
    Scenario(
        "udp-narrow",
        "the MTU of all paths becomes smaller, then too small for UDP, and then as it was",
        (
            *(Start(), Whole(15), Carried("udp", 10), Exchange(3), Impair(mtu=1300)),
            *(Exchange(5, least=0.5), Carried("udp", 60), Exchange(3), Impair(mtu=1000)),
            *(Exchange(5, least=0.5), Carried("tcp", 60), Exchange(3)),
            *(Impair(), Carried("udp", 120)),
        ),
        Limits(6, 80, 2500),
        transport="udp",
    ),
    Scenario(
        "udp-roaming",
        "NATs give nodes other UDP ports, one after the other; then a third has other addresses",
        (
            *(Start(), Whole(15), Carried("udp", 10), Exchange(3), Rebind(0.0)),
            *(Exchange(3, least=0.7), Carried("udp", 10), Exchange(3), Rebind(0.0)),
            *(Exchange(3, least=0.7), Carried("udp", 10), Exchange(3), Readdress(0.3)),
            *(Exchange(30, least=0.8), Whole(40), Carried("udp", 120), Exchange(3)),
        ),
        Limits(12, 120, 2500, lost=0.5),
        from_first=True,
        least=3,
        transport="udp",
    ),
)
