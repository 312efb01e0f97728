"""An HTTP face on loopback before a node that commits at once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import ClientSession
from node_of_one import AgentOfOne, NodeOfOne

from raftq_k8s.api.server import HttpFace

Exchange = Callable[[bytes], Awaitable[bytes]]


@pytest.fixture
async def node() -> NodeOfOne:
    return NodeOfOne()


@pytest.fixture
async def agent() -> AgentOfOne:
    return AgentOfOne()


@pytest.fixture
async def face(node: NodeOfOne, agent: AgentOfOne) -> AsyncIterator[HttpFace]:
    face = HttpFace(
        node, "127.0.0.1", 0, version="9.9.9", body_limit_bytes=1 << 16, operations=agent, application=agent
    )
    await face.start()
    yield face
    await face.close()


@pytest.fixture
async def http(face: HttpFace) -> AsyncIterator[ClientSession]:
    async with ClientSession(f"http://127.0.0.1:{face.port}") as session:
        yield session


@pytest.fixture
async def exchange(face: HttpFace) -> Exchange:
    """Sends these bytes on a connection of their own and reads until the server closes it."""

    async def sent(request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", face.port)
        try:
            writer.write(request)
            async with asyncio.timeout(10):
                return await reader.read()
        finally:
            writer.close()

    return sent
