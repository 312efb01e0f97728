"""Who is let in on the raft port: certificates and shared secrets over real sockets on loopback."""

import asyncio
import contextlib
import logging
import socket

import aiohttp
import aiohttp.web
import pytest
import uvloop
from test_websocket_transport import KEY, UPGRADE, A, B, Node, forward, reset, until

from raftq_k8s.cli.certificates import issue, the_authority
from raftq_k8s.raft.types import MemberId
from raftq_k8s.transport import listener
from raftq_k8s.transport.certificates import Zone
from raftq_k8s.transport.files import Unusable
from raftq_k8s.transport.secret import Secret
from raftq_k8s.transport.tls import Tls, TlsFiles
from raftq_k8s.transport.websocket import WebsocketTransport


class Certificates:
    """What `raftq certs` makes, in one folder."""

    def __init__(self, folder):
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.authority = the_authority(folder)

    def issue(self, member, *names, days=1.0):
        folder = issue(self.authority, self.folder / member, names or [member], days)
        return TlsFiles(folder / "tls.crt", folder / "tls.key", folder / "ca.crt")

    def tls(self, member, *names):
        return Tls(self.issue(member, *names), MemberId(member), Zone())


@pytest.fixture
def certificates(tmp_path):
    return Certificates(tmp_path / "certificates")


@contextlib.asynccontextmanager
async def started():
    """Starts nodes whose ports are guarded like that."""
    made = []

    async def start(member, **guard):
        node = Node(member)
        node.transport = WebsocketTransport(member, "127.0.0.1", 0, **guard)
        made.append(await node.start())
        return node

    yield start
    for node in made:
        await node.transport.close()
        assert node.failures == []


@pytest.fixture
async def start():
    async with started() as start:
        yield start


def secret(tmp_path, text, name="secret"):
    path = tmp_path / name
    path.write_text(text)
    return Secret(path)


async def meet(a, b):
    a.knows(b)
    b.knows(a)
    await until(lambda: a.connected(b) and b.connected(a), "the two to be connected")


async def talk(a, b, ticket=1):
    a.transport.send(b.identity.member, [forward(a.identity.member, b.identity.member, ticket)])
    await until(lambda: any(message.ticket == ticket for message in b.received), "the message to arrive")


async def refused(stranger, member, kind, by="listener"):
    """`stranger` dials, and whoever looks closer counts it."""
    stranger.knows(member)
    counted = member if by == "listener" else stranger
    await until(lambda: counted.transport.bad_frames[kind] >= 2, f"it to be refused as {kind}")
    assert not stranger.connected(member)
    assert not member.connected(stranger)
    assert stranger.identity.member not in {hello.identity.member for hello in member.greetings}


async def test_members_with_certificates_of_one_authority_talk(start, certificates):
    a, b = await start(A, tls=certificates.tls(A)), await start(B, tls=certificates.tls(B))
    await meet(a, b)
    await talk(a, b)
    await talk(b, a)


async def test_what_members_say_over_tls_is_not_there_to_be_read(start, certificates):
    a, b = await start(A, tls=certificates.tls(A)), await start(B, tls=certificates.tls(B))
    heard = bytearray()

    async def eavesdrop(reader, writer):
        onwards = await asyncio.open_connection("127.0.0.1", b.transport.port)

        async def pass_on(source, sink):
            while data := await source.read(65536):
                heard.extend(data)
                sink.write(data)
            sink.close()

        with contextlib.suppress(OSError):
            await asyncio.gather(pass_on(reader, onwards[1]), pass_on(onwards[0], writer))

    async with await asyncio.start_server(eavesdrop, "127.0.0.1", 0) as server:
        a.transport.sighted(B, "127.0.0.1", server.sockets[0].getsockname()[1])
        await until(lambda: a.connected(b) and b.connected(a), "the two to be connected")
        await talk(a, b)
        assert heard
        assert A.encode() not in heard
        await a.transport.close()


async def test_whoever_shows_no_certificate_is_refused_and_counted(start, certificates, caplog):
    b = await start(B, tls=certificates.tls(B))
    with caplog.at_level(logging.WARNING):
        await refused(await start(A), b, "tls-plain")
    assert len([line for line in caplog.messages if "(tls-plain)" in line]) == 1  # counted often, said once
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as session:
        with pytest.raises((aiohttp.ClientError, OSError)):
            await session.ws_connect(f"wss://127.0.0.1:{b.transport.port}/raft")
    await until(lambda: b.transport.bad_frames["tls-no-certificate"], "it to be counted")


