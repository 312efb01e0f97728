"""Whatever the network, the disks and the crashes do: one leader a term, and what was committed stays, everywhere
alike.

Each seed makes its own history of lost, doubled and reordered messages, late disks, crashes, clock steps and snapshots.
After the faults end, a leader must be found and every node must have the same state.
"""

from random import Random

import pytest
from raft_cluster import Cluster

from raftq_k8s.raft.messages import Entry
from raftq_k8s.raft.settings import Settings
from raftq_k8s.raft.types import Index


class History:
    """What must never change again, over all time."""

    def __init__(self) -> None:
        self.committed: dict[Index, Entry] = {}

    def check(self, cluster: Cluster) -> None:
        cluster.note_leaders()
        for node in cluster.live:
            for entry in node.applied:
                first = self.committed.setdefault(entry.index, entry)
                assert first == entry, f"{node.name} applied {entry} where {first} was committed"
            standing = node.core.standing
            if standing.established:
                log = node.core._core.log
                held = {entry.index: entry for entry in log.between(log.oldest, log.last_index)}
                earlier = [entry for index, entry in self.committed.items() if entry.term < standing.term]
                lacking = [e for e in earlier if e.index >= log.oldest and held.get(e.index) != e]
                assert not lacking, f"leader {node.name} lacks committed {lacking}"
                other = [e for e in earlier if not log.matches(e.index, e.term)]
                assert not other, f"leader {node.name} has other terms where {other} were committed"


ACTS = {
    "time": 22,
    "message": 48,
    "sync": 20,
    "read": 10,
    "snapshot": 0.5,
    "propose": 5,
    "crash": 0.4,
    "start": 3,
    "cut": 0.3,
    "heal": 1.2,
    "lost": 0.4,
}
"""What may happen next, and how often."""

LAGGARDS = {**ACTS, "propose": 20, "snapshot": 3, "cut": 0.35, "heal": 0.8, "crash": 0.3, "start": 2}
"""Some node is nearly always behind, and the log that it lacks is gone."""


def run_faults(cluster: Cluster, dice: Random, history: History, acts: dict[str, float], steps: int) -> None:
    for number, act in enumerate(dice.choices(list(acts), list(acts.values()), k=steps)):
        node = dice.choice(list(cluster.nodes.values()))
        match act:
            case "time":
                cluster.now += dice.choice([1, 2, 5, 10])
                for live in cluster.live:
                    live.core.tick(cluster.now)
            case "message" if cluster.wire:
                deliver_one(cluster, dice)
            case "sync" if node.consensus is not None and node.disk.under_way:
                node.sync_one()
            case "read" if node.consensus is not None and not node.disk.under_way:
                node.answer_wanted()
            case "snapshot" if node.consensus is not None:
                node.take_snapshot()
            case "propose" if (leader := cluster.leader()) is not None:
                cluster.propose(leader, b"%d" % number)
            case "crash" if node.consensus is not None:
                # What was under way at the crash may have reached the disk, in order, or not.
                for _ in range(dice.randrange(len(node.disk.under_way) + 1)):
                    node.disk.sync()
                node.crash()
            case "start" if node.consensus is None:
                node.start()
            case "cut":
                cluster.isolate(node.name)
            case "heal":
                cluster.heal()
            case "lost":
                for other in cluster.live:
                    other.core.peer_lost(node.name, cluster.now)
            case _:
                pass
        for live in cluster.live:
            live.collect()
        history.check(cluster)


def deliver_one(cluster: Cluster, dice: Random) -> None:
    """Mostly the oldest one; sometimes another, sometimes twice, sometimes never."""
    message = cluster.wire.pop(dice.randrange(min(len(cluster.wire), dice.choice([1, 1, 1, 30]))))
    if dice.random() < 0.05:
        cluster.wire.append(message)
    if dice.random() > 0.04:
        cluster.deliver([message])


@pytest.mark.parametrize("acts", [ACTS, LAGGARDS], ids=["faults", "laggards"])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_what_was_committed_stays_whatever_fails(size: int, acts: dict[str, float]) -> None:
    led = committed = installed = 0
    for seed in range(60 // size):
        dice = Random(f"{size}/{seed}")
        settings = Settings(
            max_inflight=dice.choice([1, 4, 64]),
            max_append_bytes=dice.choice([1, 60, 1000]),
            max_inflight_bytes=dice.choice([1, 100, 10_000]),
            max_chunk_bytes=dice.choice([100, 1000, 10_000]),
            tail_bytes=dice.choice([0, 200, 10_000]),
            kept_entries=dice.choice([0, 3]),
        )
        cluster = Cluster(*"abcde"[:size], settings=settings, seed=seed * 7919)
        history = History()
        run_faults(cluster, dice, history, acts, 3000)
        led += len(cluster.leaders)
        committed += len(history.committed)

        cluster.heal()
        for node in cluster.nodes.values():
            if node.consensus is None:
                node.start()
        cluster.settle()
        cluster.advance(10 * cluster.settings.maximum_election)
        history.check(cluster)
        leader = cluster.leader()
        assert leader is not None, f"seed {seed}: no leader after the faults: {cluster.describe()}"
        cluster.propose(leader, b"last")
        cluster.settle()
        cluster.advance(200)
        installed += sum(node.installed for node in cluster.nodes.values())
        logs = {tuple(node.applied) for node in cluster.nodes.values()}
        assert len(logs) == 1, f"seed {seed}: the nodes differ"
        assert cluster.nodes[leader].commands[-1] == b"last"
    # The histories must be worth their name: many leaders, and much that could have been lost or sent as a snapshot.
    assert led > 60 // size
    assert committed > 10 * (60 // size)
    assert acts is ACTS or size < 3 or installed > 10
