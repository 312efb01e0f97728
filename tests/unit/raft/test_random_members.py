"""Members come, go and lose their volumes, one by one and several at once, while the network, the disks and the
processes fail: one leader a term, and what was committed stays.

Each seed makes its own history. Whoever is no member asks to become one, as a process without a cluster does; who was
removed comes back with an empty volume. No second voter loses its volume before the first was replaced: nothing could
make up for that.
"""

from itertools import pairwise
from random import Random

from raft_cluster import Cluster, Node
from test_random_faults import ACTS, History, run_faults

from raftq_k8s.raft.configuration import decode, of
from raftq_k8s.raft.consensus import NotLeader
from raftq_k8s.raft.membership import (
    AddLearner,
    Change,
    ChangeRefused,
    Membership,
    Promote,
    Remove,
    Replace,
    ReplaceVoters,
    changed,
)
from raftq_k8s.raft.messages import EntryKind, JoinRequest
from raftq_k8s.raft.quorum import is_majority
from raftq_k8s.raft.settings import Settings
from raftq_k8s.raft.types import NO_TERM

FAULTS = {**ACTS, "time": 10, "message": 80, "sync": 40, "crash": 0.25, "cut": 0.1, "snapshot": 1.0}
ROUNDS = 200
"""Between any two of them something happens to the members."""
STEPS = 40


class Members:
    """What happens to the members of one cluster, and what of it was committed."""

    def __init__(self, cluster: Cluster, dice: Random) -> None:
        self.cluster = cluster
        self.dice = dice
        self.history = History()
        self.changes: dict[str, int] = {}
        self.replaced = 0

    @property
    def memberships(self) -> list[Membership]:
        """All that anybody ever applied."""
        entries = sorted(self.history.committed.values(), key=lambda entry: entry.index)
        written = [decode(entry.command) for entry in entries if entry.kind is EntryKind.CONFIGURATION]
        return [Membership(voters=self.cluster.record.members), *filter(None, written)]

    @property
    def committed(self) -> Membership:
        return self.memberships[-1]

    @property
    def promoted(self) -> int:
        """How often a learner became a voter."""
        pairs = pairwise(self.memberships)
        return sum(len(set(before.learners) & set(after.voters)) for before, after in pairs)

    def greet(self) -> None:
        """Whoever lost a connection finds it again."""
        for node in self.cluster.live:
            for other in self.cluster.live:
                if other is not node:
                    node.meet(other)

    def act(self) -> None:
        self.greet()
        match self.dice.choice(["change", "change", "change", "ask", "ask", "ask", "leave", "wipe", "return"]):
            case "change":
                self._change()
            case "ask":
                self._ask()
            case "leave":
                self._leave()
            case "wipe":
                self._wipe()
            case "return":
                self._return()

    def _change(self) -> None:
        leader = self.cluster.leader()
        if leader is None:
            return
        change = self.dice.choice(self._possible(self.cluster[leader].membership) or [None])
        if change is None:
            return
        try:
            self.cluster.change(leader, change)
        except (ChangeRefused, NotLeader):
            return
        kind = type(change).__name__
        self.changes[kind] = self.changes.get(kind, 0) + 1

    def _possible(self, membership: Membership) -> list[Change]:
        """One of each kind that makes sense, if any does."""
        members = [node.member for node in self.cluster.nodes.values()]
        several = ReplaceVoters(tuple(self.dice.sample(members, self.dice.choice([1, 2, 3, 3, 4]))))
        possible: list[Change] = [several] if _makes_sense(membership, several) else []
        for kind in (AddLearner, Promote, Remove, Replace):
            ones = [kind(member) for member in members if _makes_sense(membership, kind(member))]
            possible += [self.dice.choice(ones)] if ones else []
        return possible

    def _ask(self) -> None:
        node = self.dice.choice(self.cluster.live or [None])
        leader = self.cluster.leader()
        if node is not None and leader not in (None, node.name):
            self.cluster.deliver([JoinRequest(node.name, leader, NO_TERM, node.incarnation)])

    def _leave(self) -> None:
        if self.dice.random() < 0.3 and self.cluster.live:
            node = self.dice.choice(self.cluster.live)
            node.core.depart(node.name, self.cluster.now)

    def _wipe(self) -> None:
        membership = self.committed
        node = self.dice.choice(list(self.cluster.nodes.values()))
        present = {each.member for each in self.cluster.nodes.values()}
        all_there = all(member in present for member in membership.members)
        if self.dice.random() < 0.5 and all_there and not membership.outgoing and self._can_do_without(node):
            node.wipe()
            node.start()
            self.replaced += 1

    def _can_do_without(self, lost: Node) -> bool:
        """By every configuration that is still in force anywhere."""
        held = [node.core.membership for node in self.cluster.live] + [self.committed]
        rest = {node.name for node in self.cluster.nodes.values() if node is not lost}
        present = {node.member for node in self.cluster.nodes.values() if node is not lost}
        return len(self.cluster.live) == len(self.cluster.nodes) and all(
            is_majority({m.name for m in membership.members if m in present} & rest, of(membership))
            and len(membership.voters) > 2
            for membership in held
        )

    def _return(self) -> None:
        """Whoever was removed comes back as another incarnation."""
        tombstones = self.committed.tombstones
        for node in self.cluster.nodes.values():
            if node.member in tombstones:
                node.wipe()
                node.start()

    def are_too_few(self) -> bool:
        """A member was removed in the moment in which another lost its volume, which nobody knew yet: then what is left
        is no majority, and a person has to decide."""
        longest = max(self.cluster.live, key=lambda node: (node.core._core.log.last_term, node.core.last_index))
        present = {node.member for node in self.cluster.live}
        membership = longest.core.membership
        return not is_majority({m.name for m in membership.members if m in present}, of(membership))

    def check(self) -> None:
        """At most one change is uncommitted in the log of whoever leads."""
        for node in self.cluster.live:
            core = node.core
            if core.standing.established:
                log = core._core.log
                first = max(log.oldest, core.commit_index + 1)
                open_ = [e for e in log.between(first, log.last_index) if e.kind is EntryKind.CONFIGURATION]
                assert len(open_) <= 1, f"{node.name} has begun {len(open_)} changes at once"


