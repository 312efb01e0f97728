import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from raftq_k8s.transport.addresses import Address
from raftq_k8s.transport.dialling import LONGEST_DELAY_S, Backoff, Race

OLD, NEW, OTHER = Address("10.0.0.1", 7400), Address("10.0.0.2", 7400), Address("10.0.0.3", 7400)


class Network:
    """Who answers where. An address without an answer swallows whatever is sent there."""

    def __init__(self, names: list[list[Address]], answers: dict[Address, str | None]) -> None:
        self.names = names
        self.answers = answers
        self.knocked: list[Address] = []
        self.given_up: list[Address] = []
        self.turned_away: list[str] = []

    async def look_up(self) -> list[Address]:
        return self.names.pop(0)

    async def knock(self, address: Address) -> str | None:
        self.knocked.append(address)
        if address in self.answers:
            return self.answers[address]
        try:
            return await asyncio.Future()
        except asyncio.CancelledError:
            self.given_up.append(address)
            raise

    async def dial(
        self, last_good: Address | None, sighting: asyncio.Event | None = None
    ) -> tuple[str, Address] | None:
        tasks: list[asyncio.Task[Any]] = []

        def spawn(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
            tasks.append(asyncio.create_task(work))
            return tasks[-1]

        race = Race(self.look_up, self.knock, self.turned_away.append, spawn)
        try:
            async with asyncio.timeout(5):
                return await race.run(last_good, sighting or asyncio.Event())
        finally:
            async with asyncio.timeout(5):
                await asyncio.wait(tasks)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_the_fresh_answer_wins_where_the_last_good_address_swallows_everything() -> None:
    network = Network([[NEW]], {NEW: "raftq-1"})
    assert await network.dial(OLD) == ("raftq-1", NEW)
    assert network.given_up == [OLD]


async def test_the_last_good_address_is_dialled_though_the_name_is_gone() -> None:
    network = Network([[]], {OLD: "raftq-1"})
    assert await network.dial(OLD) == ("raftq-1", OLD)


async def test_the_last_good_address_is_not_dialled_twice() -> None:
    network = Network([[OLD, NEW]], {NEW: "raftq-1"})
    await network.dial(OLD)
    assert network.knocked == [OLD, NEW]


async def test_nobody_answers() -> None:
    network = Network([[NEW]], {OLD: None, NEW: None})
    assert await network.dial(OLD) is None
    assert await Network([[]], {}).dial(None) is None


async def test_the_second_to_answer_at_the_same_moment_is_turned_away() -> None:
    network = Network([[NEW, OTHER]], {NEW: "raftq-1 here", OTHER: "raftq-1 there"})
    won = await network.dial(None)
    assert won is not None
    assert {won[0], *network.turned_away} == {"raftq-1 here", "raftq-1 there"}


async def test_a_sighting_during_a_dial_asks_for_the_address_again() -> None:
    network = Network([[OLD], [NEW]], {NEW: "raftq-1"})
    sighting = asyncio.Event()
    dial = asyncio.create_task(network.dial(None, sighting))
    await until(lambda: network.knocked)
    sighting.set()
    assert await dial == ("raftq-1", NEW)


async def test_a_dial_that_is_called_off_leaves_nothing_behind() -> None:
    network = Network([[NEW]], {})
    dial = asyncio.create_task(network.dial(OLD))
    await until(lambda: len(network.knocked) == 2)
    dial.cancel()
    await asyncio.wait([dial])
    assert dial.cancelled()
    assert set(network.given_up) == {OLD, NEW}


def test_the_first_delay_is_none_and_the_others_grow_up_to_a_bound() -> None:
    backoff = Backoff()
    delays = [backoff.next_delay() for _ in range(30)]
    assert delays[0] == 0.0
    assert 0.025 <= delays[1] <= 0.05
    assert all(LONGEST_DELAY_S / 2 <= delay <= LONGEST_DELAY_S for delay in delays[8:])
    backoff.reset()
    assert backoff.next_delay() == 0.0
