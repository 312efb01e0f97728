"""`raftq bench`: its load, and what it makes of its arguments. The measurements themselves are run by people."""

import asyncio
import json
import socket

import pytest

from raftq_k8s.cli.bench import command, load
from raftq_k8s.cli.bench.load import LoadFailed, Request, Server, fill
from raftq_k8s.cli.bench.puts_and_gets import Row
from raftq_k8s.cli.commands import run

REQUESTS = [Request("PUT", f"/v1/data/key-{number}", f'"value {number}"') for number in range(50)]


class SmallServer:
    """Answers every request with one status, and keeps what it was asked."""

    def __init__(self, status: bytes = b"200 OK") -> None:
        self._status = status
        self.asked: list[tuple[str, str, bytes]] = []
        """Request line, Authorization, body."""

    async def __aenter__(self) -> Server:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return Server("127.0.0.1", self._server.sockets[0].getsockname()[1], "Bearer secret")

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := (await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b""):
            line, *lines = head.decode().split("\r\n")
            headers = dict(each.split(": ", 1) for each in lines if each)
            body = await reader.readexactly(int(headers.get("Content-Length", "0")))
            self.asked.append((line, headers.get("Authorization", ""), body))
            writer.write(b"HTTP/1.1 " + self._status + b"\r\nContent-Length: 2\r\n\r\n")
            await writer.drain()
            writer.write(b"{}")  # an answer may come in pieces
        writer.close()


async def test_a_fill_sends_every_request_once():
    server = SmallServer()
    async with server as address:
        await fill(address, REQUESTS)
    assert sorted(server.asked) == sorted(
        (f"PUT {request.path} HTTP/1.1", "Bearer secret", request.body.encode()) for request in REQUESTS
    )


async def test_a_fill_that_is_refused_says_so():
    async with SmallServer(b"401 Unauthorized") as address:
        with pytest.raises(LoadFailed, match="refused 50 of 50"):
            await fill(address, REQUESTS)


async def test_a_load_of_our_own_counts_what_is_answered_and_what_fails(monkeypatch):
    monkeypatch.setattr(load.shutil, "which", lambda _: None)
    async with SmallServer() as address:
        done = await load.load(address, REQUESTS, clients=4, seconds=0.1)
    assert done.per_second > 50
    assert 0 < done.p50_ms <= done.p99_ms
    assert done.failed == 0
    async with SmallServer(b"503 Service Unavailable") as address:
        assert (await load.load(address, REQUESTS, clients=4, seconds=0.1)).failed > 4


def test_nobody_to_ask_is_said_in_one_line_and_may_be_tried_again(capsys):
    assert run(["bench", "puts", "--server", "http://127.0.0.1:1"]) == 3
    said = "raftq: nobody to ask at 127.0.0.1:1: Connection refused (who is asked: --server URL)\n"
    assert capsys.readouterr() == ("", said)


def test_a_name_that_nobody_has_is_said_in_words(capsys, monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert run(["bench", "puts", "--server", "http://nobody:7480"]) == 3
    assert "nobody to ask at nobody:7480: Name or service not known (" in capsys.readouterr().err


async def test_a_cluster_that_refuses_is_an_answer(capsys):
    async with SmallServer(b"401 Unauthorized") as address:
        url = f"http://{address.host}:{address.port}"
        assert await asyncio.to_thread(run, ["bench", "puts", "--server", url]) == 1
    assert "refused 1000 of 1000 puts: if it asks for a token, name its file by --token-file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["deletes"], "deletes is not measured, only puts, gets, failover"),
        (["--clients", "1,many"], "numbers from 1 to 1000"),
        (["--clients", "0"], "numbers from 1 to 1000"),
        (["--beside", "zookeeper"], "etcd, pysyncobj, or all"),
        (["failover", "--server", "http://here:7480"], "leave out --server"),
        (["--server", "here:7480"], "is not http://HOST:PORT"),
        (["--server", "http://here:http"], "is not http://HOST:PORT"),
        (["--server", "http://he..re:7480"], "is not http://HOST:PORT"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_started(arguments, complaint, capsys):
    assert run(["bench", *arguments]) == 2
    assert complaint in capsys.readouterr().err


def test_a_running_cluster_is_asked_for_puts_and_gets_and_no_leader_of_it_is_killed():
    asked = command.asked((), "1", 1.0, 1, "all", "http://there:8080/", "secret")
    assert asked.measurements == ("puts", "gets")
    assert asked.server == Server("there", 8080, "Bearer secret")
    assert asked.beside == ()


def test_a_cluster_named_for_other_commands_is_not_loaded_unasked(monkeypatch):
    monkeypatch.setenv("RAFTQ_SERVER", "http://production:7480")
    monkeypatch.setattr(command, "run", lambda asked, as_json: 0 if asked.server is None else 9)
    assert run(["bench", "puts", "--beside", "none"]) == 0


async def test_each_kind_of_load_comes_out_as_a_row_and_as_json(capsys):
    server = SmallServer()
    async with server as address:
        asked = command.Asked(("puts",), (2,), 0.1, 1, (), address)
        code = await asyncio.to_thread(command.run, asked, True)
    row = json.loads(capsys.readouterr().out)["puts"][0]
    assert code == 0
    assert (row["server"], row["clients"]) == ("raftq", 2)
    command.show(command.Found(puts=[Row("raftq", 16, 1234, 1.5, 2.5, 0, "wrk")]), Server("there", 8080))
    shown = capsys.readouterr().out
    assert "asked at there:8080" in shown
    assert "1234" in shown
    assert "p99 ms" in shown
    assert not [line for line in shown.splitlines() if line != line.rstrip()]
