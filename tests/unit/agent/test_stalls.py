"""The detector of stalls on a clock of its own."""

import asyncio
import logging

import pytest

from raftq_k8s.agent.stalls import StallDetector

QUARTER_S = 0.0625
"""Of the fast profile's minimum election time."""


class Time:
    """Each sleep takes as long as it was asked for, and as much longer as `late` says."""

    def __init__(self, *late):
        self.now = 100.0
        self.worked = 0.0
        self.late = list(late)

    async def sleep(self, seconds):
        if not self.late:
            raise asyncio.CancelledError
        late, worked = self.late.pop(0)
        self.now += seconds + late
        self.worked += worked


async def watched(*late):
    """`late`: by how much, and how much of it at work, in seconds."""
    time = Time(*late)
    detector = StallDetector(250, clock=lambda: time.now, at_work=lambda: time.worked, sleep=time.sleep)
    with pytest.raises(asyncio.CancelledError):
        await detector.run()
    return detector


async def test_a_loop_that_turns_in_time_has_no_stalls_but_a_lag():
    detector = await watched((0.0, 0.0), (0.002, 0.0), (QUARTER_S, 0.0))
    assert detector.stalls == 0
    assert list(detector.lag.cumulated())[-1] == (float("inf"), 3)
    assert detector.lag.total == pytest.approx(0.0645)


async def test_a_stall_is_counted_and_its_cause_is_told(caplog):
    with caplog.at_level(logging.WARNING):
        assert (await watched((0.5, 0.01))).stalls == 1
        assert (await watched((0.5, 0.49))).stalls == 1
    frozen, busy = caplog.messages
    assert "stood still for 500 ms, 10 ms of them at work: it was frozen" in frozen
    assert "too much was done in one turn" in busy


async def test_many_stalls_are_counted_each_and_told_seldom(caplog):
    with caplog.at_level(logging.WARNING):
        assert (await watched(*[(0.5, 0.0)] * 30)).stalls == 30
    assert len(caplog.messages) == 2
    assert "17 more since the last such line" in caplog.messages[1]
