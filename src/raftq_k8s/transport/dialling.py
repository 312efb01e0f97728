"""How a peer is dialled: every address that may be its own side by side, the first that answers in its name wins.

What "answers" means is the caller's affair (a websocket and a hello with the right name); here is the race, and how
long to wait before the next one.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any, Generic, Protocol, TypeVar

from raftq_k8s.transport.addresses import Address

FIRST_DELAY_S = 0.05
LONGEST_DELAY_S = 2.0

T = TypeVar("T")


class Spawn(Protocol):
    """Makes a task that its owner keeps and, in the end, waits for."""

    def __call__(self, work: Coroutine[Any, Any, T], /) -> asyncio.Task[T]: ...


class Backoff:
    """At once, then after 50 ms, then twice as long each time up to 2 s; jittered, so that a pair does not keep
    meeting."""

    def __init__(self) -> None:
        self._failures = 0

    def next_delay(self) -> float:
        failures, self._failures = self._failures, self._failures + 1
        if not failures:
            return 0.0
        delay = min(FIRST_DELAY_S * 2.0 ** min(failures - 1, 10), LONGEST_DELAY_S)
        return delay * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        self._failures = 0


class Race(Generic[T]):
    """One dial. The last good address is tried at once; whatever `look_up` finds joins in, and so does what a new
    look-up finds when the peer is sighted meanwhile: an old address may swallow a dial without a word.

    A `knock` that is cancelled cleans up after itself; one that answered too late is handed to `turn_away`.
    """

    def __init__(
        self,
        look_up: Callable[[], Coroutine[Any, Any, list[Address]]],
        knock: Callable[[Address], Coroutine[Any, Any, T | None]],
        turn_away: Callable[[T], None],
        spawn: Spawn,
    ) -> None:
        self._look_up = look_up
        self._knock = knock
        self._turn_away = turn_away
        self._spawn = spawn
        self._knocks: dict[asyncio.Task[T | None], Address] = {}

    async def run(self, last_good: Address | None, sighting: asyncio.Event) -> tuple[T, Address] | None:
        """The first that answered, or `None` when nobody did."""
        self._try([last_good] if last_good else [])
        looking: asyncio.Task[list[Address]] | None = self._spawn(self._look_up())
        sighted = self._spawn(sighting.wait())
        try:
            while looking or self._knocks:
                running: set[asyncio.Task[Any]] = {sighted, *self._knocks, *([looking] if looking else [])}
                await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                if winner := self._first_answer():
                    return winner
                if looking and looking.done():
                    self._try(looking.result())
                    looking = None
                if sighted.done():
                    sighting.clear()
                    sighted = self._spawn(sighting.wait())
                    looking = looking or self._spawn(self._look_up())
            return None
        finally:
            sighted.cancel()
            if looking:
                looking.cancel()
            self._end_losers()

    def _try(self, addresses: list[Address]) -> None:
        for address in addresses:
            if address not in self._knocks.values():
                self._knocks[self._spawn(self._knock(address))] = address

    def _first_answer(self) -> tuple[T, Address] | None:
        """Takes the knocks that ended out of the race, up to the first that was answered."""
        for knock in [knock for knock in self._knocks if knock.done()]:
            address = self._knocks.pop(knock)
            if (answer := knock.result()) is not None:
                return answer, address
        return None

    def _end_losers(self) -> None:
        for knock in self._knocks:
            if not knock.done():
                knock.cancel()
            elif (answer := knock.result()) is not None:
                self._turn_away(answer)
