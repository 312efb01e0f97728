"""Whatever the network, the disks and the crashes do: a confirmed read reflects every write that was acknowledged
before it was asked, also while the leadership is handed round; and no two members hold a lease at one instant.

Each seed makes its own history of lost, doubled and reordered messages, late disks, crashes, clock steps, members with
windows of their own, reads at any member, and transfers, given up or not, whose messages arrive at any time. After the
faults end, a leader must be found, every member must answer reads, and the leadership can be handed over.
"""

from random import Random

import pytest
from raft_cluster import Cluster, Node

from raftq_k8s.raft.consensus import TransferRefused, Transferring
from raftq_k8s.raft.messages import AppendResponse, Message, TimeoutNow
from raftq_k8s.raft.settings import Settings
from raftq_k8s.raft.types import Index, MemberId


class Witness:
    """Sees every answer that a client could have seen, in the order of a time that is everybody's."""

    def __init__(self) -> None:
        self.acknowledged = Index(0)
        """Applied somewhere: whoever asked there may have been told so."""
        self.asked: dict[int, Index] = {}
        """What each read has to reflect."""
        self.confirmed = 0
        self.leased = 0
        self.handed_over = 0
        self.leaders = 0
        self._seen: dict[tuple[str, int], int] = {}

    def ask(self, cluster: Cluster, name: str) -> None:
        context = len(self.asked)
        self.asked[context] = self.acknowledged
        cluster.read(name, context)

    def _ask_lease(self, cluster: Cluster, node: Node) -> None:
        index = node.core.leased_read(cluster.now)
        if index is not None:
            self.leased += 1
            assert index >= self.acknowledged, f"{node.name} reads {index} by its lease after {self.acknowledged}"

    def look(self, cluster: Cluster) -> None:
        for node in cluster.live:
            key = node.name, node.disk.generation
            answered = node.reads[self._seen.get(key, 0) :]
            self._seen[key] = len(node.reads)
            for read in answered:
                self.confirmed += 1
                needed = self.asked[read.context]
                assert read.index >= needed, f"{node.name} reads at {read.index}, {needed} was acknowledged before"
        for node in cluster.live:
            self._ask_lease(cluster, node)
        for node in cluster.live:
            if node.applied:
                self.acknowledged = max(self.acknowledged, node.applied[-1].index)
        cluster.note_leaders()
        until = {node.name: node.core.lease_until for node in cluster.live}
        holders = [name for name, end in until.items() if end is not None and cluster.now < end]
        assert len(holders) <= 1, f"{holders} hold a lease at {cluster.now}"


ACTS = {
    "time": 140,
    "deliver": 450,
    "deliver late": 30,
    "sync": 240,
    "propose": 50,
    "read": 60,
    "hand over": 12,
    "cancel": 12,
    "crash": 3,
    "start": 20,
    "isolate": 2,
    "heal": 10,
}


def run_faults(cluster: Cluster, dice: Random, witness: Witness, steps: int) -> None:
    """The clocks of this cluster run alike; that they may not is `lease.DRIFT_ALLOWANCE`'s business."""
    late: list[Message] = []
    for number, act in enumerate(dice.choices(list(ACTS), list(ACTS.values()), k=steps)):
        node = dice.choice(list(cluster.nodes.values()))
        match act:
            case "time":
                cluster.now += dice.choice([1, 1, 5, 5, 5, 20, 60])
                for live in cluster.live:
                    live.core.tick(cluster.now)
            case "deliver":
                deliver_some(cluster, dice, late)
            case "deliver late" if late:
                cluster.deliver([late.pop(dice.randrange(len(late)))])
            case "sync":
                for live in cluster.live:
                    if live.disk.under_way and dice.random() < 0.8:
                        live.sync_one()
            case "start" if node.consensus is None:
                node.start()
            case "isolate":
                cluster.isolate(node.name)
            case "heal":
                cluster.heal()
            case "crash" if node.consensus is not None:
                for _ in range(dice.randrange(len(node.disk.under_way) + 1)):
                    node.disk.sync()
                node.crash()
            case "read" if node.consensus is not None:
                witness.ask(cluster, node.name)
            case "propose" | "hand over" | "cancel":
                act_as_leader(cluster, dice, witness, act, b"%d" % number)
        for live in cluster.live:
            live.collect()
        witness.look(cluster)


def deliver_some(cluster: Cluster, dice: Random, late: list[Message]) -> None:
    """What can do harm long after it was sent is sometimes sent again much later."""
    for _ in range(min(len(cluster.wire), dice.choice([1, 2, 8]))):
        message = cluster.wire.pop(dice.randrange(min(len(cluster.wire), dice.choice([1, 1, 30]))))
        if dice.random() < 0.05:
            cluster.wire.append(message)
        if isinstance(message, TimeoutNow) or (isinstance(message, AppendResponse) and dice.random() < 0.01):
            late.append(message)
        if dice.random() > 0.05:
            cluster.deliver([message])


def act_as_leader(cluster: Cluster, dice: Random, witness: Witness, act: str, command: bytes) -> None:
    """Each that leads, or thinks so."""
    for node in cluster.live:
        if node.core.standing.role != "leader":
            continue
        match act:
            case "propose":
                try_to_propose(cluster, node, command)
            case "hand over":
                try_to_hand_over(cluster, node, dice.choice(list(cluster.nodes)), witness)
            case _:
                node.core.cancel_transfer(cluster.now)


