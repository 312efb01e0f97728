"""`raftq demo`: agents on this machine, a client that writes, and a leader that is killed again and again.

What happens is told to an audience as it happens: the live view on a terminal, plain lines in a pipe, nobody when one
JSON object is wanted. What is counted, and how, is `writer.py`'s.
"""

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from statistics import median
from typing import NamedTuple, Protocol

from raftq_k8s.cli.at_most_once import Unanswered, Unsent
from raftq_k8s.cli.local_cluster import ClusterFailed, LocalAgent, LocalCluster
from raftq_k8s.cli.writer import Ledger, audit, first_accepted, write_on
from raftq_k8s.node.status import NodeStatus

_WRITERS = 4
_PAUSE_S = 0.01
"""Of each writer after an accepted put: enough load to lose something, and calm enough for a laptop."""
_REPLACED_WITHIN_S = 15.0
_LOOK_EVERY_S = 0.1
_STRIP_EVERY_S = 0.125
_STRIP_LENGTH = 64


class Kill(NamedTuple):
    victim: str
    term: int
    successor: str
    failover_s: float


class Scene:
    """What is to be seen at one moment."""

    def __init__(self, cluster: LocalCluster, kills_wanted: int) -> None:
        self.cluster = cluster
        self.kills_wanted = kills_wanted
        self.began = time.monotonic()
        self.ledger = Ledger()
        self.seen: dict[str, NodeStatus | None] = {}
        self.kills: list[Kill] = []
        self.doing = "starting the agents"
        self.rates: deque[float] = deque(maxlen=_STRIP_LENGTH)
        """Acknowledged puts a second, in short slices of time, since the first."""

    async def keep_looking(self) -> None:
        while True:
            for agent in self.cluster.agents:
                self.seen[agent.name] = await agent.status() if agent.running else None
            await asyncio.sleep(_LOOK_EVERY_S)

    async def keep_counting(self) -> None:
        before, then = 0, time.monotonic()
        while True:
            await asyncio.sleep(_STRIP_EVERY_S)
            count, now = len(self.ledger.acknowledged), time.monotonic()
            if count:
                self.rates.append((count - before) / (now - then))
            before, then = count, now


class Report(NamedTuple):
    nodes: int
    kills: int
    failover_seconds: list[float]
    acknowledged: int
    lost: int
    duplicates: int

    @property
    def sound(self) -> bool:
        return not self.lost and not self.duplicates

    def sentences(self) -> list[str]:
        said = [f"{self.lost} lost · {self.duplicates} applied twice · {self.acknowledged:,} puts acknowledged"]
        if self.failover_seconds:
            slowest = max(self.failover_seconds)
            said.append(f"failover median {median(self.failover_seconds):.2f} s, slowest {slowest:.2f} s")
        return said


class Audience(Protocol):
    """Whoever is told. A context manager: on the way out the members still run, so that a last look shows them."""

    def __enter__(self) -> object: ...
    def __exit__(self, *_: object) -> None: ...
    def show(self, scene: Scene) -> None:
        """Before anything happens: this is what to look at from now on."""

    def tell(self, line: str) -> None: ...
    def conclude(self, report: Report) -> None: ...

    settle_s: float
    """How long to leave a healthy cluster alone before the next kill."""


class PlainLines:
    settle_s = 0.3

    def __enter__(self) -> "PlainLines":
        return self

    def __exit__(self, *_: object) -> None: ...

    def show(self, scene: Scene) -> None: ...

    def tell(self, line: str) -> None:
        print(line, flush=True)

    def conclude(self, report: Report) -> None:
        print(*report.sentences(), sep="\n", flush=True)


class OneObject(PlainLines):
    def tell(self, line: str) -> None: ...

    def conclude(self, report: Report) -> None:
        print(json.dumps(report._asdict()), flush=True)


