"""`raftq agent`: from the command line to an exit code.

0: it was asked to stop, and did. 1: a part of it failed, and the process that replaces it may do better. 2: it cannot
run as it is told to: a setting, a port, the volume; one line says which, and nothing was changed on disk.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Coroutine, Sequence
from typing import Any

import uvloop

from raftq_k8s.agent import limits, logs
from raftq_k8s.agent.anew import begin_again, carry_out, nothing
from raftq_k8s.agent.composition import Agent
from raftq_k8s.agent.listening import Door, check_free
from raftq_k8s.agent.settings import Plan, SettingsError, plan
from raftq_k8s.agent.sources import load
from raftq_k8s.storage.volume import NoRoom, VolumeUnusable, WriteFailed

CLOSING_S = 5.0
"""Less than a pod has left of its grace when it has handed over."""

_TO_STOP = 1
"""Of what `_run` waits for."""

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    try:
        planned = plan(load(arguments, os.environ))
        check_free(
            Door("peers", planned.settings.raft_host, planned.settings.raft_port),
            Door("HTTP", planned.settings.http_host, planned.settings.http_port),
        )
        limits.raise_open_files()
        ended = uvloop.run(_run(planned, CLOSING_S))
    except (SettingsError, VolumeUnusable) as error:
        return _cannot_run(error)
    if ended is None:
        begin_again()
    return ended


async def _run(planned: Plan, closing_s: float) -> int | None:
    """The exit code; `None`: this process begins anew. Where it does not come to its end, it is ended in here."""
    asked = _Asked()
    place = logs.begin(planned.name, planned.settings.log_format, planned.settings.log_level)
    for warning in planned.warnings:
        logger.warning(warning)
    agent = Agent(planned)
    code = await _live_and_leave(agent, place, asked)
    ending = _Ending(agent, asked, closing_s, 1 if code is None else code)
    await ending.of(agent.close())
    if code is None:
        await asyncio.to_thread(carry_out, agent.anew.work)
        code = 0 if asked.to_stop.is_set() else None
    await ending.of(asyncio.get_running_loop().shutdown_default_executor())
    if code == 0:
        logger.info("stopped")
    return code


async def _live_and_leave(agent: Agent, place: logs.Place, asked: "_Asked") -> int | None:
    """Returns when nothing of it is needed any more: the exit code, or `None` to begin anew."""
    try:
        if await _first(_live(agent, place), asked.to_stop.wait(), agent.anew.asked()) == _TO_STOP:
            await _first(agent.leave("asked by a signal"), asked.to_hurry.wait(), agent.failed())
            return 0
        logger.info("this process ends, and begins anew")
        await _first(agent.answered(), asked.to_stop.wait())
        return None
    except (SettingsError, VolumeUnusable) as error:
        return _cannot_run(error)
    except WriteFailed as error:
        logger.error("this agent cannot go on: %s", error)
        return 1
    except Exception:  # the process's own door: whatever failed, the next process begins anew
        logger.exception("this agent cannot go on")
        return 1


def _cannot_run(error: Exception) -> int:
    print(f"raftq agent: {error}", file=sys.stderr)
    return 2


async def _live(agent: Agent, place: logs.Place) -> None:
    await agent.start(place)
    try:
        await agent.failed()
    except NoRoom as error:  # no restart makes room; so it stays, and says why it takes no part
        logger.error("this agent takes no part until there is room: %s", error)
        await agent.room()
        agent.anew.begin(nothing)
        await agent.anew.asked()


async def _first(*work: Coroutine[Any, Any, Any]) -> int:
    """Which of them ended first; what it raised is raised here. The others are cancelled."""
    tasks = [asyncio.create_task(each) for each in work]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
    return min(tasks.index(task) for task in done)


class _Ending:
    """A disk that hangs must not keep the process: what was acknowledged is on it already, and a thread that waits for
    it can be neither cancelled nor joined. So what does not end in time, or before a signal comes once more, is left,
    and the process ended as it is."""

    def __init__(self, agent: Agent, asked: "_Asked", within_s: float, code: int) -> None:
        self._agent = agent
        self._asked = asked
        self._within_s = within_s
        self._code = code

    async def of(self, work: Coroutine[Any, Any, None]) -> None:
        self._asked.to_hurry.clear()
        ending = asyncio.create_task(work)
        hurry = asyncio.create_task(self._asked.to_hurry.wait())
        await asyncio.wait({ending, hurry}, timeout=self._within_s, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if ending.done():
            ending.result()
            return
        logger.error("this process ends without %s (what was acknowledged is kept)", self._agent.closing)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(self._code)


class _Asked:
    """What the signals of this process ask for."""

    def __init__(self) -> None:
        self.to_stop = asyncio.Event()
        self.to_hurry = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._ask)

    def _ask(self) -> None:
        (self.to_hurry if self.to_stop.is_set() else self.to_stop).set()
