"""`python tests/integration/torture.py [--minutes M] [--agents N] [--seed S] [--history FILE] [--json]`: real agents on
loopback, clients that write all the while, and everything that can be done to a process, its disk and its network.

Afterwards: no acknowledged write is lost, none was applied twice, what each key's callers heard is explained by one
order that agrees with the clock, and all members hold the same, byte for byte. The exit code is 1 if not. The seed
decides which fault comes when and what clients do; what the processes make of it is their own.
"""

import argparse
import asyncio
import json
import random
import secrets
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

import msgspec
from one_way_network import OneWayNetwork
from torture_clients import Client, insist_on_own_keys, look_once_more, share_keys, write_own_keys
from torture_faults import Disks, Fault, Scene, faults
from torture_history import Done, History

from raftq_k8s.cli.at_most_once import Unanswered, Unsent
from raftq_k8s.cli.local_cluster import HOST, ClusterFailed, LocalAgent, LocalCluster
from raftq_k8s.cli.writer import revision

_SHARING = 6
_WRITING = 2
_INSISTING = 2
_TWO_AT_ONCE = 0.3
_READS_AT_ONCE = 16
_READ_WITHIN_S = 30.0
_SETTLED_WITHIN_S = 60.0


class Report(msgspec.Struct):
    seed: int
    agents: int
    minutes: float
    faults: dict[str, int]
    operations: dict[str, int]
    """How many there were of each kind and result."""
    acknowledged: int
    """Puts on keys that nobody else touched."""
    lost: list[str]
    twice: list[str]
    keys: int
    not_linearizable: list[str]
    undecided: list[str]
    differing: list[str]
    """Members that do not hold what the first one holds."""

    @property
    def sound(self) -> bool:
        return not (self.lost or self.twice or self.not_linearizable or self.undecided or self.differing)


