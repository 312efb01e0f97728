"""What signals do to an agent, whatever it is about: parts that only note what is done to them."""

import asyncio
import logging
import os
import signal
import threading
from types import SimpleNamespace

import pytest

from raftq_k8s.agent import main
from raftq_k8s.agent.anew import Anew


class NotingAgent:
    def __init__(self):
        self.log = []
        self.anew = Anew()
        self.answering = asyncio.Event()
        self.leaving = asyncio.Event()
        self.closed = asyncio.Event()
        self.closed.set()
        self.closing = "its volume"

    async def steps(self):
        while True:
            yield
            await asyncio.sleep(0.005)

    async def start(self, place):
        self.log.append("start")

    async def failed(self):
        await asyncio.Event().wait()

    async def answered(self):
        self.log.append("answered")
        await self.answering.wait()

    async def leave(self, reason):
        self.log.append("leave")
        await self.leaving.wait()

    async def close(self):
        self.log.append("close")
        await self.closed.wait()


class Exited(Exception):
    """The process ended, as it was."""


def exit_as_it_is(code):
    raise Exited(code)


@pytest.fixture
async def run(monkeypatch):
    """Begins an agent; returns it, and what it ends with."""
    monkeypatch.setattr(main.logs, "begin", lambda *_: None)
    monkeypatch.setattr(main.os, "_exit", exit_as_it_is)

    def run(closing_s=60.0):
        agent = NotingAgent()
        monkeypatch.setattr(main, "Agent", lambda plan: agent)
        settings = SimpleNamespace(log_format="plain", log_level="info")
        plan = SimpleNamespace(name="raftq-0", settings=settings, warnings=())
        return agent, asyncio.create_task(main._run(plan, closing_s))

    yield run
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().remove_signal_handler(number)


async def done(agent, *steps):
    async with asyncio.timeout(5):
        async for _ in agent.steps():
            if agent.log[: len(steps)] == list(steps):
                return


async def test_asked_to_stop_it_leaves_and_ends_with_0(run):
    agent, ended = run()
    await done(agent, "start")
    agent.leaving.set()
    os.kill(os.getpid(), signal.SIGTERM)
    assert await ended == 0
    assert agent.log == ["start", "leave", "close"]


async def test_asked_twice_it_hurries(run):
    agent, ended = run()
    await done(agent, "start")
    os.kill(os.getpid(), signal.SIGTERM)
    await done(agent, "start", "leave")
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(5):
        assert await ended == 0
    assert agent.log == ["start", "leave", "close"]


async def test_what_is_begun_anew_is_done_once_all_has_ended(run):
    agent, ended = run()
    await done(agent, "start")
    agent.anew.begin(lambda: agent.log.append("work"))
    agent.answering.set()
    assert await ended is None
    assert agent.log == ["start", "answered", "close", "work"]


@pytest.mark.parametrize("when", ["answering", "at work"])
async def test_asked_to_stop_while_it_begins_anew_it_does_its_work_and_ends(run, when):
    agent, ended = run()
    await done(agent, "start")
    loop = asyncio.get_running_loop()

    def work():
        agent.log.append("work")
        if when == "at work":
            os.kill(os.getpid(), signal.SIGTERM)
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0.05), loop).result()  # the loop hears of it

    agent.anew.begin(work)
    await done(agent, "start", "answered")
    if when == "answering":
        os.kill(os.getpid(), signal.SIGTERM)
    else:
        agent.answering.set()
    assert await ended == 0
    assert agent.log == ["start", "answered", "close", "work"]


async def test_work_that_fails_is_said_and_the_process_begins_anew_all_the_same(run, caplog):
    agent, ended = run()
    await done(agent, "start")
    agent.anew.begin(lambda: 1 / 0)
    agent.answering.set()
    with caplog.at_level(logging.ERROR):
        assert await ended is None
    assert "the volume is left as it was" in caplog.text


async def exits(ended):
    """The code with which the process ended as it was."""
    async with asyncio.timeout(5):
        with pytest.raises(Exited) as exited:
            await ended
    return exited.value.args[0]


async def test_a_disk_that_hangs_keeps_it_no_longer_than_it_may_and_one_line_says_what_did_not_end(run, caplog):
    agent, ended = run(closing_s=0.0)
    await done(agent, "start")
    agent.closed.clear()
    agent.leaving.set()
    os.kill(os.getpid(), signal.SIGTERM)
    with caplog.at_level(logging.ERROR):
        assert await exits(ended) == 0
    assert caplog.messages == ["this process ends without its volume (what was acknowledged is kept)"]


async def test_asked_once_more_while_it_closes_it_does_not_wait_for_it(run):
    agent, ended = run()
    await done(agent, "start")
    agent.closed.clear()
    os.kill(os.getpid(), signal.SIGTERM)
    await done(agent, "start", "leave")
    os.kill(os.getpid(), signal.SIGTERM)
    await done(agent, "start", "leave", "close")
    assert not ended.done()  # it hurries, and has a while to close all the same
    os.kill(os.getpid(), signal.SIGTERM)
    assert await exits(ended) == 0


async def test_what_hangs_after_a_failure_does_not_make_it_a_good_end(run, monkeypatch):
    agent, ended = run(closing_s=0.0)
    await done(agent, "start")
    agent.closed.clear()
    monkeypatch.setattr(agent, "leave", lambda _: fail())
    os.kill(os.getpid(), signal.SIGTERM)
    assert await exits(ended) == 1


async def fail():
    raise OSError("a part of it failed")


async def test_nothing_is_done_to_a_volume_that_is_not_closed(run):
    agent, ended = run(closing_s=0.0)
    await done(agent, "start")
    agent.closed.clear()
    agent.answering.set()
    agent.anew.begin(lambda: agent.log.append("work"))
    assert await exits(ended) == 1
    assert agent.log == ["start", "answered", "close"]


async def test_a_thread_that_hangs_does_not_keep_it_either(run):
    agent, ended = run(closing_s=0.05)
    await done(agent, "start")
    goes_on = threading.Event()
    asyncio.get_running_loop().run_in_executor(None, goes_on.wait)
    agent.leaving.set()
    os.kill(os.getpid(), signal.SIGTERM)
    try:
        assert await exits(ended) == 0
    finally:
        goes_on.set()
