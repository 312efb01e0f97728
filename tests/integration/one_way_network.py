"""A network between agents on loopback whose every direction can be cut on its own.

Each member dials each other one through a port of its own here, so that it is known who speaks to whom. What is sent
into a cut direction waits, the end of a connection included, as packets do that the kernel sends again; the other
direction goes on. When the cut is healed it arrives late, or the connections of the two are reset, as after a time-out.
"""

import asyncio
import contextlib
import socket
from collections import defaultdict
from typing import NamedTuple

from raftq_k8s.cli.local_cluster import HOST

_CHUNK_BYTES = 1 << 16


class Direction(NamedTuple):
    sender: str
    receiver: str


class _Road(NamedTuple):
    dialling: str
    dialled: str
    begins: socket.socket
    leads_to: int


class OneWayNetwork:
    """Hand `way` to `LocalCluster`, and use this as an asynchronous context manager around it."""

    def __init__(self) -> None:
        self._roads: list[_Road] = []
        self._servers: list[asyncio.Server] = []
        self._open: defaultdict[Direction, asyncio.Event] = defaultdict(_set)
        self._between: defaultdict[frozenset[str], set[asyncio.Task[None]]] = defaultdict(set)

    def way(self, dialling: str, dialled: str, port: int) -> int:
        begins = socket.create_server((HOST, 0))
        self._roads.append(_Road(dialling, dialled, begins, port))
        return begins.getsockname()[1]

    async def __aenter__(self) -> "OneWayNetwork":
        for road in self._roads:
            self._servers.append(await asyncio.start_server(self._accept(road), sock=road.begins))
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers:
            server.close()
        connections = [each for tasks in self._between.values() for each in tasks]
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    def cut(self, direction: Direction) -> None:
        self._open[direction].clear()

    def heal(self, direction: Direction, *, reset: bool) -> None:
        """With `reset`, what waited is lost together with its connection; without, it arrives now."""
        if reset:
            for connection in self._between[frozenset(direction)]:
                connection.cancel()
        self._open[direction].set()

    def _accept(self, road: _Road):
        async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            this = asyncio.current_task()
            among = self._between[frozenset((road.dialling, road.dialled))]
            among.add(this)
            try:
                await self._serve(road, reader, writer)
            except asyncio.CancelledError:
                pass  # reset
            finally:
                among.discard(this)
                writer.transport.abort()

        return accepted

    async def _serve(self, road: _Road, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(HOST, road.leads_to)
        except OSError:
            return
        there, back = Direction(road.dialling, road.dialled), Direction(road.dialled, road.dialling)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._carry(there, reader, far_writer))
                both.create_task(self._carry(back, far_reader, writer))
        except* OSError:
            pass
        finally:
            far_writer.transport.abort()

    async def _carry(self, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passable = self._open[direction]
        while True:
            chunk = await reader.read(_CHUNK_BYTES)
            await passable.wait()
            if not chunk:
                break
            writer.write(chunk)
            await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()


def _set() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event