class Torture:
    def __init__(self, scene: Scene, history: History, chance: random.Random) -> None:
        self._scene = scene
        self._history = history
        self._chance = chance
        self._struck: Counter[str] = Counter()

    async def run(self, seconds: float) -> None:
        """Raises `ClusterFailed` when members end by themselves, or do not come back once all is mended."""
        await self._scene.all_well()
        clients = [self._client(f"sharing-{number}") for number in range(_SHARING)]
        writers = [self._client(f"own-{number}") for number in range(_WRITING)]
        insisting = [self._client(f"own-again-{number}") for number in range(_INSISTING)]
        work = [share_keys(client, name, random.Random(self._chance.random())) for name, client in clients]
        work += [write_own_keys(client, name) for name, client in writers]
        work += [insist_on_own_keys(client, name) for name, client in insisting]
        busy = [asyncio.create_task(each) for each in (*work, self._watch())]
        try:
            trouble = asyncio.create_task(self._trouble(seconds))
            done, _ = await asyncio.wait([trouble, *busy], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (trouble, *busy):
                task.cancel()
            await asyncio.gather(trouble, *busy, return_exceptions=True)
            for _, client in (*clients, *writers, *insisting):
                client.close()
        await self._scene.all_well()

    def _client(self, name: str) -> tuple[str, Client]:
        return name, Client(name, self._scene.cluster.agents, self._history, random.Random(self._chance.random()))

    async def _watch(self) -> None:
        while True:
            self._scene.cluster.check()
            await asyncio.sleep(0.2)

    async def _trouble(self, seconds: float) -> None:
        weights = faults(self._scene.disks)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            at_once = 2 if self._chance.random() < _TWO_AT_ONCE else 1
            chosen: list[Fault] = self._chance.choices([*weights], [*weights.values()], k=at_once)
            self._struck.update(fault.__name__ for fault in chosen)
            await asyncio.gather(*map(self._scene.strike, chosen))
            await self._scene.all_well()
            await self._scene.hold(0.2, 1.0)

    async def verdict(self, seed: int, minutes: float) -> Report:
        agents = self._scene.cluster.agents
        await self._read_shared_keys()
        await self._scene.cluster.until(self._settled, "all members to have applied the same", _SETTLED_WITHIN_S)
        document = json.loads((await agents[0].get("/v1/data?consistency=local")).body)
        states = await self._states()
        promised = [
            done for done in self._history.done if done.event.key.startswith("own-") and done.event.result == "ok"
        ]
        lost = [done.event.key for done in promised if document.get(done.event.key) != done.event.value]
        there = [done for done in promised if done.event.key not in set(lost)]
        judgement = self._history.judge()
        return Report(
            seed=seed,
            agents=len(agents),
            minutes=minutes,
            faults=dict(self._struck),
            operations=dict(self._history.counts()),
            acknowledged=len(promised),
            lost=lost,
            twice=[*await _applied_again(agents[0], there)],
            keys=judgement.keys,
            not_linearizable=judgement.not_linearizable,
            undecided=judgement.undecided,
            differing=[agent.name for agent, state in zip(agents, states, strict=True) if state != states[0]],
        )

    async def _read_shared_keys(self) -> None:
        keys = sorted({done.event.key for done in self._history.done if done.event.key.startswith("shared-")})
        _, client = self._client("afterwards")
        await look_once_more(client, keys, _READ_WITHIN_S)
        client.close()

    async def _states(self) -> list[bytes]:
        """All that each member holds, at one index: documents with their revisions, sessions, agreements."""
        states: list[_State] = []

        async def at_one_index() -> bool:
            asked = [asyncio.to_thread(_state, agent.http_port) for agent in self._scene.cluster.agents]
            states[:] = await asyncio.gather(*asked)
            return len({state.index for state in states}) == 1

        await self._scene.cluster.until(at_one_index, "all members to stand at one index", _SETTLED_WITHIN_S)
        return [state.content for state in states]

    async def _settled(self) -> bool:
        seen = await asyncio.gather(*(agent.status() for agent in self._scene.cluster.agents))
        indices = {index for one in seen if one for index in (one.commit_index, one.applied_index)}
        return None not in seen and len(indices) == 1


class _State(NamedTuple):
    index: str
    content: bytes


def _state(http_port: int) -> _State:
    with urlopen(f"http://{HOST}:{http_port}/v1/snapshot", timeout=_SETTLED_WITHIN_S) as snapshot:
        return _State(snapshot.headers["X-Raftq-Applied-Index"], snapshot.read())


async def _applied_again(agent: LocalAgent, promised: list[Done]) -> list[str]:
    """A put applied a second time has moved its key to a later revision, or found its key there already."""
    again = [done.event.key for done in promised if done.existed]

    async def compare(part: list[Done]) -> None:
        connection = agent.connection()
        try:
            for done in part:
                answer = await connection.request("GET", f"/v1/data/{done.event.key}?consistency=local")
                if revision(answer) != done.revision:
                    again.append(done.event.key)
        finally:
            connection.close()

    await asyncio.gather(*(compare(promised[start::_READS_AT_ONCE]) for start in range(_READS_AT_ONCE)))
    return again


async def torture(
    folder: Path, *, minutes: float, agents: int, seed: int, history_file: Path | None, quiet: bool = False
) -> tuple[Report, History]:
    """Raises `ClusterFailed`; the history is written even so."""
    chance = random.Random(seed)
    history = History()
    network = OneWayNetwork()
    began = time.monotonic()

    def tell(line: str) -> None:
        if not quiet:
            print(f"{time.monotonic() - began:6.1f} s  {line}", file=sys.stderr, flush=True)

    arguments = ("--profile", "fast", "--log-level", "info")
    cluster = LocalCluster(folder, agents, arguments, way=network.way)
    try:
        with Disks(cluster.agents) as disks:
            async with network, cluster:
                scene = Scene(cluster, network, disks, chance, tell)
                if not disks.can_fill:
                    tell("no disk is filled: only root may mount small ones")
                run = Torture(scene, history, chance)
                await run.run(minutes * 60.0)
                tell("all is mended; now everything is read and compared")
                return await run.verdict(seed, minutes), history
    finally:
        if history_file is not None:
            history.write(history_file)


def main() -> int:
    parser = argparse.ArgumentParser(prog="torture.py", description=(__doc__ or "").partition(":")[2].strip())
    parser.add_argument("--minutes", type=float, default=1.0, help="how long faults come [1]")
    parser.add_argument("--agents", type=int, default=3, choices=range(3, 10), metavar="3-9", help="[3]")
    parser.add_argument("--seed", type=int, default=None, help="which faults, which operations [drawn]")
    parser.add_argument("--history", type=Path, default=None, metavar="FILE", help="one JSON line for each operation")
    parser.add_argument("--json", action="store_true", help="the report as one JSON object, and no progress")
    asked = parser.parse_args()
    seed = secrets.randbelow(1 << 32) if asked.seed is None else asked.seed
    print(f"torture: seed {seed}", file=sys.stderr)
    try:
        with tempfile.TemporaryDirectory(prefix="raftq-torture-", ignore_cleanup_errors=True) as folder:
            report, history = asyncio.run(
                torture(
                    Path(folder),
                    minutes=asked.minutes,
                    agents=asked.agents,
                    seed=seed,
                    history_file=asked.history,
                    quiet=asked.json,
                )
            )
    except (ClusterFailed, Unsent, Unanswered) as failure:
        print(f"torture: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    for key in [*report.not_linearizable, *report.undecided][:5]:
        for done in history.of_key(key):
            print(msgspec.json.encode(done).decode(), file=sys.stderr)
    if asked.json:
        print(msgspec.json.encode(report).decode())
    else:
        for field, value in msgspec.structs.asdict(report).items():
            print(f"{field.replace('_', ' ')}: {value if value != [] else 'none'}")
    return 0 if report.sound else 1


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        sys.exit(main())