def _makes_sense(membership: Membership, change: Change) -> bool:
    try:
        changed(membership, change)
    except ChangeRefused:
        return False
    return True


def test_members_come_and_go_whatever_fails() -> None:
    begun: dict[str, int] = {}
    committed = replaced = led = promoted = stuck = 0
    for seed in range(30):
        dice = Random(f"members/{seed}")
        settings = Settings(
            max_inflight=dice.choice([1, 64]),
            max_append_bytes=dice.choice([60, 1000]),
            kept_entries=dice.choice([0, 3]),
            tail_bytes=dice.choice([0, 10_000]),
            max_voters=dice.choice([1, 3, 5]),
            silent_for=dice.choice([0.0, 300.0]),
        )
        cluster = Cluster(*"abcd"[: dice.choice([1, 2, 3, 4])], settings=settings, seed=seed * 104729)
        for name in "efg":
            cluster.add(name)
        members = Members(cluster, dice)
        for _ in range(ROUNDS):
            run_faults(cluster, dice, members.history, FAULTS, STEPS)
            members.check()
            members.act()
            members.history.check(cluster)
        for kind, count in members.changes.items():
            begun[kind] = begun.get(kind, 0) + count
        led += len(cluster.leaders)
        committed += len(members.history.committed)
        replaced += members.replaced
        promoted += members.promoted

        cluster.heal()
        for node in cluster.nodes.values():
            if node.consensus is None:
                node.start()
        members.greet()
        cluster.settle()
        cluster.advance(10 * settings.maximum_election)
        members.history.check(cluster)
        leader = cluster.leader()
        if members.are_too_few():
            stuck += 1
            continue
        assert leader is not None, f"seed {seed}: no leader after the faults: {cluster.describe()}"
        cluster.propose(leader, b"last")
        cluster.settle()
        cluster.advance(200)
        membership = cluster[leader].membership
        there = [node for node in cluster.nodes.values() if node.member in membership.members]
        assert {tuple(node.applied) for node in there} == {tuple(cluster.nodes[leader].applied)}, f"seed {seed}"
        assert cluster.nodes[leader].commands[-1] == b"last"
    # The histories must be worth their name.
    assert stuck < 3
    for kind in (AddLearner, Remove, Replace, ReplaceVoters):
        assert begun.get(kind.__name__, 0) > 5, begun
    assert replaced > 10
    assert promoted > 10
    assert led > 50
    assert committed > 1000