async def test_a_certificate_of_another_authority_is_refused(start, certificates, tmp_path):
    others = Certificates(tmp_path / "others")
    b = await start(B, tls=certificates.tls(B))
    await refused(await start(A, tls=others.tls(A)), b, "tls-dialled", by="dialler")
    trusting = TlsFiles(*others.issue(A)[:2], certificates.folder / "ca.crt")
    with pytest.raises(Unusable, match=r"is not what a peer with .* accepts"):
        Tls(trusting, A, Zone())


async def test_a_member_that_says_another_name_than_its_certificates_is_refused(start, certificates):
    b = await start(B, tls=certificates.tls(B))
    c = Tls(certificates.issue("raftq-c"), MemberId("raftq-c"), Zone())
    pretender = await start(A, tls=c)
    await refused(pretender, b, "tls-name")
    [(by, refusal)] = {(by.member, refusal.reason) for by, refusal in pretender.refusals}
    assert (by, refusal) == (B, f"your certificate does not speak for {A}")


async def test_a_listener_that_says_another_name_than_its_certificates_is_refused(start, certificates):
    pretender = await start(B, tls=Tls(certificates.issue("raftq-c"), MemberId("raftq-c"), Zone()))
    a = await start(A, tls=certificates.tls(A))
    a.knows(pretender)
    await until(lambda: a.transport.bad_frames["tls-name"] >= 1, "it to be refused")
    assert not a.connected(pretender)


async def test_replaced_certificates_serve_from_the_next_handshake_on(start, certificates, tmp_path):
    a, b = await start(A, tls=certificates.tls(A)), await start(B, tls=certificates.tls(B))
    await meet(a, b)
    newer = Certificates(tmp_path / "newer")
    for member in (A, B):
        replacement = newer.issue(member)
        for there, here in zip(TlsFiles(*certificates.issue(member)), replacement, strict=True):
            here.replace(there)
    await talk(a, b)  # what is open stays open
    c = await start(MemberId("raftq-c"), tls=newer.tls("raftq-c"))
    await meet(c, a)
    await talk(c, a)
    former = await start(MemberId("raftq-d"), tls=certificates.tls("raftq-d"))
    await refused(former, b, "tls-dialled", by="dialler")


async def test_certificates_that_do_not_fit_together_are_not_taken(start, certificates, caplog):
    files = certificates.issue(B)
    b = await start(B, tls=Tls(files, B, Zone()))
    with caplog.at_level(logging.ERROR):
        files.certificate.write_text("half of one")
        a = await start(A, tls=certificates.tls(A))
        await meet(a, b)
        c = await start(MemberId("raftq-c"), tls=certificates.tls("raftq-c"))
        await meet(c, b)
    assert len([line for line in caplog.messages if "those before go on" in line]) == 1
    files.key.unlink()
    d = await start(MemberId("raftq-d"), tls=certificates.tls("raftq-d"))
    await meet(d, b)


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda files: files.certificate.unlink(), "tls.crt cannot be read: No such file"),
        (lambda files: files.authority.write_text(""), "ca.crt holds no certificates of an authority"),
        (lambda files: files.key.write_text("no key"), "are no certificate with its key"),
    ],
)
def test_unusable_files_are_named(certificates, spoil, complaint):
    files = certificates.issue(A)
    spoil(files)
    with pytest.raises(Unusable, match=complaint):
        Tls(files, A, Zone())


def test_a_certificate_must_speak_for_the_member_itself_and_be_valid(certificates):
    with pytest.raises(Unusable, match="does not speak for raftq-a"):
        Tls(certificates.issue(A, "raftq-b"), A, Zone())
    with pytest.raises(Unusable, match="certificate has expired"):
        Tls(certificates.issue(A, days=-0.001), A, Zone())


def test_the_end_of_a_certificate_is_known(certificates):
    ends = certificates.tls(A).expires_at
    again = certificates.issue(A, days=2.0)
    assert Tls(again, A, Zone()).expires_at - ends == pytest.approx(86400, abs=60)


