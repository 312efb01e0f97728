"""Who votes, by every log that was ever written, and what must hold of it (invariant 8).

Two majorities that decide must share a voter, by whatever configurations they decide: so configurations that follow
each other in a log share one in any two of their majorities, and no log holds two changes that are not committed. Who
votes is a member under one incarnation. The observer reads configurations out of the writes of each machine by itself,
so a core that remembers a wrong one is found by what it then decides.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from raftq_k8s.raft.configuration import born, decode
from raftq_k8s.raft.core import Core
from raftq_k8s.raft.membership import BirthRecord, Member, Membership
from raftq_k8s.raft.messages import Entry, EntryKind, SnapshotMark
from raftq_k8s.raft.types import NO_INDEX, Index, MemberId, Term
from raftq_k8s.sim.violation import ELECTION_SAFETY, MEMBERSHIP_SAFETY, Violation

if TYPE_CHECKING:
    from raftq_k8s.sim.machine import Machine

NOBODY = Membership(voters=())


def halves(membership: Membership) -> tuple[frozenset[Member], ...]:
    voters = frozenset(membership.voters)
    return (voters, frozenset(membership.outgoing)) if membership.outgoing else (voters,)


def is_quorum(membership: Membership, counts: Callable[[Member], bool]) -> bool:
    """Whether a majority of each half does."""
    return all(2 * sum(map(counts, half)) > len(half) for half in halves(membership))


def always_meet(one: Membership, other: Membership) -> bool:
    """Whether any two majorities of them share a voter."""
    return any(_meet(half, other_half) for half in halves(one) for other_half in halves(other))


def _meet(one: frozenset[Member], other: frozenset[Member]) -> bool:
    from_both = max(0, _majority(one) - len(one - other)) + max(0, _majority(other) - len(other - one))
    return from_both > len(one & other)


def _majority(half: frozenset[Member]) -> int:
    return len(half) // 2 + 1


def member(machine: "Machine") -> Member:
    return Member(machine.name, machine.disk.incarnation)


def in_force(machine: "Machine") -> Membership:
    """By the latest configuration in that machine's log, committed or not."""
    configurations = machine.seen.configurations
    return configurations[-1][1] if configurations else NOBODY


def in_force_this_turn(machine: "Machine", core: Core) -> list[Membership]:
    """The same, one after the other: what a leader has appended in this turn is not written yet, and counts; but what
    it committed earlier in the turn was counted before that."""
    memberships = [in_force(machine)]
    for entry in core.log.between(max(Index(machine.seen.last_index + 1), core.log.oldest), core.log.last_index):
        if entry.kind == EntryKind.CONFIGURATION and (membership := decode(entry.command)) is not None:
            memberships.append(membership)
    return memberships


def _names(members: set[Member]) -> str:
    return ", ".join(sorted(f"{each.name} ({each.incarnation})" for each in members))


