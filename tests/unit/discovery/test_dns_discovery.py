"""Discovery by DNS, against a real name server on loopback that says what the test wants."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from raftq_k8s.discovery.dns import DnsDiscovery, cluster_domain, local_cluster_domain
from raftq_k8s.discovery.sighting import Sighting, Unanswered
from raftq_k8s.raft.types import MemberId

ZONE = "raftq-headless.team.svc.cluster.local."
SRV = f"_raft._tcp.{ZONE}"
EXPECTED = tuple(MemberId(f"raftq-{ordinal}") for ordinal in range(3))


class NameServer(asyncio.DatagramProtocol):
    """Answers from `records` (name and type → data), `NXDOMAIN` otherwise; `behaviour` replaces that for a type."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], list[str]] = {}
        self.behaviour: dict[str, str] = {}
        self.asked: list[tuple[str, str]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)
        self.was_asked = asyncio.Event()

    @property
    def address(self) -> str:
        host, port = self.transport.get_extra_info("sockname")[:2]
        return f"{host}:{port}"

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        name = query.question[0].name.to_text()
        kind = dns.rdatatype.to_text(query.question[0].rdtype)
        self.asked.append((name, kind))
        self.was_asked.set()
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.AA
        match self.behaviour.get(kind, self.behaviour.get("*", "answer")):
            case "silence":
                return
            case "nonsense":
                self.transport.sendto(data[:2] + b"\xff" * 9, addr)
                return
            case "answer":
                self._answer(reply, name, kind)
            case rcode:
                reply.set_rcode(dns.rcode.from_text(rcode))
        self.transport.sendto(reply.to_wire(), addr)

    def _answer(self, reply: dns.message.Message, name: str, kind: str) -> None:
        if data := self.records.get((name, kind)):
            reply.answer.append(dns.rrset.from_text_list(name, 30, "IN", kind, data))
            return
        if not any(known == name for known, _ in self.records):
            reply.set_rcode(dns.rcode.NXDOMAIN)
        reply.authority.append(
            dns.rrset.from_text("cluster.local.", 30, "IN", "SOA", "ns.dns. root. 1 7200 1800 86400 30")
        )

    def serve(self, *members: str, port: int = 7400) -> None:
        """What CoreDNS says of the headless Service when these pods are in it."""
        self.records = {(SRV, "SRV"): [f"0 33 {port} {member}.{ZONE}" for member in members]}
        self.records |= {(f"{member}.{ZONE}", "A"): ["10.244.0.7"] for member in members}


@pytest.fixture
async def server() -> AsyncIterator[NameServer]:
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        NameServer, local_addr=("127.0.0.1", 0)
    )
    yield protocol
    transport.close()


@pytest.fixture
def discovery(server: NameServer) -> DnsDiscovery:
    return DnsDiscovery(
        "raftq-headless", "team", expected=EXPECTED, domain="cluster.local", nameservers=[server.address]
    )


async def test_one_srv_question_sights_every_pod_by_name_with_its_port(
    server: NameServer, discovery: DnsDiscovery
) -> None:
    server.serve("raftq-0", "raftq-1", "raftq-2", port=7401)
    assert set(await discovery.look()) == {Sighting(member, f"{member}.{ZONE}", 7401) for member in EXPECTED}
    assert server.asked == [(SRV, "SRV")]


async def test_an_expected_peer_that_srv_lacks_is_asked_for_by_name(
    server: NameServer, discovery: DnsDiscovery
) -> None:
    server.serve("raftq-0")
    server.records[f"raftq-1.{ZONE}", "A"] = ["10.244.0.9"]
    server.records[f"raftq-2.{ZONE}", "AAAA"] = ["fd00::9"]
    assert {sighting.member for sighting in await discovery.look()} == set(EXPECTED)


@pytest.mark.parametrize("srv", ["NXDOMAIN", "SERVFAIL", "NOTIMP", "silence", "nonsense"])
async def test_without_srv_answers_addresses_do(server: NameServer, discovery: DnsDiscovery, srv: str) -> None:
    server.serve("raftq-0", "raftq-1")
    server.behaviour["SRV"] = srv
    assert set(await discovery.look()) == {
        Sighting(MemberId(member), f"{member}.{ZONE}", 7400) for member in ("raftq-0", "raftq-1")
    }