async def crowd_at_the_handshake(start, certificates):
    a, b = await start(A, tls=certificates.tls(A)), await start(B, tls=certificates.tls(B))
    crowd = [await asyncio.open_connection("127.0.0.1", a.transport.port) for _ in range(listener.MAX_STRANGERS + 3)]
    await until(lambda: a.transport.bad_frames == {"crowded": 3}, "the first three to be sent off")
    for reader, _ in crowd[:3]:
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
    b.knows(a)
    await until(lambda: a.connected(b) and b.connected(a), "the two to be connected")
    await talk(b, a)
    await talk(a, b)
    for _, writer in crowd:
        writer.close()


async def silence_at_the_handshake(start, certificates):
    a = await start(A, tls=certificates.tls(A))
    reader, writer = await asyncio.open_connection("127.0.0.1", a.transport.port)
    assert await reader.read() == b""
    assert a.transport.bad_frames["no-hello"] + a.transport.bad_frames["tls-handshake"] >= 1
    writer.close()


async def test_a_crowd_at_the_handshake_is_bounded_and_keeps_no_peer_out(start, certificates):
    await crowd_at_the_handshake(start, certificates)


async def test_silence_instead_of_a_handshake_is_cut_off(start, certificates, monkeypatch):
    monkeypatch.setattr(listener, "GREETING_S", 0.2)
    await silence_at_the_handshake(start, certificates)


async def haste_at_the_handshake(start, certificates):
    a = await start(A, tls=certificates.tls(A))
    for number in range(1, 11):
        with socket.create_connection(("127.0.0.1", a.transport.port)) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n")  # it is there before the connection was taken in
            await until(lambda: a.transport.bad_frames == {"tls-plain": number}, "it to be read")  # noqa: B023


async def test_what_is_said_at_once_is_heard_by_the_handshake(start, certificates):
    await haste_at_the_handshake(start, certificates)


@pytest.mark.parametrize("scenario", [crowd_at_the_handshake, silence_at_the_handshake, haste_at_the_handshake])
def test_so_it_is_on_uvloop(certificates, monkeypatch, scenario):
    async def run():
        async with started() as start:
            await scenario(start, certificates)

    if scenario is silence_at_the_handshake:
        monkeypatch.setattr(listener, "GREETING_S", 0.2)
    uvloop.run(run())


async def test_members_with_one_secret_talk(start, tmp_path):
    a, b = [await start(member, secret=secret(tmp_path, "0123456789abcdef\n")) for member in (A, B)]
    await meet(a, b)
    await talk(a, b)


async def test_a_secret_and_certificates_may_be_asked_for_together(start, certificates, tmp_path):
    shared = secret(tmp_path, "0123456789abcdef")
    a, b = [await start(member, secret=shared, tls=certificates.tls(member)) for member in (A, B)]
    await meet(a, b)
    await talk(a, b)


@pytest.mark.parametrize("shown", [None, "another-secret-01"])
async def test_whoever_does_not_know_the_secret_is_refused_and_counted_on_both_sides(start, tmp_path, shown):
    b = await start(B, secret=secret(tmp_path, "0123456789abcdef"))
    guard = {"secret": secret(tmp_path, shown, "other")} if shown else {}
    stranger = await start(A, **guard)
    await refused(stranger, b, "secret")
    assert stranger.transport.bad_frames["secret"] >= 1


async def test_a_listener_without_the_secret_is_not_talked_to(start, tmp_path):
    b = await start(B)
    await refused(await start(A, secret=secret(tmp_path, "0123456789abcdef")), b, "secret", by="dialler")


async def test_a_proof_serves_once_and_one_side_only(start, tmp_path):
    """Whoever sends a listener's own proof back, or one that he saw before, proves nothing."""
    b = await start(B, secret=secret(tmp_path, "0123456789abcdef"))
    seen = []
    async with aiohttp.ClientSession() as session:
        for answer in (
            lambda proof: proof[32:],
            lambda proof: seen[0][32:],
            lambda proof: b"",
            lambda proof: bytes(32),
        ):
            headers = {"Raftq-Challenge": "00" * 32}
            async with session.ws_connect(f"ws://127.0.0.1:{b.transport.port}/raft", headers=headers) as websocket:
                seen.append(await websocket.receive_bytes())
                await websocket.send_bytes(answer(seen[-1]))
                assert (await websocket.receive()).data == 4001
    assert len(set(seen)) == 4
    await until(lambda: b.transport.bad_frames["secret"] == 4, "all to be counted")
    assert b.greetings == []


