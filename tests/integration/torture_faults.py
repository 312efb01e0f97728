"""What is done to a cluster under torture: each fault has an end, and leaves behind what it will be mended from."""

import asyncio
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

from one_way_network import Direction, OneWayNetwork

from raftq_k8s.cli.at_most_once import Unanswered, Unsent
from raftq_k8s.cli.local_cluster import ClusterFailed, LocalAgent, LocalCluster

_SILENT_S = 10.5
"""A lost volume is replaced by an empty one after its member was silent for ten seconds."""
_RECOVERS_WITHIN_S = 60.0
_VOLUME_BYTES = 96 << 20


class Disks:
    """Small file systems for the volumes, where this process may mount some."""

    def __init__(self, agents: Sequence[LocalAgent]) -> None:
        self._agents = agents
        self._mounted: list[Path] = []

    def __enter__(self) -> "Disks":
        for agent in self._agents:
            agent.data.mkdir()
            if _mount(agent.data):
                self._mounted.append(agent.data)
        return self

    def __exit__(self, *_: object) -> None:
        for folder in self._mounted:
            subprocess.run(["umount", "--lazy", str(folder)], capture_output=True)

    @property
    def can_fill(self) -> bool:
        return len(self._mounted) == len(self._agents)

    def fill(self, agent: LocalAgent) -> None:
        """To the last byte."""
        with suppress(OSError), _ballast(agent).open("ab", buffering=0) as ballast:
            for size in (1 << 20, 4096, 1):
                with suppress(OSError):
                    while True:
                        ballast.write(b"\0" * size)

    def empty(self, agent: LocalAgent) -> None:
        _ballast(agent).unlink(missing_ok=True)


def _mount(folder: Path) -> bool:
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    command = ["mount", "-t", "tmpfs", "-o", f"size={_VOLUME_BYTES}", "raftq-torture", str(folder)]
    return subprocess.run(command, capture_output=True).returncode == 0


def _ballast(agent: LocalAgent) -> Path:
    return agent.data / "ballast"


class Scene:
    """A cluster, and who is ill right now."""

    def __init__(
        self,
        cluster: LocalCluster,
        network: OneWayNetwork,
        disks: Disks,
        chance: random.Random,
        tell: Callable[[str], None],
    ) -> None:
        self.cluster = cluster
        self.network = network
        self.disks = disks
        self.chance = chance
        self.tell = tell
        self._ill: set[str] = set()
        self._replacing = asyncio.Lock()

    async def strike(self, fault: "Fault") -> None:
        """Do it to a leader or to anybody, and see that whoever it hit comes back."""
        leader = await self._leader_in_most_cases()
        well = [agent for agent in self.cluster.agents if agent.name not in self._ill]
        victim = leader if leader in well else self.chance.choice(well)
        self._ill.add(victim.name)
        try:
            self.tell(f"{fault.__name__.replace('_', ' ')}: {victim.name}")
            await fault(self, victim)
            await self._well_again(victim)
        finally:
            self._ill.discard(victim.name)

    async def all_well(self) -> None:
        for agent in self.cluster.agents:
            await self._well_again(agent)
        await self.cluster.leader(_RECOVERS_WITHIN_S)

    async def hold(self, least_s: float, most_s: float) -> None:
        await asyncio.sleep(self.chance.uniform(least_s, most_s))

    async def _leader_in_most_cases(self) -> LocalAgent | None:
        with suppress(ClusterFailed):
            if self.chance.random() < 0.7:
                return await self.cluster.leader(5.0)
        return None

    async def _well_again(self, agent: LocalAgent) -> None:
        """It may have ended meanwhile, as whoever cannot write does: then somebody starts it again."""
        deadline = time.monotonic() + _RECOVERS_WITHIN_S
        while not await agent.ready():
            if not agent.running:
                self.cluster.start(agent)  # if it ends once more, it does so by itself
            if time.monotonic() > deadline:
                raise ClusterFailed(f"{agent.name} was not ready in {_RECOVERS_WITHIN_S:g} s\n{self.cluster.logs(20)}")
            await asyncio.sleep(0.05)
        self.cluster.expect_no_end(agent)

    async def replace(self, agent: LocalAgent) -> None:
        """One at a time, as a person would: a second volume lost meanwhile may be the last that holds a write."""
        async with self._replacing:
            await self.all_ready_but_ill()
            await self.cluster.kill(agent)
            for path in agent.data.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            await asyncio.sleep(_SILENT_S)
            self.cluster.start(agent)
            await self._well_again(agent)

    def expect_what_ails(self, agent: LocalAgent) -> None:
        """Another fault may still hold it, and end it again."""
        if agent.name in self._ill:
            self.cluster.expect_end(agent)

    async def all_ready_but_ill(self) -> None:
        for agent in self.cluster.agents:
            if agent.name not in self._ill:
                await self._well_again(agent)


