"""What must hold after every step, whatever fails. The numbers are those of the list in `docs/simulator.md`.

Each check looks at what this step changed, at the one node that took it, and costs the same however long the history
is. An omniscient observer is allowed what no node is: it reads every disk, and keeps every commit, leader and answer.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from raftq_k8s.node.forwarding import Outcome, Refused, Unknown
from raftq_k8s.node.transport import Wire
from raftq_k8s.raft.core import Core
from raftq_k8s.raft.lease import quorum_until
from raftq_k8s.raft.messages import (
    AppendEntries,
    AppendResponse,
    SnapshotChunk,
    SnapshotResponse,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from raftq_k8s.raft.persistence import Write
from raftq_k8s.raft.quorum import FOREVER, NEVER
from raftq_k8s.raft.roles import Follower, Leader
from raftq_k8s.raft.types import (
    NO_INDEX,
    NO_TERM,
    Index,
    Instant,
    MemberId,
    Term,
)
from raftq_k8s.sim.events import Events
from raftq_k8s.sim.logs import Logs
from raftq_k8s.sim.memberships import Memberships
from raftq_k8s.sim.seen import Promise, Seen
from raftq_k8s.sim.session_watch import SessionWatch
from raftq_k8s.sim.transfers import Transfers
from raftq_k8s.sim.violation import (
    DURABLE_BEFORE_REPLY,
    ELECTION_SAFETY,
    EXACTLY_ONCE,
    LEADER_APPEND_ONLY,
    ONE_LEASE_HOLDER,
    STATE_MACHINE_SAFETY,
    Violation,
)
from raftq_k8s.state.commands import Applied, NotAsExpected, SessionOpened, Transacted

if TYPE_CHECKING:
    from raftq_k8s.sim.machine import Machine


class Invariants:
    def __init__(self, events: Events) -> None:
        self.trace = 0
        """A digest of every step so far: the same for the same seed, on every machine."""
        self.leader_of: dict[Term, MemberId] = {}
        self.sessions = SessionWatch(events)
        self.memberships = Memberships()
        self.logs = Logs(self.memberships, self.sessions)
        self._events = events
        self._leading: list[Machine] = []
        self._established_term = NO_TERM
        self._transfers = Transfers()

    # ---------------------------------------------------------------------------------------------------- a node's life

    def started(self, machine: "Machine") -> None:
        machine.seen.forget()
        machine.seen.term, machine.seen.vote = machine.disk.hard_state.term, machine.disk.hard_state.vote
        self.logs.started(machine)
        core = machine.core
        if core is not None and core.refuse_until < machine.seen.promised_until and not machine.disk.is_old_copy:
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
            self.logs.commits(machine, core)
        if role is not seen.role:
            if type(seen.role) is Leader:
                self._leading.remove(machine)
            seen.role = role
            if type(role) is Leader:
                self._elected(machine, core, seen)
            elif type(role) is not Follower:
                self.memberships.stands(machine, core.term, core.commit)
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
        seen.last = NO_INDEX
        self.logs.elected(machine, core)
        self.memberships.elected(machine, core.term)
        self._leading.append(machine)

    def _leads(self, term: Term, name: MemberId) -> None:
        first = self.leader_of.setdefault(term, name)
        if first != name:
            raise Violation(ELECTION_SAFETY, f"{first} and {name} both lead term {term}")

    def _led(self, machine: "Machine", core: Core, role: Leader, seen: Seen) -> None:
        last = core.log.last_index
        if last != seen.last:
            if last < seen.last or (seen.last > core.log.base and core.log.term_at(seen.last) != seen.last_term):
                raise Violation(
                    LEADER_APPEND_ONLY, f"{machine.name} changed its own log at {seen.last} while it led {core.term}"
                )
            seen.last, seen.last_term = last, core.log.last_term
        if not seen.established and core.commit >= role.first_index:
            seen.established = True
            if core.term <= self._established_term:
                raise Violation(
                    ONE_LEASE_HOLDER,
                    f"the fencing token of {machine.name}, {core.term}, is issued after {self._established_term}",
                )
            self._established_term = core.term
        self.memberships.leads(machine, core.term, core.commit)
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

    # ------------------------------------------------------------------------------------------------- writes and sends

    def writing(self, machine: "Machine", write: Write) -> None:
        self.logs.writing(machine, write)

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
                case AppendResponse():
                    self._acknowledges(machine, message, synced)
                case SnapshotChunk():
                    self._transfers.given_up(message)
                    self._leads(message.term, machine.name)
                    if message.term > synced:
                        raise Violation(DURABLE_BEFORE_REPLY, f"{machine.name} leads {message.term}, synced {synced}")
                case SnapshotResponse():
                    self._has_pieces(machine, message, synced)
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
        self.memberships.votes(machine, term, candidate)

    def _acknowledges(self, machine: "Machine", response: AppendResponse, synced: Term) -> None:
        self._promises(machine, response, synced)
        if not response.success or response.term < synced:
            return
        disk, core = machine.disk, machine.core
        term = core.log.term_at(response.index) if core is not None and core.term == response.term else None
        held = disk.last_index >= response.index
        if not held or (term and disk.contents.term_at(response.index) not in (None, term)):
            raise Violation(
                DURABLE_BEFORE_REPLY,
                f"{machine.name} acknowledges {response.index}, its disk holds {disk.last_index} entries"
                + (", with another there" if held else ""),
            )

    def _has_pieces(self, machine: "Machine", response: SnapshotResponse, synced: Term) -> None:
        self._promises(machine, response, synced)
        if response.term < synced:
            return
        contents, index = machine.disk.contents, response.index
        begun = contents.begun
        if response.installed:
            synced_so = contents.last_index >= index
        else:
            later = begun[0] > index if begun is not None else False
            synced_so = response.offset == 0 or later or begun is None or begun >= (index, response.offset)
        if not synced_so:
            raise Violation(
                DURABLE_BEFORE_REPLY,
                f"{machine.name} acknowledges {response.offset} bytes of the snapshot at {index}"
                + (", all of it" if response.installed else "")
                + f"; its disk holds {begun} of one, and a log up to {contents.last_index}",
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
        if over := self._transfers.known_to_be_over(response.term, response.round):
            machine.seen.refused_transfer = max(machine.seen.refused_transfer, (response.term, over))

    def answered(self, command: bytes, outcome: Outcome) -> None:
        """A caller is told the fate of its command."""
        place = self.logs.place_of(command)
        if isinstance(outcome, Refused):
            if place is not None:
                raise Violation(EXACTLY_ONCE, f"a command is called refused, and stands committed at {place}")
            self.logs.attempts[command] = "refused"
        elif isinstance(outcome, Unknown):
            self.logs.attempts[command] = "unknown"
        else:
            if self.sessions.is_watched(command):
                self.sessions.answered(command, place, outcome)
            elif place is None or place != _revision_in(outcome, place):
                raise Violation(DURABLE_BEFORE_REPLY, f"a caller hears {outcome}; its command stands at {place}")
            self.logs.attempts[command] = "applied"

    def took_effect(self, command: bytes) -> Index | None:
        if self.sessions.is_watched(command):
            return self.sessions.took_effect(command)
        return self.logs.place_of(command)


def _revision_in(outcome: Outcome, otherwise: Index) -> int:
    match outcome:
        case Applied(revision) | Transacted(revision) | NotAsExpected(revision) | SessionOpened(revision):
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
