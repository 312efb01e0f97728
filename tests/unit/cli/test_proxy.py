"""The proxy over real sockets: who is forwarded to, and what becomes of sessions when the leader changes."""

import asyncio

import pytest

from raftq_k8s.cli.proxy import (
    Address,
    Closed,
    Leads,
    Listening,
    Opened,
    Proxy,
    Unheard,
    follow,
    parse_listen,
    print_json,
    say,
)
from raftq_k8s.client import Unreachable


class Leader:
    """Says its name, then whatever it hears once more, until its client has said all."""

    def __init__(self, name):
        self.name = name
        self.sessions = 0

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.address = Address(*self.server.sockets[0].getsockname()[:2])
        return self

    async def __aexit__(self, *_):
        self.server.close()

    async def serve(self, reader, writer):
        self.sessions += 1
        writer.write(self.name)
        while heard := await reader.read(1024):
            writer.write(heard)
        writer.write(b"bye")
        writer.close()


@pytest.fixture
async def leaders():
    async with Leader(b"a") as a, Leader(b"b") as b:
        yield a, b


@pytest.fixture
async def proxy(events):
    proxy = Proxy(wait_s=5.0, tell=events.append)
    proxy.server = await proxy.serve(Address("127.0.0.1", 0))
    yield proxy
    proxy.server.close()
    await proxy.close()


@pytest.fixture
def events():
    return []


async def call(proxy):
    async with asyncio.timeout(10):
        return await asyncio.open_connection(*proxy.server.sockets[0].getsockname()[:2])


async def ends(reader):
    async with asyncio.timeout(10):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


async def test_what_is_said_goes_to_the_leader_and_back_and_a_half_closed_session_is_answered(proxy, leaders):
    await proxy.lead(leaders[0].address)
    reader, writer = await call(proxy)
    writer.write(b"x" * 300_000)
    writer.write_eof()
    assert await ends(reader) == b"a" + b"x" * 300_000 + b"bye"


async def test_sessions_end_when_another_one_leads_and_new_ones_go_there(proxy, leaders):
    a, b = leaders
    await proxy.lead(a.address)
    old, _ = await call(proxy)
    assert await old.readexactly(1) == b"a"
    await proxy.lead(b.address)
    assert await ends(old) == b""
    new, _ = await call(proxy)
    assert await new.readexactly(1) == b"b"


async def test_sessions_stay_when_the_same_one_goes_on_leading(proxy, leaders):
    await proxy.lead(leaders[0].address)
    reader, writer = await call(proxy)
    await reader.readexactly(1)
    await proxy.lead(leaders[0].address)
    writer.write(b"still")
    assert await reader.readexactly(5) == b"still"


async def test_a_session_waits_for_a_leader(proxy, leaders):
    reader, _ = await call(proxy)
    await asyncio.sleep(0.02)
    await proxy.lead(leaders[0].address)
    async with asyncio.timeout(10):
        assert await reader.readexactly(1) == b"a"


async def test_a_session_that_finds_its_leader_gone_waits_for_the_next(proxy, leaders):
    a, b = leaders
    a.server.close()
    await proxy.lead(a.address)
    reader, _ = await call(proxy)
    await asyncio.sleep(0.02)
    await proxy.lead(b.address)
    async with asyncio.timeout(10):
        assert await reader.readexactly(1) == b"b"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("[::1]:80", ("::1", 80)),
        (":80", ("", 80)),
        ("host:1", ("host", 1)),
    ],
)
def test_where_it_listens_is_host_and_port(text, address):
    assert parse_listen(text) == address


@pytest.mark.parametrize("text", ["80", "host:", "host:x", "host:65536", "::1:80", ""])
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        parse_listen(text)


async def test_a_session_waits_no_longer_than_it_may():
    proxy = Proxy(wait_s=0.05)
    proxy.server = await proxy.serve(Address("127.0.0.1", 0))
    reader, _ = await call(proxy)
    assert await ends(reader) == b""
    proxy.server.close()


async def test_who_leads_and_how_many_sessions_there_are_is_told(proxy, leaders, events):
    a, b = leaders
    await proxy.lead(a.address)
    sessions = [await call(proxy) for _ in range(2)]
    for reader, _ in sessions:
        await reader.readexactly(1)
    assert events == [Leads(*a.address, ended=0), Opened(1), Opened(2)]
    events.clear()
    await proxy.lead(b.address)
    for reader, _ in sessions:
        await ends(reader)
    assert events == [Leads(*b.address, ended=2), Closed(1), Closed(0)]


class Mute:
    """A client of agents that do not say who leads."""

    async def watch_leader(self):
        raise Unreachable("nobody answers")
        yield


async def test_that_it_is_not_heard_who_leads_is_told(proxy):
    told = asyncio.Queue()
    proxy.tell = told.put_nowait
    following = asyncio.create_task(follow(proxy, Mute(), 80))
    async with asyncio.timeout(10):
        assert await told.get() == Unheard("nobody answers")
    following.cancel()


def test_an_event_is_a_line_of_json_to_a_program_and_a_line_of_the_log_to_people(capsys, caplog):
    caplog.set_level("INFO")
    for event in (
        Listening("127.0.0.1", 5432, 7480),
        Leads("10.0.0.2", 7480, ended=0),
        Leads("10.0.0.1", 7480, ended=3),
        Unheard("no"),
        Opened(1),
        Closed(0),
    ):
        print_json(event)
        say(event)
    assert capsys.readouterr().out.splitlines() == [
        '{"event":"listening","host":"127.0.0.1","port":5432,"to_port":7480}',
        '{"event":"leads","host":"10.0.0.2","port":7480,"ended":0}',
        '{"event":"leads","host":"10.0.0.1","port":7480,"ended":3}',
        '{"event":"unheard","reason":"no"}',
        '{"event":"opened","sessions":1}',
        '{"event":"closed","sessions":0}',
    ]
    assert caplog.messages == [
        "127.0.0.1:5432 is forwarded to port 7480 of whoever leads",
        "10.0.0.2:7480 leads",
        "10.0.0.1:7480 leads; ending 3 sessions with the one before",
        "whoever leads now is not heard of: no",
    ]
