"""One request to one server, sent at most once, and what is known when no answer came.

aiohttp sends a PUT or DELETE again, unasked, when a kept-alive connection breaks under it. The first may have taken
effect, and another client's write may have followed: repeating is a decision of whoever knows what the request means
(`repeating.py`). So a broken connection leaves this file under a name of its own, which aiohttp does not know.
"""

import errno
import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import aiohttp
from yarl import URL

from raftq_k8s.client.errors import ClientError
from raftq_k8s.sockets import to_dial

CONNECT_S = 2.0
_KEPT_ALIVE_S = 30.0
"""Shorter than servers keep an idle connection: few requests meet one that is just being closed."""

_LONGEST_LINE = 4 << 20


class Unsent(Exception):
    """There was no connection: the request did not leave."""


class Unanswered(Exception):
    """The request left, or part of it, and no whole answer came: what became of it is not known."""


class Request(NamedTuple):
    method: str
    path: str
    """Percent-encoded, from `/v1` on."""
    query: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    body: bytes | None = None


class Answer(NamedTuple):
    server: str
    status: int
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes


class TokenUnreadable(ClientError):
    """The file that holds the bearer token cannot be read."""


class Token:
    """A bearer token, or the file whose first line it is, which is read again for each request."""

    def __init__(self, source: str | Path | None) -> None:
        """Raises `ValueError` for a text that is no token."""
        self._source = source.strip() if isinstance(source, str) else source
        if isinstance(self._source, str) and not _is_token(self._source):
            raise ValueError("this is no token: one has letters, digits and the like, and no space")

    def headers(self) -> dict[str, str]:
        """Raises `TokenUnreadable`."""
        if self._source is None:
            return {}
        if isinstance(self._source, str):
            return {"Authorization": f"Bearer {self._source}"}
        try:
            tokens = self._source.read_text().split()
        except OSError as error:
            raise TokenUnreadable(f"the token file {self._source} cannot be read: {error.strerror or error}") from None
        except UnicodeDecodeError as error:
            raise TokenUnreadable(f"the token file {self._source} cannot be read: {error}") from None
        if not tokens or not _is_token(tokens[0]):
            raise TokenUnreadable(f"the token file {self._source} holds no token")
        return {"Authorization": f"Bearer {tokens[0]}"}


class Exchange:
    """To be made inside the event loop that uses it."""

    def __init__(self, token: Token) -> None:
        self._token = token
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(keepalive_timeout=_KEPT_ALIVE_S, limit=0, socket_factory=to_dial),
            headers={"User-Agent": "raftq-client"},
            middlewares=(_at_most_once,),
            read_bufsize=_LONGEST_LINE,
        )

    async def __aenter__(self) -> "Exchange":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.close()

    async def once(self, server: str, request: Request, patience_s: float) -> Answer:
        """Raises `Unsent` or `Unanswered`."""
        async with self.opened(server, request, aiohttp.ClientTimeout(total=patience_s)) as response:
            try:
                body = await response.read()
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                raise Unanswered(_complaint(server, error)) from error
            return Answer(server, response.status, _lowered(response.headers), body)

    async def stream(self, server: str, request: Request, silence_s: float) -> AsyncGenerator[bytes | Answer, None]:
        """The head of the answer, with no body where it is 200; then the body, in pieces, until the server ends it.

        Raises `Unsent`, and `Unanswered` when it breaks off or is silent for so long.
        """
        async with self.opened(server, request, aiohttp.ClientTimeout(sock_read=silence_s)) as response:
            try:
                body = b"" if response.status == 200 else await response.read()
                yield Answer(server, response.status, _lowered(response.headers), body)
                async for piece in response.content.iter_any():
                    yield piece
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                raise Unanswered(_complaint(server, error)) from error

    @asynccontextmanager
    async def opened(
        self, server: str, request: Request, patience: aiohttp.ClientTimeout
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer's head has come. Raises `Unsent` or `Unanswered`."""
        url = URL(server + request.path, encoded=True)
        sent = self._http.request(
            request.method,
            url.update_query(request.query) if request.query else url,
            data=request.body,
            headers={**_content(request), **request.headers, **self._token.headers()},
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(
                total=patience.total, sock_read=patience.sock_read, sock_connect=CONNECT_S, connect=CONNECT_S
            ),
        )
        try:
            response = await sent
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            raise Unsent(f"{server} is no address of a server") from error
        except TimeoutError as error:
            raise Unanswered(f"{server} did not answer in time") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unanswered(_complaint(server, error)) from error
        async with response:
            yield response


async def _at_most_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    try:
        return await handler(request)
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        raise Unsent(_complaint(str(request.url.origin()), error)) from error
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise Unanswered(_complaint(str(request.url.origin()), error)) from error


def _is_token(text: str) -> bool:
    return text != "" and all("!" <= letter <= "~" for letter in text)


def _content(request: Request) -> dict[str, str]:
    return {} if request.body is None else {"Content-Type": "application/json"}


def _lowered(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _complaint(server: str, error: BaseException) -> str:
    """In the words of the system where it has any."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return f"{server}: there is no such host"
        case aiohttp.ConnectionTimeoutError():
            return f"{server}: no connection in time"
        case TimeoutError():
            return f"{server} did not answer in time"
        case aiohttp.ClientConnectorCertificateError():
            return f"{server}: its certificate is not to be trusted: {error.certificate_error}"
        case aiohttp.ClientConnectorSSLError():  # its number is one of the TLS library, and no errno
            return f"{server} does not speak TLS: is it http://?"
        case OSError(errno=int() as number) if number in errno.errorcode:
            return f"{server}: {os.strerror(number).lower()}"
        case aiohttp.ServerDisconnectedError():
            return f"{server} closed the connection before it answered"
        case _:
            return f"{server}: {error or type(error).__name__}"
