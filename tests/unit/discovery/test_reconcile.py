"""When a source is asked, and what its answers lead to: on a clock that the test turns."""

import asyncio
import logging
from collections.abc import Mapping, Sequence

import pytest

from raftq_k8s.discovery import reconcile
from raftq_k8s.discovery.reconcile import Reconciliation
from raftq_k8s.discovery.sighting import Sighting, Unanswered
from raftq_k8s.discovery.static import StaticDiscovery
from raftq_k8s.raft.types import MemberId

A, B, C = (MemberId(f"raftq-{ordinal}") for ordinal in range(3))
ALL = [Sighting(member, f"{member}.test.", 7400) for member in (A, B, C)]


class Stage:
    """A reconciliation of member `raftq-0`, its source, and everything it tells."""

    def __init__(self) -> None:
        self.now = 0.0
        self.end = 0.0
        self.answer: Sequence[Sighting] | Exception = ALL
        self.looks: list[float] = []
        self.complete = False
        self.sighted: list[tuple[str, str, int]] = []
        self.events: list[tuple[str, Mapping[str, object]]] = []
        self.listener_hangs = False
        self.reconciliation = Reconciliation(
            self,
            member=A,
            sighted=lambda member, host, port: self.sighted.append((member, host, port)),
            dispatch=self._dispatch,
            complete=lambda: self.complete,
            clock=lambda: self.now,
            wall_clock=lambda: 1_700_000_000.0 + self.now,
            sleep=self._sleep,
        )

    async def look(self) -> Sequence[Sighting]:
        self.looks.append(self.now)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def _dispatch(self, kind: str, message: Mapping[str, object]) -> None:
        self.events.append((kind, message))
        if self.listener_hangs:
            await asyncio.Event().wait()

    async def _sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.now >= self.end:
            raise asyncio.CancelledError

    async def run(self, seconds: float) -> None:
        self.looks.clear()
        self.sighted.clear()
        self.events.clear()
        self.end = self.now + seconds
        with pytest.raises(asyncio.CancelledError):
            await self.reconciliation.run()


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def test_every_sighted_peer_reaches_the_address_book_and_the_bus(stage: Stage) -> None:
    await stage.run(1)
    assert stage.sighted == [(B, "raftq-1.test.", 7400), (C, "raftq-2.test.", 7400)]
    assert stage.events == [
        ("ackNode", {"id": B, "time": 1_700_000_000_000}),
        ("ackNode", {"id": C, "time": 1_700_000_000_000}),
    ]


async def test_it_asks_every_second_while_somebody_is_missing(stage: Stage) -> None:
    await stage.run(5)
    assert stage.looks == [0, 1, 2, 3, 4]


async def test_it_asks_every_fifteen_seconds_when_all_are_connected(stage: Stage) -> None:
    stage.complete = True
    await stage.run(46)
    assert stage.looks == [0, 15, 30, 45]


async def test_a_lost_connection_is_noticed_within_a_second(stage: Stage) -> None:
    stage.complete = True
    await stage.run(5)
    stage.complete = False
    await stage.run(2)
    assert stage.looks == [5, 6]


@pytest.mark.parametrize("answer", [(), Unanswered("SERVFAIL"), RuntimeError("a fault of the source")])
async def test_no_answer_takes_nobody_away_and_the_next_one_counts(
    stage: Stage, answer: Sequence[Sighting] | Exception
) -> None:
    stage.answer = answer
    await stage.run(3)
    assert stage.looks == [0, 1, 2]
    assert stage.sighted == []
    assert stage.events == []
    stage.answer = ALL
    await stage.run(1)
    assert [member for member, _, _ in stage.sighted] == [B, C]


async def test_a_hanging_listener_holds_up_neither_the_address_book_nor_the_next_look(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "DISPATCH_DEADLINE_S", 0.0)
    stage.listener_hangs = True
    await stage.run(2)
    assert stage.looks == [0, 1]
    assert [message["id"] for _, message in stage.events] == [B, C, B, C]


async def test_the_same_finding_is_logged_once(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="raftq_k8s.discovery")
    stage.answer = Unanswered("SRV: SERVFAIL")
    await stage.run(5)
    stage.answer = ALL
    await stage.run(5)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "SERVFAIL" in caplog.messages[0]
    assert caplog.messages[1] == "discovery sees raftq-1, raftq-2"


async def test_given_peers_are_seen_each_time() -> None:
    discovery = StaticDiscovery({A: ("127.0.0.1", 7400), B: ("127.0.0.1", 7401)})
    expected = (Sighting(A, "127.0.0.1", 7400), Sighting(B, "127.0.0.1", 7401))
    assert await discovery.look() == expected
    assert await discovery.look() == expected
