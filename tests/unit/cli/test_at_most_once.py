"""A request that may have arrived is never sent again by the client itself."""

import asyncio
import contextlib

import pytest

from raftq_k8s.cli.at_most_once import Connection, Unanswered, Unsent

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nETag: "7"\r\n\r\nhi'


class Server:
    """Answers the n-th request with the n-th of its answers; `None` closes the connection instead."""

    def __init__(self, *answers):
        self.requests = []
        self._answers = list(answers)

    async def serve(self, reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
                self.requests.append((head.split("\r\n")[0], await reader.readexactly(length)))
                answer = self._answers.pop(0)
                if answer is None:
                    break
                writer.write(answer)
        writer.close()


@pytest.fixture
async def connection_to():
    async with contextlib.AsyncExitStack() as stack:

        async def connect(server):
            listening = await stack.enter_async_context(await asyncio.start_server(server.serve, "127.0.0.1", 0))
            connection = Connection("127.0.0.1", listening.sockets[0].getsockname()[1])
            stack.callback(connection.close)
            return connection

        yield connect


async def test_an_answer_has_its_status_its_headers_and_its_body(connection_to):
    server = Server(OK)
    connection = await connection_to(server)
    answer = await connection.request("PUT", "/v1/data/a", b"1")
    assert (answer.status, answer.headers["etag"], answer.body) == (200, '"7"', b"hi")
    assert server.requests == [("PUT /v1/data/a HTTP/1.1", b"1")]


async def test_a_put_whose_connection_breaks_is_unanswered_and_not_repeated(connection_to):
    server = Server(OK, None, OK)
    connection = await connection_to(server)
    await connection.request("PUT", "/a", b"1")
    with pytest.raises(Unanswered):
        await connection.request("PUT", "/a", b"2")
    assert [body for _, body in server.requests] == [b"1", b"2"]
    assert (await connection.request("PUT", "/a", b"3")).status == 200


async def test_half_an_answer_is_none(connection_to):
    connection = await connection_to(Server(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi"))
    with pytest.raises(Unanswered):
        await connection.request("GET", "/a", timeout_s=0.05)


async def test_what_found_no_connection_did_not_leave():
    with pytest.raises(Unsent):
        await Connection("127.0.0.1", 1).request("GET", "/a")


async def test_requests_take_turns_on_one_connection(connection_to):
    connection = await connection_to(Server(OK, OK, OK))
    answers = await asyncio.gather(*(connection.request("GET", "/a") for _ in range(3)))
    assert [answer.status for answer in answers] == [200, 200, 200]
