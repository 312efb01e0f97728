"""One node as a pure machine: it decides in which order things are persisted, sent, applied and answered.

It takes no part while it belongs to no cluster (*unborn*): then it only greets, until a birth record is decided or
adopted and synced; from there on it is a *member* and drives the consensus core and the state machine. Whoever runs it
(asyncio in `runtime.py`, a simulator elsewhere) calls a door when something happened, and then carries out
`next_actions` until there are none: the write is handed to the volume, the messages leave, which do not rest on it, and
what was committed is applied when the next actions are asked for. Nothing is resolved that is not committed and applied
here. Commands and their fates are `submissions.py`, where they go `placing.py`, reads `read_queue.py`, who leads and
led `leadership.py`.
"""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from raftq_k8s.node.actions import Actions, BirthReceipt, Load, Loaded, SliceReceipt, SliceWanted, Written
from raftq_k8s.node.forwarding import Forward, Forwarded, Outcome
from raftq_k8s.node.given import Node
from raftq_k8s.node.handovers import Handovers
from raftq_k8s.node.leadership import Failover, Leadership
from raftq_k8s.node.notes import of_members, of_room, of_standing
from raftq_k8s.node.peers import Peers
from raftq_k8s.node.placing import Placing
from raftq_k8s.node.read_queue import ReadQueue
from raftq_k8s.node.readings import members_of, status_of
from raftq_k8s.node.room import Room
from raftq_k8s.node.session_time import SessionTime
from raftq_k8s.node.snapshots import Snapshots
from raftq_k8s.node.status import MemberStatus, NodeStatus
from raftq_k8s.node.submissions import Submission, Submissions, Token
from raftq_k8s.node.timings import Timings
from raftq_k8s.node.transport import Wire
from raftq_k8s.node.unborn import Unborn
from raftq_k8s.raft import output
from raftq_k8s.raft.birth import Birth, Testimony
from raftq_k8s.raft.consensus import Consensus, NotLeader
from raftq_k8s.raft.membership import BirthRecord, Change, Hello, Identity, Refusal
from raftq_k8s.raft.messages import Entry, EntryKind, JoinResponse
from raftq_k8s.raft.output import NO_OUTPUT, Accepted, ChunkWanted, EntriesWanted, Output, Standing
from raftq_k8s.raft.types import (
    LONGEST_STEP,
    NO_INDEX,
    NO_TERM,
    Index,
    Instant,
    MemberId,
    Term,
)
from raftq_k8s.state.commands import Noted
from raftq_k8s.state.machine import StateMachine

LOOKED_THROUGH_AT_ONCE: Final = 4 << 20
"""Bytes that patches look through before whoever runs this node may see what else there is: a batch of them would let a
leader miss its heartbeats, each of them being harmless."""