def try_to_propose(cluster: Cluster, node: Node, command: bytes) -> None:
    try:
        cluster.propose(node.name, command)
    except Transferring:
        assert node.core.lease_until is None


def try_to_hand_over(cluster: Cluster, node: Node, target: str, witness: Witness) -> None:
    try:
        node.core.transfer(MemberId(target), cluster.now)
        witness.handed_over += 1
    except TransferRefused:
        assert target == node.name


def a_cluster(size: int, seed: int, dice: Random) -> Cluster:
    cluster = Cluster(*"abcde"[:size], settings=Settings(max_inflight=dice.choice([1, 4, 64])), seed=seed * 7919)
    for node in cluster.nodes.values():
        window = dice.choice([200.0, 200.0, 300.0])
        node.settings = Settings(minimum_election=window, maximum_election=window + 600)
        node.crash()
        node.start()
    return cluster


@pytest.mark.parametrize(("size", "seeds"), [(1, 5), (2, 20), (3, 25), (5, 15)])
def test_a_confirmed_read_reflects_what_was_acknowledged_before_it_was_asked(size: int, seeds: int) -> None:
    confirmed = leased = handed_over = terms = 0
    for seed in range(seeds):
        dice = Random(f"reads/{size}/{seed}")
        cluster = a_cluster(size, seed, dice)
        witness = Witness()
        run_faults(cluster, dice, witness, 1500)
        confirmed, leased = confirmed + witness.confirmed, leased + witness.leased
        handed_over, terms = handed_over + witness.handed_over, terms + len(cluster.leaders)
        recover(cluster, seed)
        every_member_answers_reads(cluster, witness, seed)
        the_leadership_can_be_handed_over(cluster, seed)
    # The histories are worth nothing when nothing happens in them.
    assert confirmed > 5 * seeds
    assert leased > seeds
    assert size == 1 or min(terms, handed_over) > seeds


def recover(cluster: Cluster, seed: int) -> None:
    cluster.heal()
    for node in cluster.nodes.values():
        if node.consensus is None:
            node.start()
    cluster.settle()
    cluster.advance(10 * 900)
    assert cluster.leader() is not None, f"seed {seed}: no leader after the faults: {cluster.describe()}"


def every_member_answers_reads(cluster: Cluster, witness: Witness, seed: int) -> None:
    asked = {}
    for name in cluster.nodes:
        asked[name] = len(witness.asked)
        witness.ask(cluster, name)
    cluster.settle()
    witness.look(cluster)
    for name, context in asked.items():
        assert isinstance(cluster.read_index(name, context), int), f"seed {seed}: {name} answers no reads"


def the_leadership_can_be_handed_over(cluster: Cluster, seed: int) -> None:
    leader = cluster.leader()
    for target in cluster.nodes:
        if target != leader and leader is not None:
            cluster[leader].transfer(MemberId(target), cluster.now)
            cluster.advance(900)
            assert cluster[target].standing.established, f"seed {seed}: {target} does not lead: {cluster.describe()}"
            return


@pytest.mark.parametrize("part", range(4))
def test_no_transfer_that_was_given_up_elects_anybody_within_a_lease(part: int) -> None:
    """Short histories of one kind: a transfer is given up, the lease is armed again, voters restart, and the old
    leader hears nothing of what its late `TimeoutNow` does among the others."""
    armed = stood = 0
    for seed in range(part * 100, part * 100 + 100):
        dice = Random(f"given up/{seed}")
        cluster = Cluster(*"abcde"[: dice.choice([3, 3, 5])], seed=seed * 7919)
        cluster.elect("a")
        cluster.advance(300)
        witness = Witness()
        late = give_up_a_transfer(cluster, dice)
        if dice.random() < 0.5:
            cluster.isolate("a")
        others = [name for name in cluster.nodes if name != "a"]
        for _ in range(120):
            node = cluster.nodes[dice.choice(others)]
            act = dice.random()
            if act < 0.10:
                cluster.now += dice.choice([1, 5, 20])
                for live in cluster.live:
                    live.core.tick(cluster.now)
            elif act < 0.15 and node.consensus is not None:
                node.crash()
            elif act < 0.20:
                for message in late:
                    cluster.deliver([message])
            elif act < 0.70:
                deliver_some(cluster, dice, [])
            else:
                for live in cluster.live:
                    live.sync()
            if node.consensus is None:
                node.start()
            for live in cluster.live:
                live.collect()
            witness.look(cluster)
        armed += witness.leased
        stood += max(node.core.standing.term for node in cluster.live) > 1
    assert armed > 1000
    assert stood > 3


def give_up_a_transfer(cluster: Cluster, dice: Random) -> list[Message]:
    """Returns what is under way of it; the end of it reaches some, or all, or nobody yet."""
    target = dice.choice([name for name in cluster.nodes if name != "a"])
    cluster["a"].transfer(MemberId(target), cluster.now)
    cluster.nodes["a"].collect()
    late = cluster.take(lambda message: isinstance(message, TimeoutNow))
    if dice.random() < 0.5:
        cluster.now = cluster["a"].wake_at  # a round of the time of the transfer
        cluster["a"].tick(cluster.now)
        cluster.nodes["a"].collect()
        late += cluster.take(lambda message: isinstance(message, TimeoutNow))
    cluster["a"].cancel_transfer(cluster.now)
    cluster.nodes["a"].collect()
    return late
