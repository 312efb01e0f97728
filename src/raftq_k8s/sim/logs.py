"""Every log that was ever written, and everything that was ever committed (invariants 2 to 6, and what 9 asks of logs).

An entry is compared once with its first appearance anywhere, itself and the term before it: so two logs that hold the
same entry hold the same before it, and from then on index and term stand for an entry and all that precedes it. That
reaches over the beginning of a log: what a snapshot covers and a compaction removes is committed, with that term at its
end; and replicas that have carried out the same commands write the same snapshot.
"""

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

from raftq_k8s.raft.core import Core
from raftq_k8s.raft.membership import Member, Membership
from raftq_k8s.raft.messages import Entry, EntryKind, SnapshotMark
from raftq_k8s.raft.persistence import Compaction, Write
from raftq_k8s.raft.roles import Leader
from raftq_k8s.raft.types import NO_INDEX, Index, MemberId, Term
from raftq_k8s.sim.memberships import Memberships, in_force_this_turn, is_quorum
from raftq_k8s.sim.session_watch import SessionWatch
from raftq_k8s.sim.violation import (
    DURABLE_BEFORE_REPLY,
    EXACTLY_ONCE,
    LEADER_APPEND_ONLY,
    LEADER_COMPLETENESS,
    LOG_MATCHING,
    MEMBERSHIP_SAFETY,
    STATE_MACHINE_SAFETY,
    Violation,
)
from raftq_k8s.state import commands
from raftq_k8s.state.commands import Elapse, Result

if TYPE_CHECKING:
    from raftq_k8s.sim.machine import Machine