class Driver:
    def __init__(self, node: Node, state: StateMachine, connected: Callable[[MemberId], bool], now: Instant) -> None:
        """`connected`: whether a message to that peer has a connection to leave by, right now."""
        restored = node.restored
        cluster = restored.birth.cluster if restored.birth is not None else None
        self.identity = Identity(cluster, restored.member, restored.incarnation, restored.generation, node.boot)
        self._node = node
        self._state = state
        self._connected = connected
        self._record: BirthRecord | None = restored.birth
        self._submissions = Submissions(restored.member, node.largest_command, first_ticket=node.seed % (1 << 31) << 20)
        self._snapshots = Snapshots(state, node.snapshots)
        self._reads = ReadQueue(node.settings.heartbeat)
        self._session_time = SessionTime(node.session_time_interval)
        self._room = Room(node.settings.maximum_election)
        self._placing = Placing(restored.member, self._submissions, self._room, connected, node.settings.heartbeat, now)
        self._handovers = Handovers(restored.member, connected)
        self.timings = Timings()
        self._leadership = Leadership(restored.member, now, self.timings.election)
        self._eligible = True
        self._observed_term = NO_TERM
        self._peers = Peers(restored.member, node.http_address)
        self._greeted: list[Accepted | output.Refused] = []
        self._announce = False
        self._notes: list[str] = []
        self._to_apply: tuple[Entry, ...] = ()
        self.applied_index = NO_INDEX
        self._applied_term = NO_TERM
        self._ignored: dict[str, int] = {}
        self._phase: Unborn | Consensus
        if restored.birth is None:
            self._phase = Unborn(Birth(self.identity, node.rule, node.cluster, Term(1)))
        else:
            self._phase = Consensus(self.identity, restored, node.settings, node.seed, now)

    # ---------------------------------------------------------------------------------------------------------- doors

    def hello(self) -> Hello:
        versions = self._node.settings.versions
        said = Hello(
            versions.oldest,
            versions.newest,
            self.identity,
            self._record,
            self._node.http_address,
            full=self._room.is_full,
        )
        match self._phase:
            case Consensus() as consensus:
                return msgspec.structs.replace(
                    said, term=consensus.standing.term, vote=consensus.vote, last_index=consensus.last_index
                )
            case Unborn():
                return said

    def greet(self, hello: Hello, now: Instant) -> None:
        """The verdict comes with some later actions: mostly at once, else when what it rests on is synced."""
        identity = hello.identity
        gone = not self._connected(identity.member) and not self._peers.awaits_a_verdict(identity.member)
        self._peers.asks(hello)
        match self._phase:
            case Consensus() as consensus:
                if gone:  # a connection that ended before its hello was answered is never told as lost
                    consensus.peer_lost(identity.member, now)
                if identity.member in consensus.members or self._peers.has_room:
                    self._peers.greeted(hello)
                consensus.step(hello, now)
            case Unborn() as unborn:
                self._peers.greeted(hello)
                refusal = unborn.birth.greet(hello)
                self._greeted.append(Accepted(identity) if refusal is None else output.Refused(identity, refusal))

    def receive(self, sender: Identity, messages: Sequence[Wire], now: Instant) -> None:
        match self._phase:
            case Consensus() as consensus if consensus.recognises(sender):
                for message in messages:
                    if message.source != sender.member or message.destination != self.identity.member:
                        self.ignore("misaddressed")
                    else:
                        self._receive(consensus, message, now)
            case Consensus():
                self.ignore("stranger")
            case Unborn(birth=birth):
                greeted = self._peers.has_greeted(sender)
                for message in messages:
                    if isinstance(message, JoinResponse) and greeted and message.source == sender.member:
                        birth.answered(message)
                    else:
                        self.ignore("unborn")

    def refused(self, by: Identity, refusal: Refusal, now: Instant) -> None:
        """A peer does not listen to this process."""
        if isinstance(self._phase, Consensus):
            self._phase.refused_by(by, refusal, now)

    def change(self, token: Token, change: Change, deadline: Instant, now: Instant) -> None:
        """Change the members, because a person says so; it ends in one of the `resolved`, as a command does. Raises the
        core's `NotLeader` and `ChangeRefused`; then nothing was begun."""
        match self._phase:
            case Consensus() as consensus:
                index = consensus.change(change, now)
                self._submissions.admit_change(token, consensus.standing.term, index, deadline)
            case Unborn():
                raise NotLeader(None)

    def depart(self, member: MemberId, now: Instant) -> None:
        """That member, perhaps this one, goes away for good: it is removed through the log."""
        if isinstance(self._phase, Consensus):
            self._phase.depart(member, now)

    def lost(self, peer: MemberId, now: Instant) -> None:
        self._leadership.connection_lost(peer, now)
        self._submissions.lost(peer)
        greets_again = self._peers.lost(peer)
        match self._phase:
            case Consensus() as consensus:
                consensus.peer_lost(peer, now)
                if peer not in consensus.members:  # whoever invents names fills no memory
                    self._peers.forget(peer)
                    self._submissions.replaced(peer)  # and the next one of that name is another one
            case Unborn() as unborn:
                unborn.birth.lost(peer)
        if greets_again is not None:
            self.greet(greets_again, now)

    def submit(self, submissions: Sequence[Submission]) -> None:
        """Commands from here; each ends in exactly one of the `resolved`."""
        self._submissions.admit(submissions)

    def read(self, token: Token, deadline: Instant) -> None:
        """A linearizable read came in here; it ends in exactly one of the `reads`."""
        self._reads.admit(token, deadline)

    def may_read_by_lease(self, now: Instant) -> bool:
        """Whether the state, as it is, reflects everything that was acknowledged anywhere, on the lease's word."""
        index = self._phase.leased_read(now) if isinstance(self._phase, Consensus) else None
        return index is not None and index <= self.applied_index

    def transfer(self, token: Token, target: MemberId | None, deadline: Instant, now: Instant) -> None:
        """Hand the leadership over, to the best of the connected voters where no target is named; commands wait
        meanwhile. Who leads then is among the `handed_over`. Raises the core's `NotLeader` and `TransferRefused`; then
        nothing was begun."""
        match self._phase:
            case Consensus() as consensus:
                self._handovers.begin(consensus, token, target, deadline, now)
            case Unborn():
                raise NotLeader(None)

    def hand_over(self, now: Instant) -> None:
        """This node goes away: if it leads, let a connected voter lead instead."""
        if isinstance(self._phase, Consensus):
            self._handovers.leave_it_to(self._phase.voters, self._phase, now)

    def set_eligible(self, eligible: bool, now: Instant) -> None:
        """Whether this node may stand for election, from its birth on. A leader goes on leading."""
        self._eligible = eligible
        if isinstance(self._phase, Consensus):
            self._phase.set_eligible(eligible, now)

    def room_changed(self, full: bool, now: Instant) -> None:
        """The volume is full, and lives on its reserve; or it has room again."""
        if full == self._room.is_full:
            return
        self._room.changed(full, now)
        self._announce = True
        self._notes.append(of_room(full))

    def tick(self, now: Instant) -> None:
        if isinstance(self._phase, Consensus):
            self._phase.tick(now)

    def persisted(self, written: Written, now: Instant) -> None:
        match self._phase, written:
            case Unborn() as unborn, BirthReceipt():
                self._become_member(unborn, now)
            case Consensus() as consensus, int():
                consensus.persisted(written, now)
            case Consensus() as consensus, SliceReceipt():
                if mark := self._snapshots.persisted(written):
                    consensus.snapshot_taken(mark)
                    self._notes.append(f"a snapshot is on the volume: {mark.size} bytes, up to index {mark.index}")
            case _:
                raise ValueError(f"{written} was never given in this phase")

    def loaded(self, load: Load, loaded: Loaded, now: Instant) -> None:
        """What an earlier action wanted of the volume."""
        match self._phase, load, loaded:
            case Consensus() as consensus, EntriesWanted(), tuple():
                consensus.entries_loaded(load, loaded, now)
            case Consensus() as consensus, ChunkWanted(), bytes() | None:
                consensus.snapshot_chunk(load, loaded, now)
            case Consensus() as consensus, SliceWanted(), bytes() | None:
                if mark := self._snapshots.loaded(load, loaded):
                    self._has_applied(consensus, mark.index, mark.term)
            case _:
                raise ValueError(f"{load} was never wanted in this phase, or is not what was loaded")

    def observe_term(self, term: Term, now: Instant) -> None:
        if term <= LONGEST_STEP:  # the core would not believe a newborn more
            self._observed_term = max(self._observed_term, term)
        if isinstance(self._phase, Consensus):
            self._phase.observe_term(term, now)

    def witnessed(self, testimony: Testimony) -> None:
        """What the witness of births shows, asked because of this node's `wish`."""
        if isinstance(self._phase, Unborn):
            self._phase.birth.witnessed(testimony)

    def ignore(self, kind: str) -> None:
        """Count what is not listened to."""
        self._ignored[kind] = self._ignored.get(kind, 0) + 1

    def end(self, now: Instant) -> list[tuple[Token, Outcome]]:
        """This node stops for good, and leads no more: what its callers can still be told. Reads end unanswered."""
        self._leadership.end(now)
        self._handovers.end()
        self._submissions.end()
        return self._submissions.take_resolved()

    @property
    def wake_at(self) -> Instant:
        """When to call `tick` and ask for actions, if nothing else happens before."""
        wake_at = min(self._reads.wake_at(self.standing.leader is not None), self._handovers.wake_at)
        if isinstance(self._phase, Unborn):
            wake_at = min(wake_at, self._phase.birth.wake_at)
        if isinstance(self._phase, Consensus):
            room = self._room.wake_at(self.standing.established)
            wake_at = min(wake_at, self._phase.wake_at, self._session_time.wake_at, room)
        deadline = self._submissions.next_deadline
        if deadline is not None:
            wake_at = min(wake_at, deadline, self._placing.wake_at(self.standing.leader))
        return wake_at

    # -------------------------------------------------------------------------------------------------------- actions

    def next_actions(self, now: Instant) -> Actions | None:
        """What is to be done now; `None` when nothing is. To be asked for again until then."""
        self._apply()
        self._submissions.expire(now)
        self._reads.expire(now)
        match self._phase:
            case Consensus() as consensus:
                actions = Actions()
                self._leave_it_to_one_with_room(consensus, now)
                self._placing.place(consensus, actions, now)
                self._reads.ask(consensus, now)
                self._tell_time(consensus, now)
                if (out := consensus.take_output()) is not NO_OUTPUT:
                    self._take(out, actions, now)
                self._snapshots.keep(consensus, self.applied_index, self._applied_term, actions, now)
                self._note_standing(consensus, actions, now)
            case Unborn() as unborn:
                actions = unborn.next_actions(now)
                if news := unborn.news():
                    self._notes.append(news)
        for answer in self._submissions.take_answers():
            actions.messages.setdefault(answer.destination, []).append(answer)
        if self._greeted:
            actions.greetings = (*self._greeted, *actions.greetings)
            self._greeted = []
        actions.announce, self._announce = self._announce, False
        actions.resolved = self._submissions.take_resolved()
        actions.reads = self._reads.take_resolved()
        actions.handed_over = self._handovers.take_resolved()
        for verdict in actions.greetings:
            self._note_greeting(verdict)
        actions.notes, self._notes = self._notes, []
        actions.unfinished = bool(self._to_apply) or isinstance(self._phase, Unborn)
        return actions if actions or self._to_apply else None

    def _apply(self) -> None:
        committed, self._to_apply = self._to_apply, ()
        if not committed:
            return
        document = self._state.document
        until = document.looked_through_bytes + LOOKED_THROUGH_AT_ONCE
        for last, entry in enumerate(committed, start=1):
            match entry.kind:
                case EntryKind.COMMAND:
                    result: Outcome | None = self._state.apply(entry.index, entry.command)
                case EntryKind.CONFIGURATION:
                    result = Noted(entry.index)
                    self._notes.append(of_members(entry))
                case EntryKind.NOOP:
                    result = None
            self._submissions.committed(entry.index, entry.term, result)
            if document.looked_through_bytes >= until:
                committed, self._to_apply = committed[:last], committed[last:]
                break
        assert isinstance(self._phase, Consensus)
        self._snapshots.applied(committed)
        self._has_applied(self._phase, committed[-1].index, committed[-1].term)

    def _has_applied(self, consensus: Consensus, index: Index, term: Term) -> None:
        self.applied_index, self._applied_term = index, term
        consensus.applied(index)
        consensus.set_paused(self._state.paused is not None)
        self._session_time.applied(index)
        self._reads.applied(index)
        self._leadership.applied(index, term)

    def _take(self, out: Output, actions: Actions, now: Instant) -> None:
        if out.receipt is not None and out.write is not None:
            actions.writes.append((out.receipt, out.write))
            if out.write.part is not None:
                self._snapshots.give_up()
        actions.loads.extend(out.wanted)
        for message in out.messages:
            actions.messages.setdefault(message.destination, []).append(message)
        actions.greetings = out.greetings
        if out.install is not None:
            self._snapshots.restore(out.install)
            self._submissions.covered(out.install.index)
            self._to_apply = ()
        self._to_apply += out.committed
        self._reads.answered(out, now)
        self._reads.applied(self.applied_index)

    # ----------------------------------------------------------------------------------------------------- being born

    def _become_member(self, unborn: Unborn, now: Instant) -> None:
        consensus = unborn.member(self.identity, self._node.settings, self._node.seed, now)
        self._record, self.identity = unborn.birth.record, consensus.identity
        self._phase = consensus
        for hello in self._peers.hellos:
            consensus.step(hello, now)  # who greeted the unborn node need not greet again
        consensus.observe_term(self._observed_term, now)
        consensus.set_eligible(self._eligible, now)
        self._announce = True
        self._notes.append(f"member of cluster {consensus.cluster}, with {', '.join(consensus.voters)}")

    # ------------------------------------------------------------------------------------------------------- commands

    def _receive(self, consensus: Consensus, message: Wire, now: Instant) -> None:
        match message:
            case Forward():
                self._submissions.admit_forward(message)
            case Forwarded():
                if self._submissions.answered(message):
                    self._placing.rest(now)
            case _:
                consensus.step(message, now)
                self._leadership.heard(message, consensus.standing, now)

    def _leave_it_to_one_with_room(self, consensus: Consensus, now: Instant) -> None:
        if self._room.hands_over(self.standing.established, now) and self._state.paused is None:
            others = [voter for voter in consensus.voters if not self._peers.is_full(voter)]
            self._handovers.leave_it_to(others, consensus, now)

    def _tell_time(self, consensus: Consensus, now: Instant) -> None:
        tells = self.standing.established and len(self._state.sessions) > 0
        self._session_time.tell_in(self.standing.term if tells else None, now)
        self._session_time.tell(consensus, now)

    # --------------------------------------------------------------------------------------------------- what is seen

    def _note_standing(self, consensus: Consensus, actions: Actions, now: Instant) -> None:
        before, standing = self.standing, consensus.standing
        if standing != before:
            if note := of_standing(self.identity.member, before, standing):
                self._notes.append(note)
            self._leadership.changed(standing, now)
            self._leadership.applied(self.applied_index, self._applied_term)
            self._placing.go_on(now)
            actions.standing = standing
        transferring = consensus.transfer_target is not None
        self._leadership.transfers(transferring)
        self._handovers.look(standing, transferring, now)

    def _note_greeting(self, verdict: Accepted | output.Refused) -> None:
        if isinstance(verdict, Accepted) and isinstance(self._phase, Consensus):
            replaced = self._peers.accepted(verdict.identity)
            if replaced:
                self._submissions.replaced(verdict.identity.member)
        if note := self._peers.note(verdict):
            self._notes.append(note)

    # -------------------------------------------------------------------------------------------------------- readings

    @property
    def standing(self) -> Standing:
        return self._leadership.standing

    @property
    def caught_up(self) -> bool:
        """Once since the start, this node had applied everything that a leader called committed."""
        return self._leadership.caught_up

    def history(self, now: Instant, time_s: float) -> tuple[Failover, ...]:
        """How the leadership changed hands, as this node saw it. `time_s`: the time of day, in seconds since the
        epoch."""
        return self._leadership.history(now, time_s)

    def members(self, now: Instant) -> tuple[MemberStatus, ...]:
        """Everybody whom the latest configuration names, in the order of their names."""
        if not isinstance(self._phase, Consensus):
            return ()
        return members_of(self._phase, self.identity.member, self._connected, self._peers, now)

    @property
    def birth(self) -> BirthRecord | None:
        """Of the cluster that this node belongs to, once it is on the volume."""
        return self._record

    @property
    def wish(self) -> BirthRecord | None:
        """Of the cluster that it would found, where it belongs to none."""
        return self._phase.birth.wish if isinstance(self._phase, Unborn) else None

    @property
    def _waiting_for(self) -> str | None:
        match self._phase:
            case Unborn() as unborn:
                return unborn.waiting_for
            case Consensus(fenced=Refusal(reason=reason)):
                return f"this process takes no part any more: {reason}"
            case Consensus():
                return None

    def status(self, now: Instant) -> NodeStatus:
        consensus = self._phase if isinstance(self._phase, Consensus) else None
        seen = status_of(self.identity, consensus, self._leadership, self._connected, now)
        return msgspec.structs.replace(
            seen,
            waiting_for=self._waiting_for,
            leader_http=self._peers.http_address(seen.leader),
            applied_index=self.applied_index,
            snapshot_index=self._snapshots.index,
            ignored_messages={**self._ignored, **seen.ignored_messages},
            proposals=dict(self._submissions.counts),
            volume_full=self._room.is_full,
        )
