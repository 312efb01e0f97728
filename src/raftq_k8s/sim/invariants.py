"""What must hold after every step, whatever fails. The numbers are those of the list in `docs/simulator.md`.

Each check looks at what this step changed, at the one node that took it, and costs the same however long the history
is. An omniscient observer is allowed what no node is: it reads every disk, and keeps every commit, leader and answer.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from raftq_k8s.node.forwarding import Outcome, Refused, Unknown
from raftq_k8s.node.transport import Wire
from raftq_k8s.raft.core import Core
from raftq_k8s.raft.lease import quorum_until
from raftq_k8s.raft.messages import (
    AppendEntries,
    AppendResponse,
    Entry,
    EntryKind,
    SnapshotChunk,
    SnapshotMark,
    SnapshotResponse,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from raftq_k8s.raft.persistence import Write
from raftq_k8s.raft.quorum import FOREVER, NEVER
from raftq_k8s.raft.roles import Leader, Role
from raftq_k8s.raft.types import (
    NO_INDEX,
    NO_TERM,
    NO_TRANSFER,
    Index,
    Instant,
    MemberId,
    Milliseconds,
    Term,
    TransferId,
)
from raftq_k8s.sim.events import Events
from raftq_k8s.sim.session_watch import IDLE_MS, SESSIONS_LIMIT, SessionWatch
from raftq_k8s.sim.transfers import Transfers
from raftq_k8s.sim.violation import (
    DURABLE_BEFORE_REPLY,
    ELECTION_SAFETY,
    EXACTLY_ONCE,
    LEADER_APPEND_ONLY,
    LEADER_COMPLETENESS,
    LOG_MATCHING,
    ONE_LEASE_HOLDER,
    STATE_MACHINE_SAFETY,
    Violation,
)
from raftq_k8s.state import commands
from raftq_k8s.state.commands import Applied, Elapse, NotAsExpected, Result, SessionOpened
from raftq_k8s.state.machine import StateMachine
from raftq_k8s.state.snapshot import Restoring

if TYPE_CHECKING:
    from raftq_k8s.sim.machine import Machine


class Promise(NamedTuple):
    """For how long yet a machine elects nobody, as it stands at one moment."""

    left: Milliseconds
    all_left: Milliseconds
    """Not even somebody to whom a leader hands over."""
    refused_transfer: tuple[Term, TransferId]


NOTHING_PROMISED = Promise(NEVER, NEVER, (NO_TERM, NO_TRANSFER))


class Seen:
    """What was seen of one machine at its last step."""

    __slots__ = (
        "base",
        "base_term",
        "commit",
        "established",
        "last",
        "last_entry",
        "led_to",
        "log",
        "name",
        "promised_all_until",
        "promised_until",
        "refused_transfer",
        "role",
        "stood",
        "term",
        "vote",
        "wrote_as",
    )

    def __init__(self, name: MemberId) -> None:
        self.name = name
        self.base: Index = NO_INDEX
        self.base_term: Term = NO_TERM
        self.log: list[Entry] = []
        """Its log as its writes tell it, after its base."""
        self.promised_until: Instant = NEVER
        """Until when, on its clock, it elects nobody, by all that it ever acknowledged: a restart changes nothing."""
        self.promised_all_until: Instant = NEVER
        """Until when not even somebody to whom a leader hands over: by what it acknowledged before its last start."""
        self.refused_transfer: tuple[Term, TransferId] = (NO_TERM, NO_TRANSFER)
        """The last transfer that it acknowledged to be given up, in this life."""
        self.forget()

    def forget(self) -> None:
        self.term = NO_TERM
        self.vote: MemberId | None = None
        self.stood = (NO_TERM, NOTHING_PROMISED)
        """In which term it voted for itself last, and what it had promised by then."""
        self.commit = NO_INDEX
        self.role: Role | None = None
        self.wrote_as: Role | None = None
        self.led_to = NO_INDEX
        self.established = False
        self.last = NO_INDEX
        self.last_entry: Entry | None = None


class Invariants:
    def __init__(self, events: Events) -> None:
        self.trace = 0
        """A digest of every step so far: the same for the same seed, on every machine."""
        self.leader_of: dict[Term, MemberId] = {}
        self.committed: list[Entry] = []
        self.machines: list[Machine] = []
        self.attempts: dict[bytes, str] = {}
        """What was last said to whoever asked for a command: `open`, `refused`, `applied`, `unknown`."""
        self._events = events
        self._committed_in: list[Term] = []
        self._commands: list[Entry] = []
        """Of what is committed, the entries that carry a command."""
        self._results: list[Result] = []
        self._place_of: dict[bytes, Index] = {}
        self._before: dict[tuple[Index, Term], tuple[Entry, Term]] = {}
        """Of each entry that was ever written: itself, and the term of the one before it."""
        self._snapshots: dict[Index, SnapshotMark] = {}
        """Of each index at which anybody was."""
        self._leading: list[Machine] = []
        self._established_term = NO_TERM
        self._votes: dict[tuple[MemberId, int, Term], MemberId] = {}
        """Of each voter (and volume) in each term."""
        self._transfers = Transfers()
        self.sessions = SessionWatch(events)

    # ---------------------------------------------------------------------------------------------------- a node's life

    def started(self, machine: "Machine") -> None:
        machine.seen.forget()
        machine.seen.promised_all_until = machine.seen.promised_until
        machine.seen.refused_transfer = (NO_TERM, NO_TRANSFER)
        machine.seen.term, machine.seen.vote = machine.disk.hard_state.term, machine.disk.hard_state.vote
        contents = machine.disk.contents
        machine.seen.base, machine.seen.base_term = contents.base, contents.base_term
        machine.seen.log = list(contents.entries)
        core = machine.core
        if core is not None and core.commit:
            self._covers(machine, core)
            machine.seen.commit = core.commit
        if core is not None and core.refuse_until < machine.seen.promised_until and not machine.disk.wiped:
            left = machine.seen.promised_until - max(machine.clock, core.refuse_until)
            if left > 0:
                raise Violation(ONE_LEASE_HOLDER, f"{machine.name} starts and forgets a promise of {left:.1f} ms more")

    def crashed(self, machine: "Machine") -> None:
        if machine in self._leading:
            self._leading.remove(machine)

    # ------------------------------------------------------------------------------------------------- after every step

    def look(self, machine: "Machine") -> None:
        core = machine.core
        if core is None:
            return
        seen = machine.seen
        term, commit, role = core.term, core.commit, core.role
        self.trace = hash((self.trace, self._events.now, machine.number, term, commit, core.log.last_index))
        if term != seen.term:
            if term < seen.term:
                raise Violation(STATE_MACHINE_SAFETY, f"the term of {seen.name} went back: {seen.term} to {term}")
            seen.term, seen.vote = term, None
        if core.vote != seen.vote:
            if seen.vote is not None:
                raise Violation(ELECTION_SAFETY, f"{seen.name} voted for {seen.vote} in {term}, now for {core.vote}")
            seen.vote = core.vote
            if core.vote == machine.name:
                seen.stood = (term, self._promise(machine))
            elif core.vote is not None:
                self._keeps_its_promise(machine, term, core.vote, self._promise(machine))
        if commit != seen.commit:
            self._committed_by(machine, core, seen)
        if role is not seen.role:
            if type(seen.role) is Leader:
                self._leading.remove(machine)
            seen.role = role
            if type(role) is Leader:
                self._elected(machine, core, seen)
        if type(role) is Leader:
            self._led(machine, core, role, seen)

    def _promise(self, machine: "Machine") -> Promise:
        seen, now = machine.seen, machine.clock
        return Promise(seen.promised_until - now, seen.promised_all_until - now, seen.refused_transfer)

    def _keeps_its_promise(self, machine: "Machine", term: Term, candidate: MemberId, promise: Promise) -> None:
        """No vote within a window, but for whom a leader chose to follow it and has not given up since."""
        transfer = self._transfers.forced.get((term, candidate))
        passes = transfer is not None and (term - 1, transfer) > promise.refused_transfer
        left = promise.all_left if passes else promise.left
        if left > 0:
            raise Violation(
                ONE_LEASE_HOLDER,
                f"{machine.name} votes for {candidate} in {term} and promised not to for {left:.1f} ms",
            )

    def _elected(self, machine: "Machine", core: Core, seen: Seen) -> None:
        self._leads(core.term, machine.name)
        seen.established = False
        seen.last, seen.last_entry = NO_INDEX, None
        before = bisect_left(self._committed_in, core.term)
        if before:
            last = self.committed[before - 1]
            if last.index >= core.log.base and core.log.term_at(last.index) != last.term:
                raise Violation(
                    LEADER_COMPLETENESS,
                    f"{machine.name} leads term {core.term} without the entry {last.index} of term {last.term}, "
                    f"committed in term {self._committed_in[before - 1]}",
                )
        self._leading.append(machine)

    def _leads(self, term: Term, name: MemberId) -> None:
        first = self.leader_of.setdefault(term, name)
        if first != name:
            raise Violation(ELECTION_SAFETY, f"{first} and {name} both lead term {term}")

    def _led(self, machine: "Machine", core: Core, role: Leader, seen: Seen) -> None:
        last = core.log.last_index
        if last != seen.last or seen.last_entry is None:
            if last < seen.last or (seen.last_entry and _in_memory(core, seen.last) not in (None, seen.last_entry)):
                raise Violation(
                    LEADER_APPEND_ONLY, f"{machine.name} changed its own log at {seen.last} while it led {core.term}"
                )
            seen.last = last
            seen.last_entry = _in_memory(core, last)
        if not seen.established and core.commit >= role.first_index:
            seen.established = True
            if core.term <= self._established_term:
                raise Violation(
                    ONE_LEASE_HOLDER,
                    f"the fencing token of {machine.name}, {core.term}, is issued after {self._established_term}",
                )
            self._established_term = core.term
        if len(self._leading) > 1:
            self._one_lease()

    def _one_lease(self) -> None:
        """Who holds a lease says that nobody else can be elected until then: so no younger leader may exist."""
        now = self._events.now
        youngest = max(self._leading, key=lambda machine: machine.seen.term)
        for machine in self._leading:
            if machine is youngest:
                continue
            until = lease_end(machine)
            if until > now:
                raise Violation(
                    ONE_LEASE_HOLDER,
                    f"{machine.name} holds a lease of term {machine.seen.term} for {until - now:.1f} ms more, and "
                    f"{youngest.name} leads term {youngest.seen.term}",
                )

    def woke(self, machine: "Machine") -> None:
        """The timer of a process fired: by now a leader without a quorum knows that it is none."""
        core = machine.core
        if core is not None and isinstance(core.role, Leader) and quorum_until(core, core.role) <= machine.clock:
            raise Violation(ONE_LEASE_HOLDER, f"{machine.name} leads {core.term} though its quorum's word is over")

    # ---------------------------------------------------------------------------------------------------------- commits

    def _committed_by(self, machine: "Machine", core: Core, seen: Seen) -> None:
        if core.commit < seen.commit:
            raise Violation(STATE_MACHINE_SAFETY, f"the commit index of {seen.name} went back to {core.commit}")
        if seen.commit < core.log.base:
            self._covers(machine, core)
            seen.commit = core.log.base
        news = _entries(machine, core, Index(seen.commit + 1), core.commit)
        if len(news) != core.commit - seen.commit:
            raise Violation(STATE_MACHINE_SAFETY, f"{seen.name} commits {core.commit}, past the end of its log")
        if not news:
            return
        known = len(self.committed)
        for entry in news:
            if entry.index > known:
                self._commit(entry, core.term)
            elif self.committed[entry.index - 1] != entry:
                first = self.committed[entry.index - 1]
                raise Violation(
                    STATE_MACHINE_SAFETY,
                    f"{seen.name} commits another entry at {entry.index}, of term {entry.term}, not {first.term}",
                )
        if core.commit > known:
            self._is_held_by_a_majority(news[-1])
        if type(core.role) is Leader and news[-1].term != core.term:
            raise Violation(
                LEADER_COMPLETENESS,
                f"{seen.name} leads {core.term} and commits {news[-1].index} of term {news[-1].term} by counting",
            )
        seen.commit = core.commit

    def _covers(self, machine: "Machine", core: Core) -> None:
        """What a snapshot covers was committed before, as it is, and so was everything up to where a log begins."""
        mark = core.snapshot
        ends = [(core.log.base, core.log.base_term)] + ([(mark.index, mark.term)] if mark is not None else [])
        for index, term in ends:
            if index > len(self.committed) or (index and self.committed[index - 1].term != term):
                raise Violation(
                    STATE_MACHINE_SAFETY,
                    f"{machine.name} has a snapshot, or a base, at {index} of term {term}, which was not committed",
                )

    def _commit(self, entry: Entry, term: Term) -> None:
        self.committed.append(entry)
        self._committed_in.append(max(term, self._committed_in[-1]) if self._committed_in else term)
        if entry.kind is not EntryKind.COMMAND:
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

    def _is_a_leaders_own(self, entry: Entry) -> None:
        if not isinstance(commands.decode(entry.command), Elapse):
            raise Violation(EXACTLY_ONCE, f"nobody asked for the command that stands at {entry.index}")

    def _is_held_by_a_majority(self, entry: Entry) -> None:
        held = sum(machine.disk.holds(entry) for machine in self.machines)
        if held <= len(self.machines) // 2:
            raise Violation(
                DURABLE_BEFORE_REPLY,
                f"the entry {entry.index} of term {entry.term} is committed, but on {held} of {len(self.machines)} "
                "disks",
            )

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
            self.sessions.applied(index, command, result, changed)
        elif self._results[position] != result:
            raise Violation(STATE_MACHINE_SAFETY, f"at {index} {name} comes to {result}, not {self._results[position]}")

    def commands_up_to(self, index: Index) -> int:
        return bisect_right(self._commands, index, key=lambda entry: entry.index)

    # ------------------------------------------------------------------------------------------------- writes and sends

    def writing(self, machine: "Machine", write: Write) -> None:
        """Two logs that hold the same entry hold the same before it: each entry is compared once with its first
        appearance anywhere."""
        seen, core = machine.seen, machine.core
        if write.seal is not None:
            self._is_the_same_state(machine, write.seal)
        if write.compaction is not None:
            index = write.compaction.index
            seen.log = seen.log[index - seen.base :] if write.compaction.keep_rest else []
            seen.base, seen.base_term = index, write.compaction.term
        if not write.entries:
            return
        role = core.role if core is not None else None
        if type(role) is Leader and seen.wrote_as is role and write.entries[0].index <= seen.led_to:
            raise Violation(LEADER_APPEND_ONLY, f"{machine.name} leads and overwrites its own {write.entries[0].index}")
        seen.wrote_as, seen.led_to = role, write.entries[-1].index
        log = seen.log
        del log[write.entries[0].index - seen.base - 1 :]
        for entry in write.entries:
            before = log[-1].term if log else seen.base_term
            first, first_before = self._before.setdefault((entry.index, entry.term), (entry, before))
            if first != entry or first_before != before:
                raise Violation(
                    LOG_MATCHING,
                    f"{machine.name} holds another entry {entry.index} of term {entry.term}, or another before it",
                )
            log.append(entry)

    def _is_the_same_state(self, machine: "Machine", mark: SnapshotMark) -> None:
        first = self._snapshots.setdefault(mark.index, mark)
        if first != mark:
            raise Violation(
                STATE_MACHINE_SAFETY, f"{machine.name} comes to another state at {mark.index}: {mark}, not {first}"
            )

    def leaving(self, machine: "Machine", messages: Sequence[Wire]) -> None:
        """Nothing leaves before what it says is on the disk."""
        disk = machine.disk
        synced = disk.hard_state.term
        for message in messages:
            match message:
                case AppendEntries():
                    self._transfers.given_up(message)
                    self._leads(message.term, machine.name)
                    if message.term > synced:
                        raise Violation(DURABLE_BEFORE_REPLY, f"{machine.name} leads {message.term}, synced {synced}")
                case SnapshotChunk():
                    self._leads(message.term, machine.name)
                    if message.term > synced:
                        raise Violation(DURABLE_BEFORE_REPLY, f"{machine.name} leads {message.term}, synced {synced}")
                case AppendResponse():
                    self._acknowledges(machine, message, synced)
                case SnapshotResponse():
                    self._promises(machine, message, synced)
                    self._installed(machine, message)
                case VoteRequest(pre_vote=False):
                    self._transfers.forces(message)
                    self._votes_for(machine, message.term, machine.name)
                    self._stands(machine, message.term)
                case TimeoutNow():
                    self._transfers.told(message)
                case VoteResponse(pre_vote=False, granted=True):
                    self._votes_for(machine, message.term, message.destination)
                case VoteResponse(granted=False):
                    if message.term > synced:
                        raise Violation(DURABLE_BEFORE_REPLY, f"{machine.name} is in {message.term}, synced {synced}")
                case _:
                    pass

    def _stands(self, machine: "Machine", term: Term) -> None:
        """By now it is known whether a leader told it to; what counts is what it had promised when it decided that."""
        decided_in, promise = machine.seen.stood
        if decided_in == term:
            self._keeps_its_promise(machine, term, machine.name, promise)

    def _votes_for(self, machine: "Machine", term: Term, candidate: MemberId) -> None:
        hard_state = machine.disk.hard_state
        voted = (hard_state.term, hard_state.vote) == (term, candidate)
        if not voted and hard_state.term <= term:
            raise Violation(
                DURABLE_BEFORE_REPLY,
                f"{machine.name} votes for {candidate} in {term}; its disk knows of {hard_state.vote} in "
                f"{hard_state.term}",
            )
        voter = (machine.name, machine.disk.wiped, term)
        first = self._votes.setdefault(voter, candidate)
        if first != candidate:
            raise Violation(ELECTION_SAFETY, f"{machine.name} votes for {first} and for {candidate} in term {term}")

    def _installed(self, machine: "Machine", response: SnapshotResponse) -> None:
        if response.installed and not machine.disk.holds(self.committed[response.index - 1]):
            raise Violation(
                DURABLE_BEFORE_REPLY,
                f"{machine.name} says that a snapshot at {response.index} is installed; its disk does not hold it",
            )

    def _promises(self, machine: "Machine", response: AppendResponse | SnapshotResponse, synced: Term) -> None:
        disk = machine.disk
        if response.term > synced:
            raise Violation(DURABLE_BEFORE_REPLY, f"{machine.name} answers in {response.term}, synced {synced}")
        if response.window > disk.hard_state.promised_window:
            raise Violation(
                DURABLE_BEFORE_REPLY,
                f"{machine.name} promises {response.window:g} ms, synced {disk.hard_state.promised_window:g}",
            )
        core = machine.core
        if core is not None and core.refuse_until > machine.seen.promised_until:
            machine.seen.promised_until = core.refuse_until

    def _acknowledges(self, machine: "Machine", response: AppendResponse, synced: Term) -> None:
        self._promises(machine, response, synced)
        disk, core = machine.disk, machine.core
        if over := self._transfers.known_to_be_over(response):
            machine.seen.refused_transfer = max(machine.seen.refused_transfer, (response.term, over))
        if not response.success or response.term < synced:
            return
        term = core.log.term_at(response.index) if core is not None and core.term == response.term else None
        held = disk.last_index >= response.index
        if not held or (term and disk.contents.term_at(response.index) not in (None, term)):
            raise Violation(
                DURABLE_BEFORE_REPLY,
                f"{machine.name} acknowledges {response.index}, its disk holds {disk.last_index} entries"
                + (", with another there" if held else ""),
            )

    def answered(self, command: bytes, outcome: Outcome) -> None:
        """A caller is told the fate of its command."""
        place = self._place_of.get(command)
        if isinstance(outcome, Refused):
            if place is not None:
                raise Violation(EXACTLY_ONCE, f"a command is called refused, and stands committed at {place}")
            self.attempts[command] = "refused"
        elif isinstance(outcome, Unknown):
            self.attempts[command] = "unknown"
        else:
            if self.sessions.is_watched(command):
                self.sessions.answered(command, place, outcome)
            elif place is None or place != _revision_in(outcome, place):
                raise Violation(DURABLE_BEFORE_REPLY, f"a caller hears {outcome}; its command stands at {place}")
            self.attempts[command] = "applied"

    def took_effect(self, command: bytes) -> Index | None:
        if self.sessions.is_watched(command):
            return self.sessions.took_effect(command)
        return self._place_of.get(command)


class ObservedState(StateMachine):
    """The real state machine; it tells what was applied."""

    def __init__(self, invariants: Invariants, name: MemberId) -> None:
        super().__init__(1 << 20, SESSIONS_LIMIT, IDLE_MS)
        self._invariants, self._name = invariants, name
        self._applied = 0

    def apply(self, index: Index, command: bytes) -> Result:
        result = super().apply(index, command)
        changed = self.document._changed == index
        self._invariants.applied(self._name, self._applied, index, command, result, changed)
        self._applied += 1
        return result

    def install(self, restoring: Restoring) -> None:
        super().install(restoring)
        self._applied = self._invariants.commands_up_to(self.document.applied_index)


def _in_memory(core: Core, index: Index) -> Entry | None:
    """Where it was let go, the volume alone holds it: what was written there was looked at before."""
    return core.log.between(index, index)[0] if core.log.oldest <= index <= core.log.last_index else None


def _entries(machine: "Machine", core: Core, first: Index, last: Index) -> tuple[Entry, ...]:
    """Of its log, whether they are in its memory or on its disk alone."""
    oldest = core.log.oldest
    if first >= oldest:
        return core.log.between(first, last)
    contents = machine.disk.contents
    on_disk = contents.entries[first - contents.base - 1 : min(last, oldest - 1) - contents.base]
    return (*on_disk, *core.log.between(oldest, last)) if last >= oldest else tuple(on_disk)


def _revision_in(outcome: Outcome, otherwise: Index) -> int:
    match outcome:
        case Applied(revision) | NotAsExpected(revision) | SessionOpened(revision):
            return revision
        case _:
            return otherwise


def lease_end(machine: "Machine") -> Instant:
    """Until when this machine holds a lease, in global time."""
    consensus = machine.consensus
    until = consensus.lease_until if consensus is not None else None
    if until is None:
        return NEVER
    return until if until == FOREVER else machine.when(until)
