"""Does the event loop turn in time?

Heartbeats, votes and answers all wait for it. A leader whose loop stands still for an election time is replaced, so a
stall of a quarter of that is worth a line and a count: it is a warning before the loss. A timer knows when it is due
and sees when it fires; what lies between is the lag that everything else on the loop had as well. It is due as seldom
as will do, for it wakes an idle process: a stall of twice that length is never missed. Whether the thread was at work
meanwhile tells a turn that was too long from a process that was frozen, throttled or starved.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from raftq_k8s.node.distribution import Distribution
from raftq_k8s.raft.types import Milliseconds

_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_LOG_EVERY_S = 10.0

log = logging.getLogger(__name__)


class StallDetector:
    def __init__(
        self,
        minimum_election: Milliseconds,
        *,
        clock: Callable[[], float] = time.monotonic,
        at_work: Callable[[], float] = time.thread_time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """The clocks are in seconds; `at_work` is the processor time of the loop's thread."""
        self._stall_s = minimum_election / 4 / 1000.0
        self._clock = clock
        self._at_work = at_work
        self._sleep = sleep
        self._silent_until = 0.0
        self._unsaid = 0
        self.lag = Distribution(_BOUNDS_S)
        self.stalls = 0
        """How often the loop stood still for over a quarter of the minimum election time."""

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            due, worked_s = self._clock() + self._stall_s, self._at_work()
            await self._sleep(self._stall_s)
            now = self._clock()
            self._fired(max(0.0, now - due), self._at_work() - worked_s, now)

    def _fired(self, late_s: float, worked_s: float, now: float) -> None:
        self.lag.observe(late_s)
        if late_s <= self._stall_s:
            return
        self.stalls += 1
        if now < self._silent_until:
            self._unsaid += 1
            return
        cause = "too much was done in one turn" if worked_s > late_s / 2 else "it was frozen, throttled or starved"
        more = f"; {self._unsaid} more since the last such line" if self._unsaid else ""
        log.warning(
            "this process stood still for %.0f ms, %.0f ms of them at work: %s%s",
            late_s * 1000,
            worked_s * 1000,
            cause,
            more,
        )
        self._silent_until, self._unsaid = now + _LOG_EVERY_S, 0