Fault = Callable[[Scene, LocalAgent], Awaitable[None]]


async def killed(scene: Scene, victim: LocalAgent) -> None:
    await scene.cluster.kill(victim)
    await scene.hold(0.0, 3.0)


async def killed_with_all_others(scene: Scene, victim: LocalAgent) -> None:
    await asyncio.gather(*(scene.cluster.kill(agent) for agent in scene.cluster.agents))
    await scene.hold(0.0, 1.0)
    for agent in scene.cluster.agents:
        if not agent.running:
            scene.cluster.start(agent)
            if agent is not victim:
                scene.expect_what_ails(agent)


async def stopped_in_good_order(scene: Scene, victim: LocalAgent) -> None:
    await scene.cluster.stop(victim)
    await scene.hold(0.0, 1.0)


async def asked_to_hand_over(scene: Scene, victim: LocalAgent) -> None:
    connection = victim.connection()
    try:
        for _ in range(3):
            with suppress(Unsent, Unanswered):
                await connection.request("POST", "/v1/transfer", b"{}")
            await scene.hold(0.0, 0.5)
    finally:
        connection.close()


async def frozen(scene: Scene, victim: LocalAgent) -> None:
    assert victim.process is not None
    victim.process.send_signal(signal.SIGSTOP)
    try:
        await scene.hold(0.2, 10.0)
    finally:
        victim.process.send_signal(signal.SIGCONT)


async def unheard(scene: Scene, victim: LocalAgent) -> None:
    others = [agent.name for agent in scene.cluster.agents if agent is not victim]
    await _cut(scene, [Direction(victim.name, other) for other in _some(scene, others)])


async def deaf(scene: Scene, victim: LocalAgent) -> None:
    others = [agent.name for agent in scene.cluster.agents if agent is not victim]
    await _cut(scene, [Direction(other, victim.name) for other in _some(scene, others)])


async def cut_off(scene: Scene, victim: LocalAgent) -> None:
    others = [agent.name for agent in scene.cluster.agents if agent is not victim]
    both_ways = [way for other in others for way in (Direction(victim.name, other), Direction(other, victim.name))]
    await _cut(scene, both_ways)


def _some(scene: Scene, others: list[str]) -> list[str]:
    """All of them as often as not: only whom nobody hears any more may promise what comes to nothing."""
    return others if scene.chance.random() < 0.5 else scene.chance.sample(others, scene.chance.randint(1, len(others)))


async def _cut(scene: Scene, directions: list[Direction]) -> None:
    for direction in directions:
        scene.network.cut(direction)
    try:
        await scene.hold(0.5, 8.0)
    finally:
        reset = scene.chance.random() < 0.5
        for direction in directions:
            scene.network.heal(direction, reset=reset)


async def with_a_full_disk(scene: Scene, victim: LocalAgent) -> None:
    scene.cluster.expect_end(victim)
    scene.disks.fill(victim)
    try:
        await scene.hold(1.0, 6.0)
    finally:
        scene.disks.empty(victim)


async def with_a_failing_disk(scene: Scene, victim: LocalAgent) -> None:
    scene.cluster.expect_end(victim)
    with suppress(ProcessLookupError):
        assert victim.process is not None
        resource.prlimit(victim.process.pid, resource.RLIMIT_FSIZE, (1, 1))
    await scene.hold(1.0, 3.0)
    await scene.cluster.kill(victim)  # one that had nothing to write all the while


async def without_its_volume(scene: Scene, victim: LocalAgent) -> None:
    await scene.replace(victim)


def faults(disks: Disks) -> dict[Fault, float]:
    """How often each comes, in proportion."""
    weights: dict[Fault, float] = {
        killed: 4,
        killed_with_all_others: 1,
        stopped_in_good_order: 1,
        asked_to_hand_over: 2,
        frozen: 3,
        unheard: 2,
        deaf: 2,
        cut_off: 3,
        with_a_failing_disk: 1,
        without_its_volume: 1,
    }
    return weights | ({with_a_full_disk: 2} if disks.can_fill else {})
