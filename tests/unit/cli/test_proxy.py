"""The proxy over real sockets: who is forwarded to, and what becomes of sessions when the leader changes."""

import asyncio

import pytest

from raftq_k8s.cli.proxy import Address, Proxy, parse_listen


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
async def proxy():
    proxy = Proxy(wait_s=5.0)
    proxy.server = await proxy.serve(Address("127.0.0.1", 0))
    yield proxy
    proxy.server.close()
    await proxy.close()


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