class Memberships:
    def __init__(self) -> None:
        self.committed: list[tuple[Index, Membership]] = []
        """The first one is the birth record's."""
        self._removed: set[Member] = set()
        self._votes: dict[tuple[Member, Term], MemberId] = {}

    @property
    def latest(self) -> Membership:
        """Of those that are committed."""
        return self.committed[-1][1] if self.committed else NOBODY

    def was_removed(self, who: Member) -> bool:
        return who in self._removed

    # ---------------------------------------------------------------------------------------------- what machines hold

    def started(self, machine: "Machine") -> None:
        contents = machine.disk.contents
        snapshot, birth = contents.snapshot, contents.birth
        machine.seen.configurations = []
        if snapshot is not None:
            machine.seen.configurations.append((snapshot.index, snapshot.membership))
        elif birth is not None:
            machine.seen.configurations.append((NO_INDEX, born(birth).membership))
        after = snapshot.index if snapshot is not None else NO_INDEX
        self._take(machine, (entry for entry in contents.entries if entry.index > after))

    def born(self, machine: "Machine", record: BirthRecord) -> None:
        machine.seen.configurations = [(NO_INDEX, born(record).membership)]

    def installed(self, machine: "Machine", mark: SnapshotMark) -> None:
        machine.seen.configurations = [(mark.index, mark.membership)]

    def written(self, machine: "Machine", entries: tuple[Entry, ...], known: int, leads_in: Term | None) -> None:
        """`known`: so much is committed. `leads_in`: of whoever leads, its term, until an entry of it is committed."""
        configurations = machine.seen.configurations
        while configurations and configurations[-1][0] >= entries[0].index:
            configurations.pop()
        for entry in entries:
            if entry.kind != EntryKind.CONFIGURATION:
                continue
            if configurations and configurations[-1][0] > known:
                raise Violation(
                    MEMBERSHIP_SAFETY,
                    f"{machine.name} holds a change of members at {entry.index}, and one before it, at "
                    f"{configurations[-1][0]}, is not committed",
                )
            if entry.term == leads_in:
                raise Violation(
                    MEMBERSHIP_SAFETY,
                    f"{machine.name} changes members at {entry.index} before an entry of its term {leads_in} is "
                    "committed",
                )
            self._take(machine, (entry,))

    def _take(self, machine: "Machine", entries: Iterable[Entry]) -> None:
        for entry in entries:
            if entry.kind == EntryKind.CONFIGURATION and (membership := decode(entry.command)) is not None:
                machine.seen.configurations.append((entry.index, membership))

    # -------------------------------------------------------------------------------------------------- what is decided

    def commit(self, machine: "Machine", entry: Entry) -> None:
        if not self.committed and machine.disk.contents.birth is not None:
            self.committed.append((NO_INDEX, born(machine.disk.contents.birth).membership))
        if entry.kind != EntryKind.CONFIGURATION:
            return
        after = decode(entry.command)
        if after is None or not after.is_possible:
            raise Violation(MEMBERSHIP_SAFETY, f"the configuration at {entry.index} makes no sense")
        before = self.latest
        if not always_meet(before, after):
            raise Violation(
                MEMBERSHIP_SAFETY, f"majorities before and after {entry.index} need not meet: {before}, then {after}"
            )
        self._removed |= set(before.members) - set(after.members)
        if back := set(after.members) & self._removed:
            raise Violation(MEMBERSHIP_SAFETY, f"at {entry.index} come back, and were removed before: {_names(back)}")
        if forgotten := self._removed - set(after.tombstones):
            raise Violation(
                MEMBERSHIP_SAFETY, f"at {entry.index} it is forgotten that these were removed: {_names(forgotten)}"
            )
        self.committed.append((entry.index, after))

    def at(self, index: Index) -> Membership:
        """Of what is committed, in force at that index."""
        return next((each for begins, each in reversed(self.committed) if begins <= index), NOBODY)

    def votes(self, machine: "Machine", term: Term, candidate: MemberId) -> None:
        first = self._votes.setdefault((member(machine), term), candidate)
        if first != candidate:
            raise Violation(ELECTION_SAFETY, f"{machine.name} votes for {first} and for {candidate} in term {term}")

    def elected(self, machine: "Machine", term: Term) -> None:
        """By a majority of whom its own log calls voters; its own vote needs no message."""
        membership, me = in_force(machine), member(machine)

        def voted(voter: Member) -> bool:
            return voter == me or self._votes.get((voter, term)) == machine.name

        if not is_quorum(membership, voted):
            raise Violation(MEMBERSHIP_SAFETY, f"{machine.name} leads {term} without the votes of {membership}")

    def stands(self, machine: "Machine", term: Term, commit: Index) -> None:
        """Whoever votes, or did before a removal that it does not know to be committed: without it nobody might be
        elected (dissertation §4.2.2)."""
        for index, membership in reversed(machine.seen.configurations):
            if member(machine) in (*membership.voters, *membership.outgoing):
                return
            if index <= commit:
                break
        raise Violation(MEMBERSHIP_SAFETY, f"{machine.name} stands for election in {term} and is no voter")

    def leads(self, machine: "Machine", term: Term, commit: Index) -> None:
        index, membership = machine.seen.configurations[-1]
        if index <= commit and member(machine) not in (*membership.voters, *membership.outgoing):
            raise Violation(MEMBERSHIP_SAFETY, f"{machine.name} leads {term}, and its removal is committed at {index}")
