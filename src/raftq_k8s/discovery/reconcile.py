"""From sightings to those who act on them: the transport's address book, and `ackNode` on the node's bus.

One task asks a source again and again: every second while somebody expected is not connected, every 15 s otherwise. It
only ever adds: a peer that a source no longer names, a negative answer, a failure, silence, all leave what is known as
it was, because no absence in a directory proves that a pod is gone. A sighting of a peer that is already known is
handed on too: whoever gets it compares.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping

from raftq_k8s.discovery.sighting import Sighting, Source, Unanswered
from raftq_k8s.raft.types import MemberId

INCOMPLETE_EVERY_S = 1.0
COMPLETE_EVERY_S = 15.0
DISPATCH_DEADLINE_S = 1.0

logger = logging.getLogger(__name__)


class Reconciliation:
    """Keeps the node told who is there. `run` never ends by itself and raises nothing but its cancellation."""

    def __init__(
        self,
        source: Source,
        *,
        member: MemberId,
        sighted: Callable[[MemberId, str, int], None],
        dispatch: Callable[[str, Mapping[str, object]], Awaitable[None]],
        complete: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`complete` tells whether every expected peer is connected now; clocks and sleep are in seconds."""
        self._source = source
        self._member = member
        self._sighted = sighted
        self._dispatch = dispatch
        self._complete = complete
        self._clock = clock
        self._wall_clock = wall_clock
        self._sleep = sleep
        self._last_look: float | None = None
        self._last_said = ""

    async def run(self) -> None:
        while True:
            try:
                if self._due():
                    await self._look()
            except Exception:  # whatever a source or a listener raises, discovery goes on
                logger.exception("a look for peers failed")
            await self._sleep(INCOMPLETE_EVERY_S)

    def _due(self) -> bool:
        if self._last_look is None or not self._complete():
            return True
        return self._clock() - self._last_look >= COMPLETE_EVERY_S

    async def _look(self) -> None:
        self._last_look = self._clock()
        try:
            sightings = await self._source.look()
        except Unanswered as failure:
            self._say(logging.WARNING, f"discovery has no answer, and goes on with what is known: {failure}")
            return
        peers = [sighting for sighting in sightings if sighting.member != self._member]
        names = ", ".join(sorted(peer.member for peer in peers))
        self._say(logging.INFO, f"discovery sees {names}" if names else "discovery sees nobody else yet")
        for peer in peers:
            self._sighted(peer.member, peer.host, peer.port)
        for peer in peers:
            await self._acknowledge(peer)

    async def _acknowledge(self, peer: Sighting) -> None:
        try:
            async with asyncio.timeout(DISPATCH_DEADLINE_S):
                await self._dispatch("ackNode", {"id": peer.member, "time": round(self._wall_clock() * 1000)})
        except TimeoutError:
            logger.warning("a listener of ackNode did not end within %s s", DISPATCH_DEADLINE_S)

    def _say(self, level: int, sentence: str) -> None:
        """Once, until there is something else to say."""
        if sentence != self._last_said:
            self._last_said = sentence
            logger.log(level, sentence)