async def test_one_address_family_that_fails_does_not_hide_the_other(
    server: NameServer, discovery: DnsDiscovery
) -> None:
    server.serve("raftq-0")
    server.behaviour |= {"SRV": "NXDOMAIN", "AAAA": "SERVFAIL"}
    assert [sighting.member for sighting in await discovery.look()] == ["raftq-0"]


async def test_nobody_is_an_answer(server: NameServer, discovery: DnsDiscovery) -> None:
    assert await discovery.look() == ()


@pytest.mark.parametrize("behaviour", ["SERVFAIL", "REFUSED", "silence", "nonsense"])
async def test_a_failure_is_not_an_answer(server: NameServer, discovery: DnsDiscovery, behaviour: str) -> None:
    server.behaviour["*"] = behaviour
    with pytest.raises(Unanswered, match="SRV"):
        await discovery.look()


async def test_a_server_that_is_gone_is_not_an_answer(server: NameServer, discovery: DnsDiscovery) -> None:
    server.transport.close()
    with pytest.raises(Unanswered):
        await discovery.look()


async def test_a_hung_server_blocks_neither_the_loop_nor_the_look(server: NameServer, discovery: DnsDiscovery) -> None:
    server.behaviour["*"] = "silence"
    look = asyncio.create_task(discovery.look())
    longest_stall = 0.0
    loop = asyncio.get_running_loop()
    started = before = loop.time()
    while not look.done():
        await asyncio.sleep(0.01)
        longest_stall = max(longest_stall, loop.time() - before - 0.01)
        before = loop.time()
    assert isinstance(look.exception(), Unanswered)
    assert loop.time() - started < 4
    assert longest_stall < 0.5


async def test_changed_answers_are_seen_at_once_whatever_their_time_to_live(
    server: NameServer, discovery: DnsDiscovery
) -> None:
    assert await discovery.look() == ()
    server.serve("raftq-0")
    assert [sighting.member for sighting in await discovery.look()] == ["raftq-0"]
    server.serve("raftq-0", "raftq-1", port=7500)
    assert {(sighting.member, sighting.port) for sighting in await discovery.look()} == {
        ("raftq-0", 7500),
        ("raftq-1", 7500),
    }


async def test_a_pod_beyond_the_expected_is_seen_and_strangers_are_not(
    server: NameServer, discovery: DnsDiscovery
) -> None:
    server.serve("raftq-0", "raftq-1", "raftq-2", "raftq-3", "debug", "10-244-0-4", "other-0")
    server.records[SRV, "SRV"] += [f"0 1 7400 raftq-4.elsewhere.{ZONE}", f"0 1 0 raftq-5.{ZONE}", "0 0 7400 ."]
    assert {sighting.member for sighting in await discovery.look()} == {*EXPECTED, "raftq-3"}


async def test_a_cancelled_look_leaves_nothing_behind(server: NameServer, discovery: DnsDiscovery) -> None:
    server.behaviour["*"] = "silence"
    look = asyncio.create_task(discovery.look())
    await server.was_asked.wait()
    look.cancel()
    with pytest.raises(asyncio.CancelledError):
        await look
    server.behaviour.clear()
    server.serve("raftq-0")
    assert [sighting.member for sighting in await discovery.look()] == ["raftq-0"]


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("search team.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\n", "cluster.local"),
        (
            "nameserver 10.0.0.1\nsearch team.svc.k8s.example.org svc.k8s.example.org k8s.example.org corp\n",
            "k8s.example.org",
        ),
        ("search\tteam.svc.one.test\tsvc.one.test\toptions\n", "one.test"),
        ("search old svc.old.test\nsearch team.svc.new.test svc.new.test.\n", "new.test"),
        ("search corp.example.org\n", "cluster.local"),
        ("# search svc.commented.out\n", "cluster.local"),
        ("", "cluster.local"),
    ],
)
def test_the_clusters_domain_stands_in_the_search_list(text: str, domain: str) -> None:
    assert cluster_domain(text) == domain


def test_the_domain_of_this_pod_is_read_or_assumed(tmp_path: Path) -> None:
    resolv_conf = tmp_path / "resolv.conf"
    assert local_cluster_domain(resolv_conf) == "cluster.local"
    resolv_conf.write_text("search team.svc.my.own svc.my.own my.own\n")
    assert local_cluster_domain(resolv_conf) == "my.own"