def run(kills: int, nodes: int, as_json: bool) -> int:
    """The exit code."""
    try:
        report = asyncio.run(_interruptible(_audience(as_json), kills, nodes))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("raftq demo: interrupted; all agents are stopped", file=sys.stderr)
        return 130
    except (ClusterFailed, Unsent, Unanswered) as failure:
        print(f"raftq demo: {failure}", file=sys.stderr)
        return 1
    return 0 if report.sound else 1


def _audience(as_json: bool) -> Audience:
    if as_json:
        return OneObject()
    if not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        return PlainLines()
    from raftq_k8s.cli.demo_view import LiveView

    return LiveView()


async def _interruptible(audience: Audience, kills: int, nodes: int) -> Report:
    this = asyncio.current_task()
    assert this is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    with tempfile.TemporaryDirectory(prefix="raftq-demo-") as folder:
        async with LocalCluster(Path(folder), nodes) as cluster:
            scene = Scene(cluster, kills)
            with audience:
                audience.show(scene)
                return await _play(scene, audience)


async def _play(scene: Scene, audience: Audience) -> Report:
    looking = [asyncio.create_task(scene.keep_looking())]
    writing = [asyncio.create_task(scene.keep_counting())]
    try:
        leader = await scene.cluster.leader()
        await scene.cluster.all_ready()
        names = ", ".join(agent.name for agent in scene.cluster.agents)
        audience.tell(f"{names} are up; {leader.name} leads")
        writing += [
            asyncio.create_task(write_on(scene.cluster.agents, scene.ledger, first, _PAUSE_S))
            for first in range(_WRITERS)
        ]
        for _ in range(scene.kills_wanted):
            scene.doing = "writing"
            await asyncio.sleep(audience.settle_s)
            await _kill_the_leader(scene, audience)
        scene.doing = "writing"
        await asyncio.sleep(audience.settle_s)
        await _end(writing)
        scene.doing = "asking every member for every acknowledged put"
        report = await _reckoning(scene)
        scene.doing = "done"
        audience.conclude(report)
        return report
    finally:
        await _end(writing + looking)


async def _kill_the_leader(scene: Scene, audience: Audience) -> None:
    victim = await scene.cluster.leader()
    seen = await victim.status()
    others = [agent for agent in scene.cluster.agents if agent is not victim]
    scene.doing = f"{victim.name} killed"
    killed = time.monotonic()
    await scene.cluster.kill(victim)
    successor = await first_accepted(others, scene.ledger, _REPLACED_WITHIN_S)
    failover_s = time.monotonic() - killed
    if successor is None:
        raise ClusterFailed(
            f"{victim.name} was killed and no put accepted for {_REPLACED_WITHIN_S:g} s\n{scene.cluster.logs()}"
        )
    leader = await scene.cluster.leader()
    kill = Kill(victim.name, seen.term if seen else 0, leader.name, round(failover_s, 3))
    scene.kills.append(kill)
    audience.tell(
        f"{len(scene.kills):3d}  {kill.victim} killed in term {kill.term}: "
        f"{kill.successor} leads, next put accepted after {failover_s:.3f} s"
    )
    scene.doing = f"{victim.name} comes back"
    scene.cluster.start(victim)
    await scene.cluster.all_ready()


async def _reckoning(scene: Scene) -> Report:
    await scene.cluster.until(lambda: _converged(scene.cluster.agents), "all members to have applied the same", 15.0)
    findings = await audit(scene.cluster.agents, scene.ledger)
    return Report(
        nodes=len(scene.cluster.agents),
        kills=len(scene.kills),
        failover_seconds=[kill.failover_s for kill in scene.kills],
        acknowledged=len(scene.ledger.acknowledged),
        lost=len(findings.lost),
        duplicates=len(findings.duplicates),
    )


async def _converged(agents: tuple[LocalAgent, ...]) -> bool:
    seen = await asyncio.gather(*(agent.status() for agent in agents))
    indices = {index for one in seen if one for index in (one.commit_index, one.applied_index)}
    return None not in seen and len(indices) == 1


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel them; what one of them failed with before is raised here."""
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome
