import asyncio
import socket
from collections.abc import Iterator

import dns.message
import dns.rcode
import dns.rrset
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import AsyncResolver

from raftq_k8s.raft.types import MemberId
from raftq_k8s.transport import addresses
from raftq_k8s.transport.addresses import Address, AddressBook, UncachedResolver, look_up

PEER = MemberId("raftq-1")


class Names(AbstractResolver):
    def __init__(self, answers: list[str] | OSError) -> None:
        self.answers = answers

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        if isinstance(self.answers, OSError):
            raise self.answers
        return [
            ResolveResult(hostname=host, host=ip, port=port, family=family, proto=0, flags=0) for ip in self.answers
        ]

    async def close(self) -> None: ...


def test_a_member_that_is_away_is_not_in_the_book() -> None:
    book = AddressBook()
    book.sighted(PEER, "raftq-1.raftq", 7400)
    assert book.members() == [PEER]
    book.away(PEER)
    book.away(PEER)
    assert book.members() == []
    assert book.sighting(PEER) is None


def test_the_last_good_address_is_forgotten_when_another_answers_there() -> None:
    book = AddressBook()
    book.answered(PEER, Address("10.0.0.1", 7400))
    book.answered_by_another(PEER, Address("10.0.0.2", 7400))
    assert book.last_good(PEER) == Address("10.0.0.1", 7400)
    book.answered_by_another(PEER, Address("10.0.0.1", 7400))
    assert book.last_good(PEER) is None


async def test_an_address_needs_no_look_up() -> None:
    for host in ("10.0.0.1", "fd00::1"):
        assert await look_up(Address(host, 7400), Names(OSError())) == [Address(host, 7400)]


async def test_a_name_gives_each_of_its_addresses_once_and_few_of_them() -> None:
    answers = ["10.0.0.1", "10.0.0.1", *(f"10.0.1.{last}" for last in range(9))]
    found = await look_up(Address("raftq-1.raftq", 7400), Names(answers))
    assert found[:2] == [Address("10.0.0.1", 7400), Address("10.0.1.0", 7400)]
    assert len(found) == addresses.MAX_ANSWERS


async def test_a_failed_look_up_finds_nobody() -> None:
    assert await look_up(Address("raftq-1.raftq", 7400), Names(OSError("no such name"))) == []


class Nameserver(asyncio.DatagramProtocol):
    """Answers each question about an IPv4 address with the next of its answers, to be kept for a minute."""

    def __init__(self, answers: Iterator[str | None]) -> None:
        self._answers = answers

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        question = dns.message.from_wire(data)
        response = dns.message.make_response(question)
        asked = question.question[0]
        if asked.rdtype == dns.rdatatype.A:
            if (answer := next(self._answers)) is None:
                response.set_rcode(dns.rcode.NXDOMAIN)
            else:
                response.answer.append(dns.rrset.from_text(asked.name, 60, "IN", "A", answer))
        self._transport.sendto(response.to_wire(), addr)


async def test_no_answer_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[str | None] = ["10.0.0.1", None, "10.0.0.2"]
    loop = asyncio.get_running_loop()
    transport, nameserver = await loop.create_datagram_endpoint(
        lambda: Nameserver(iter(answers)), local_addr=("127.0.0.1", 0)
    )
    servers = [f"127.0.0.1:{nameserver.port}"]
    monkeypatch.setattr(addresses, "AsyncResolver", lambda **options: AsyncResolver(nameservers=servers, **options))
    resolver = UncachedResolver()
    heard = [await look_up(Address("raftq-1.raftq.default.svc.", 7400), resolver) for _ in answers]
    transport.close()
    assert heard == [[Address("10.0.0.1", 7400)], [], [Address("10.0.0.2", 7400)]]