async def test_a_listener_that_repeats_a_proof_is_not_talked_to(start, tmp_path):
    shared = secret(tmp_path, "0123456789abcdef")
    b = await start(B, secret=shared)
    async with aiohttp.ClientSession() as session:
        headers = {"Raftq-Challenge": "00" * 32}
        async with session.ws_connect(f"ws://127.0.0.1:{b.transport.port}/raft", headers=headers) as websocket:
            proof = await websocket.receive_bytes()

    async def repeat(request):
        websocket = aiohttp.web.WebSocketResponse()
        await websocket.prepare(request)
        await websocket.send_bytes(proof)
        answers.append((await websocket.receive()).type)
        return websocket

    answers = []
    runner = aiohttp.web.ServerRunner(aiohttp.web.Server(repeat))
    await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    a = await start(A, secret=shared)
    a.transport.sighted(B, "127.0.0.1", site._server.sockets[0].getsockname()[1])
    await until(lambda: a.transport.bad_frames["secret"] and answers, "it to be counted")
    assert aiohttp.WSMsgType.BINARY not in answers  # nothing was proven to it
    await runner.cleanup()


async def test_a_secret_is_replaced_without_a_restart(start, tmp_path):
    """First it is accepted by all, then shown."""
    b = await start(B, secret=secret(tmp_path, "0123456789abcdef", "b"))
    (tmp_path / "b").write_text("0123456789abcdef\nfedcba9876543210\n")
    for member, shown in ((A, "0123456789abcdef"), (MemberId("raftq-c"), "fedcba9876543210\n0123456789abcdef")):
        other = await start(member, secret=secret(tmp_path, shown, member))
        await meet(other, b)
        await talk(other, b)
    (tmp_path / "b").write_text("")
    d = await start(MemberId("raftq-d"), secret=secret(tmp_path, "0123456789abcdef", "d"))
    await meet(d, b)


@pytest.mark.parametrize(("text", "complaint"), [("\n \n", "holds no secret"), ("short", "less than 16 characters")])
def test_a_secret_that_is_none_is_refused(tmp_path, text, complaint):
    with pytest.raises(Unusable, match=complaint):
        secret(tmp_path, text)


def test_who_is_gone_before_he_proves_anything_ends_no_node(tmp_path):
    async def scenario():
        async with started() as start:
            a = await start(A, secret=secret(tmp_path, "what all of them know"))
            for _ in range(20):
                with socket.create_connection(("127.0.0.1", a.transport.port)) as sock:
                    sock.sendall(UPGRADE + KEY + b"\r\nRaftq-Challenge: " + b"0" * 64 + b"\r\n\r\n")
                    await asyncio.get_running_loop().run_in_executor(None, sock.recv, 1)
                    reset(sock)
            await until(lambda: a.transport.bad_frames["secret"] == 20, "all of them counted")

    asyncio.run(scenario())
    uvloop.run(scenario())


async def test_an_error_while_somebody_proves_himself_is_said_and_ends_no_node(start, tmp_path, monkeypatch, caplog):
    shared = secret(tmp_path, "what all of them know")
    a, b = await start(A, secret=shared), await start(B, secret=shared)
    with monkeypatch.context() as broken:
        broken.setattr(Secret, "prove", lambda *_: 1 / 0)
        a.knows(b)
        await until(lambda: b.transport.bad_frames["failed"] > 1, "said, and tried again")
    assert "proving to 127.0.0.1 failed" in caplog.messages
    await meet(a, b)


async def test_an_error_in_a_handshake_is_said_and_ends_no_node(start, certificates, monkeypatch, caplog):
    a, b = await start(A, tls=certificates.tls(A)), await start(B, tls=certificates.tls(B))
    with monkeypatch.context() as broken:
        broken.setattr(listener.Caller, "connection_made", lambda *_: 1 / 0)
        a.knows(b)
        await until(lambda: "a handshake failed" in caplog.messages, "it to be said")
    await meet(a, b)