class Logs:
    def __init__(self, memberships: Memberships, sessions: SessionWatch) -> None:
        self.machines: dict[MemberId, Machine] = {}
        self.committed: list[Entry] = []
        self.attempts: dict[bytes, str] = {}
        """What was last said to whoever asked for a command: `open`, `refused`, `applied`, `unknown`."""
        self.snapshots = 0
        self.installed = 0
        """Snapshots that took the place of a log."""
        self._memberships, self._sessions = memberships, sessions
        self._committed_in: list[Term] = []
        """The term in which each was committed."""
        self._terms: set[Term] = set()
        """Those of which an entry is committed."""
        self._commands: list[Entry] = []
        """Of what is committed, the entries that carry a command."""
        self._results: list[Result] = []
        self._place_of: dict[bytes, Index] = {}
        self._before: dict[tuple[Index, Term], tuple[Entry, Term]] = {}
        """Of each entry that was ever written: itself, and the term of the one before it."""
        self._snapshots: dict[int, tuple[int, int]] = {}
        """Size and checksum of the first one after so many commands."""

    # --------------------------------------------------------------------------------------------------------- writing

    def started(self, machine: "Machine") -> None:
        contents, seen = machine.disk.contents, machine.seen
        seen.base, seen.base_term = contents.base, contents.base_term
        seen.terms = [entry.term for entry in contents.entries]
        self._memberships.started(machine)

    def writing(self, machine: "Machine", write: Write) -> None:
        if write.birth is not None:
            self._memberships.born(machine, write.birth)
        if write.seal is not None:
            self._seals(machine, write.seal)
        if write.compaction is not None:
            self._compacts(machine, write.compaction, write)
        if write.entries:
            self._appends(machine, write.entries)

    def _seals(self, machine: "Machine", mark: SnapshotMark) -> None:
        self.snapshots += 1
        self._ends_with_what_is_committed(machine, mark.index, mark.term)
        if mark.membership != self._memberships.at(mark.index):
            raise Violation(LOG_MATCHING, f"the snapshot of {machine.name} at {mark.index} tells of other members")
        first = self._snapshots.setdefault(self.commands_up_to(mark.index), (mark.size, mark.checksum))
        if first != (mark.size, mark.checksum):
            raise Violation(
                STATE_MACHINE_SAFETY, f"the snapshot of {machine.name} at {mark.index} differs from another one"
            )

    def _ends_with_what_is_committed(self, machine: "Machine", index: Index, term: Term) -> None:
        if index > len(self.committed) or self.committed[index - 1].term != term:
            raise Violation(
                LOG_MATCHING, f"{machine.name} cuts its log at {index} of term {term}, which is not committed"
            )

    def _compacts(self, machine: "Machine", compaction: Compaction, write: Write) -> None:
        """What is installed may end before what was committed since, in one turn: if the same write brings that."""
        seen, seal = machine.seen, write.seal
        self._ends_with_what_is_committed(machine, compaction.index, compaction.term)
        if compaction.keep_rest:
            goes_back = compaction.index < seen.base
        else:
            goes_back = compaction.index + len(write.entries) < seen.commit
        if goes_back:
            raise Violation(STATE_MACHINE_SAFETY, f"{machine.name} goes back to a snapshot at {compaction.index}")
        seen.terms = seen.terms[compaction.index - seen.base :] if compaction.keep_rest else []
        seen.base, seen.base_term = compaction.index, compaction.term
        if seal is not None and not compaction.keep_rest:
            self.installed += 1
            self._memberships.installed(machine, seal)

    def _appends(self, machine: "Machine", entries: tuple[Entry, ...]) -> None:
        seen, core = machine.seen, machine.core
        role = core.role if core is not None else None
        first_index = entries[0].index
        leads_in = None
        if core is not None and type(role) is Leader:
            if seen.wrote_as is role and first_index <= seen.led_to:
                raise Violation(LEADER_APPEND_ONLY, f"{machine.name} leads and overwrites its own {first_index}")
            leads_in = core.term if core.term not in self._terms else None
        seen.wrote_as, seen.led_to = role, entries[-1].index
        if not seen.base < first_index <= seen.last_index + 1:
            raise Violation(LOG_MATCHING, f"{machine.name} writes {first_index} into a log that ends elsewhere")
        before = seen.term_before(first_index)
        del seen.terms[first_index - seen.base - 1 :]
        for entry in entries:
            first, first_before = self._before.setdefault((entry.index, entry.term), (entry, before))
            if first != entry or first_before != before:
                raise Violation(
                    LOG_MATCHING,
                    f"{machine.name} holds another entry {entry.index} of term {entry.term}, or another before it",
                )
            before = entry.term
            seen.terms.append(before)
        self._memberships.written(machine, entries, len(self.committed), leads_in)

    # ------------------------------------------------------------------------------------------------------- committing

    def commits(self, machine: "Machine", core: Core) -> None:
        """The commit index of a machine moved."""
        seen, log, commit, known = machine.seen, core.log, core.commit, len(self.committed)
        if commit < seen.commit:
            raise Violation(STATE_MACHINE_SAFETY, f"the commit index of {seen.name} went back to {commit}")
        if commit > log.last_index:
            raise Violation(STATE_MACHINE_SAFETY, f"{seen.name} commits {commit}, past the end of its log")
        term = log.term_at(commit)
        if commit <= known and term != self.committed[commit - 1].term:
            raise Violation(
                STATE_MACHINE_SAFETY,
                f"{seen.name} commits another entry at {commit}, of term {term}, not {self.committed[commit - 1].term}",
            )
        if commit > known:
            for entry in _entries(machine, core, Index(known + 1), commit):
                self._commit(machine, entry, core.term)
            self._is_held_by_a_majority(machine, in_force_this_turn(machine, core), self.committed[-1])
        if type(core.role) is Leader and term != core.term:
            raise Violation(
                LEADER_COMPLETENESS,
                f"{seen.name} leads {core.term} and commits {commit} of term {term} by counting",
            )
        seen.commit = commit

    def _commit(self, machine: "Machine", entry: Entry, term: Term) -> None:
        self._memberships.commit(machine, entry)
        self.committed.append(entry)
        self._terms.add(entry.term)
        self._committed_in.append(max(term, self._committed_in[-1]) if self._committed_in else term)
        if entry.kind is not EntryKind.COMMAND:
            self._all_understand(self._memberships.latest)
            return
        self._commands.append(entry)
        if entry.command not in self.attempts:
            self._is_a_leaders_own(entry)
            return
        earlier = self._place_of.setdefault(entry.command, entry.index)
        if earlier != entry.index:
            raise Violation(EXACTLY_ONCE, f"one command stands at {earlier} and again at {entry.index}")
        if self.attempts[entry.command] == "refused":
            raise Violation(EXACTLY_ONCE, f"the command at {entry.index} is committed, and was refused before")

    def _all_understand(self, membership: Membership) -> None:
        for each in membership.members:
            machine = self.machines.get(each.name)
            if machine is not None and machine.settings.versions.newest < membership.version:
                raise Violation(
                    MEMBERSHIP_SAFETY, f"version {membership.version} is used, and {each.name} does not understand it"
                )

    def _is_a_leaders_own(self, entry: Entry) -> None:
        if not isinstance(commands.decode(entry.command), Elapse):
            raise Violation(EXACTLY_ONCE, f"nobody asked for the command that stands at {entry.index}")

    def _is_held_by_a_majority(self, machine: "Machine", memberships: list[Membership], entry: Entry) -> None:
        def holds(voter: Member) -> bool:
            return voter.name in self.machines and self.machines[voter.name].disk.holds(entry, voter.incarnation)

        if not any(is_quorum(membership, holds) for membership in memberships):
            held = [voter.name for voter in memberships[-1].members if holds(voter)]
            raise Violation(
                DURABLE_BEFORE_REPLY,
                f"{machine.name} commits {entry.index} of term {entry.term}, but only the disks of {held} hold it, "
                f"which are no majority of {memberships[-1]}",
            )

    def elected(self, machine: "Machine", core: Core) -> None:
        before = bisect_left(self._committed_in, core.term)
        if before:
            last = self.committed[before - 1]
            if last.index >= core.log.base and core.log.term_at(last.index) != last.term:
                raise Violation(
                    LEADER_COMPLETENESS,
                    f"{machine.name} leads term {core.term} without the entry {last.index} of term {last.term}, "
                    f"committed in term {self._committed_in[before - 1]}",
                )

    # --------------------------------------------------------------------------------------------------------- applying

    def applied(
        self, name: MemberId, position: int, index: Index, command: bytes, result: Result, changed: bool
    ) -> None:
        """A replica applied its `position`-th command. `changed`: its document is another one now."""
        if position >= len(self._commands) or self._commands[position].index != index:
            raise Violation(STATE_MACHINE_SAFETY, f"{name} applies {index} as its command number {position + 1}")
        if self._commands[position].command != command:
            raise Violation(STATE_MACHINE_SAFETY, f"{name} applies another command at {index}")
        if position == len(self._results):
            self._results.append(result)
            self._sessions.applied(index, command, result, changed)
        elif self._results[position] != result:
            raise Violation(STATE_MACHINE_SAFETY, f"at {index} {name} comes to {result}, not {self._results[position]}")

    def restored(self, name: MemberId, before: int, index: Index, size: int, checksum: int) -> int:
        """A replica that had applied `before` commands has the state of a snapshot of those up to `index`, which as a
        snapshot would be of that size. Returns how many that are."""
        position = self.commands_up_to(index)
        if position < before:
            raise Violation(STATE_MACHINE_SAFETY, f"the state of {name} goes back to {index}")
        if self._snapshots.get(position) != (size, checksum):
            raise Violation(STATE_MACHINE_SAFETY, f"the state of {name} at {index} is not that of any snapshot")
        return position

    def commands_up_to(self, index: Index) -> int:
        return bisect_right(self._commands, index, key=_index_of)

    def place_of(self, command: bytes) -> Index | None:
        return self._place_of.get(command)


def _index_of(entry: Entry) -> Index:
    return entry.index


def _entries(machine: "Machine", core: Core, first: Index, last: Index) -> list[Entry]:
    """Of a machine's log, wherever they are."""
    log, contents = core.log, machine.disk.contents
    if first <= max(log.base, NO_INDEX):
        raise Violation(STATE_MACHINE_SAFETY, f"{machine.name} has a snapshot of what nobody committed: {log.base}")
    on_disk = contents.entries[first - contents.base - 1 : max(0, log.oldest - contents.base - 1)]
    return [*on_disk, *log.between(max(first, log.oldest), last)]
