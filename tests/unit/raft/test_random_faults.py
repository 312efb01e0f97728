"""Whatever the network, the disks and the crashes do: one leader a term, and what was committed stays, everywhere
alike.

Each seed makes its own history of lost, doubled and reordered messages, late disks, crashes and clock steps. After the
faults end, a leader must be found and every node must hold the same log.
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
                held = {entry.index: entry for entry in node.core._core.log.between(Index(1), node.core.last_index)}
                lacking = [e for i, e in self.committed.items() if e.term < standing.term and held.get(i) != e]
                assert not lacking, f"leader {node.name} lacks committed {lacking}"


def run_faults(cluster: Cluster, dice: Random, history: History, steps: int) -> int:
    number = 0
    for _ in range(steps):
        act = dice.random()
        nodes = list(cluster.nodes.values())
        node = dice.choice(nodes)
        if act < 0.25:
            cluster.now += dice.choice([1, 5, 20, 60])
            for live in cluster.live:
                live.core.tick(cluster.now)
        elif act < 0.60 and cluster.wire:
            message = cluster.wire.pop(dice.randrange(min(len(cluster.wire), dice.choice([1, 1, 30]))))
            if dice.random() < 0.1:
                cluster.wire.append(message)
            if dice.random() > 0.08:
                cluster.deliver([message])
        elif act < 0.85 and node.consensus is not None:
            if node.disk.under_way:
                node.core.persisted(node.disk.sync(), cluster.now)
        elif act < 0.93 and node.consensus is not None and node.core.standing.role == "leader":
            number += 1
            cluster.propose(node.name, b"%d" % number)
        elif act < 0.94 and node.consensus is not None:
            # What was under way at the crash may have reached the disk, in order, or not.
            for _ in range(dice.randrange(len(node.disk.under_way) + 1)):
                node.disk.sync()
            node.crash()
        elif act < 0.98 and node.consensus is None:
            node.start()
        elif act < 0.985:
            cluster.isolate(node.name)
        elif act < 0.995:
            cluster.heal()
        elif node.consensus is not None and cluster.live:
            for other in cluster.live:
                other.core.peer_lost(node.name, cluster.now)
        for live in cluster.live:
            live.collect()
        history.check(cluster)
    return number


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_what_was_committed_stays_whatever_fails(size: int) -> None:
    for seed in range(60 // size):
        dice = Random(f"{size}/{seed}")
        inflight = dice.choice([1, 4, 64])
        settings = Settings(max_inflight=inflight, max_append_bytes=dice.choice([1, 60, 1000]))
        cluster = Cluster(*"abcde"[:size], settings=settings, seed=seed * 7919)
        history = History()
        run_faults(cluster, dice, history, 1000)

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
        logs = {tuple(node.applied) for node in cluster.nodes.values()}
        assert len(logs) == 1, f"seed {seed}: the nodes differ"
        assert cluster.nodes[leader].commands[-1] == b"last"
