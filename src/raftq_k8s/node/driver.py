"""One node as a pure machine: it decides in which order things are persisted, sent, applied and answered.

It takes no part while it belongs to no cluster (*unborn*): then it only greets, until a birth record is decided or
adopted and synced; from there on it is a *member* and drives the consensus core and the state machine. Whoever runs it
(asyncio in `runtime.py`, a simulator elsewhere) calls a door when something happened, and then carries out
`next_actions` until there are none: first the write is handed to the volume, then the messages leave, and what was
committed is applied when the next actions are asked for. Nothing is resolved that is not committed and applied here.
Commands and their fates are `submissions.py`, reads `read_queue.py`.
"""

from collections.abc import Callable, Sequence

import msgspec

from raftq_k8s.node.actions import Actions, BirthReceipt, Load, Loaded, SliceReceipt, SliceWanted, Written
from raftq_k8s.node.forwarding import Forward, Forwarded, Outcome, Refused
from raftq_k8s.node.notes import of_members, of_room, of_standing
from raftq_k8s.node.peers import Peers
from raftq_k8s.node.read_queue import ReadQueue
from raftq_k8s.node.room import Room
from raftq_k8s.node.session_time import SessionTime
from raftq_k8s.node.snapshots import BOUNDS, SnapshotBounds, Snapshots
from raftq_k8s.node.status import NOBODY, NodeStatus, role_of, time_left
from raftq_k8s.node.submissions import Submission, Submissions, Token
from raftq_k8s.node.transport import Wire
from raftq_k8s.node.unborn import Unborn
from raftq_k8s.raft import output
from raftq_k8s.raft.birth import Birth, BirthRule
from raftq_k8s.raft.consensus import Consensus, NotLeader, Overloaded, Transferring
from raftq_k8s.raft.membership import BirthRecord, Change, Hello, Identity, Refusal
from raftq_k8s.raft.messages import AppendEntries, Entry, EntryKind, JoinResponse
from raftq_k8s.raft.output import NO_OUTPUT, Accepted, ChunkWanted, EntriesWanted, Output, Standing
from raftq_k8s.raft.persistence import HardState, Restored
from raftq_k8s.raft.settings import Settings
from raftq_k8s.raft.types import (
    LONGEST_STEP,
    NO_INDEX,
    NO_TERM,
    BootId,
    ClusterId,
    Index,
    Instant,
    MemberId,
    Milliseconds,
    Term,
)
from raftq_k8s.state import commands
from raftq_k8s.state.machine import StateMachine


class Node(msgspec.Struct, frozen=True):
    """What is given to a node at its start and stays."""

    restored: Restored
    boot: BootId
    rule: BirthRule
    cluster: ClusterId
    """The id of a cluster that this node founds, if it does."""
    settings: Settings
    seed: int
    http_address: str
    largest_command: int
    session_time_interval: Milliseconds = 5_000.0
    """So often a leader tells the log how much time has passed, while sessions exist that may expire by it."""
    snapshots: SnapshotBounds = BOUNDS


class Driver:
    def __init__(self, node: Node, state: StateMachine, connected: Callable[[MemberId], bool], now: Instant) -> None:
        """`connected`: whether a message to that peer has a connection to leave by, right now."""
        restored = node.restored
        cluster = restored.birth.cluster if restored.birth is not None else None
        self.identity = Identity(cluster, restored.member, restored.incarnation, restored.generation, node.boot)
        self.standing = NOBODY
        self.caught_up = False
        self._node = node
        self._state = state
        self._connected = connected
        self._record: BirthRecord | None = restored.birth
        self._submissions = Submissions(restored.member, node.largest_command, first_ticket=node.seed % (1 << 31) << 20)
        self._snapshots = Snapshots(state, node.snapshots)
        self._reads = ReadQueue(node.settings.heartbeat)
        self._session_time = SessionTime(node.session_time_interval)
        self._room = Room(node.settings.maximum_election)
        self._paused_until: Instant = now
        self._observed_term = NO_TERM
        self._peers = Peers(restored.member, node.http_address)
        self._greeted: list[Accepted | output.Refused] = []
        self._announce = False
        self._notes: list[str] = []
        self._to_apply: tuple[Entry, ...] = ()
        self._applied_index = NO_INDEX
        self._applied_term = NO_TERM
        self._leader_commit: tuple[Term, Index] = (NO_TERM, NO_INDEX)
        self._leaderless_since: Instant | None = now
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

    def change(self, change: Change, now: Instant) -> None:
        """Change the members, because a person says so. Raises the core's `NotLeader` and `ChangeRefused`."""
        match self._phase:
            case Consensus() as consensus:
                consensus.change(change, now)
            case Unborn():
                raise NotLeader(None)

    def depart(self, member: MemberId, now: Instant) -> None:
        """That member, perhaps this one, goes away for good: it is removed through the log."""
        if isinstance(self._phase, Consensus):
            self._phase.depart(member, now)

    def lost(self, peer: MemberId, now: Instant) -> None:
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
        return index is not None and index <= self._applied_index

    def transfer(self, target: MemberId, now: Instant) -> None:
        """Hand the leadership over; commands wait meanwhile. Raises the core's `NotLeader` and `TransferRefused`."""
        match self._phase:
            case Consensus() as consensus:
                consensus.transfer(target, now)
            case Unborn():
                raise NotLeader(None)

    def hand_over(self, now: Instant) -> None:
        """This node goes away: if it leads, let a connected voter lead instead."""
        if isinstance(self._phase, Consensus):
            consensus = self._phase
            target = consensus.successor([voter for voter in consensus.voters if self._connected(voter)], now)
            if target is not None and consensus.transfer_target is None:
                consensus.transfer(target, now)

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

    def ignore(self, kind: str) -> None:
        """Count what is not listened to."""
        self._ignored[kind] = self._ignored.get(kind, 0) + 1

    def end(self, now: Instant) -> list[tuple[Token, Outcome]]:
        """This node stops for good, and leads no more: what its callers can still be told. Reads end unanswered."""
        self.standing = Standing("follower", self.standing.term, None, established=False)
        self._leaderless_since = now
        self._submissions.end()
        return self._submissions.take_resolved()

    @property
    def wake_at(self) -> Instant:
        """When to call `tick` and ask for actions, if nothing else happens before."""
        wake_at = self._reads.wake_at(self.standing.leader is not None)
        if isinstance(self._phase, Unborn):
            wake_at = min(wake_at, self._phase.birth.wake_at)
        if isinstance(self._phase, Consensus):
            room = self._room.wake_at(self.standing.established)
            wake_at = min(wake_at, self._phase.wake_at, self._session_time.wake_at, room)
        deadline = self._submissions.next_deadline
        if deadline is not None:
            wake_at = min(wake_at, deadline)
            if self._submissions.anything_to_place and self._route() is not None:
                wake_at = min(wake_at, self._paused_until)
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
                self._place(consensus, actions, now)
                self._reads.ask(consensus, now)
                self._tell_time(consensus, now)
                if (out := consensus.take_output()) is not NO_OUTPUT:
                    self._take(out, actions, now)
                self._keep_snapshots(consensus, actions, now)
                self._note_standing(consensus.standing, actions, now)
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
        for verdict in actions.greetings:
            self._note_greeting(verdict)
        actions.notes, self._notes = self._notes, []
        return actions if actions or self._to_apply else None

    def _apply(self) -> None:
        committed, self._to_apply = self._to_apply, ()
        if not committed:
            return
        for entry in committed:
            command = entry.kind == EntryKind.COMMAND
            result = self._state.apply(entry.index, entry.command) if command else None
            self._submissions.committed(entry.index, entry.term, result)
            if entry.kind == EntryKind.CONFIGURATION:
                self._notes.append(of_members(entry))
        assert isinstance(self._phase, Consensus)
        self._snapshots.applied(committed)
        self._has_applied(self._phase, committed[-1].index, committed[-1].term)

    def _has_applied(self, consensus: Consensus, index: Index, term: Term) -> None:
        self._applied_index, self._applied_term = index, term
        consensus.applied(index)
        self._session_time.applied(index)
        self._reads.applied(index)
        self._note_progress()

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
        self._to_apply = out.committed
        self._reads.answered(out, now)
        self._reads.applied(self._applied_index)

    def _keep_snapshots(self, consensus: Consensus, actions: Actions, now: Instant) -> None:
        snapshots = self._snapshots
        if snapshots.is_due() and self._may_take_a_snapshot(consensus, now):
            membership = consensus.membership_at(self._applied_index)
            snapshots.take(self._applied_index, self._applied_term, membership)
        if write := snapshots.next_write():
            actions.writes.append(write)
        if load := snapshots.next_load():
            actions.loads.append(load)

    def _may_take_a_snapshot(self, consensus: Consensus, now: Instant) -> bool:
        """Not of a state that a leader's snapshot is about to replace, nor while one is arriving, or leaving."""
        last = consensus.snapshot
        if consensus.receives_snapshot or (last is not None and last.index >= self._applied_index):
            return False
        return self._snapshots.is_overdue() or not consensus.sends_snapshot(now)

    # ----------------------------------------------------------------------------------------------------- being born

    def _become_member(self, unborn: Unborn, now: Instant) -> None:
        record = unborn.birth.record
        assert record is not None  # its write was handed over
        blank = self.identity
        restored = Restored(blank.member, blank.incarnation, blank.generation, record, HardState(), [])
        self._record = record
        self.identity = msgspec.structs.replace(self.identity, cluster=record.cluster)
        consensus = Consensus(self.identity, restored, self._node.settings, self._node.seed, now)
        self._phase = consensus
        for hello in self._peers.hellos:
            consensus.step(hello, now)  # who greeted the unborn node need not greet again
        consensus.observe_term(self._observed_term, now)
        self._announce = True
        self._notes.append(f"member of cluster {record.cluster}, with {', '.join(consensus.voters)}")

    # ------------------------------------------------------------------------------------------------------- commands

    def _receive(self, consensus: Consensus, message: Wire, now: Instant) -> None:
        match message:
            case Forward():
                self._submissions.admit_forward(message)
            case Forwarded():
                if self._submissions.answered(message):
                    self._paused_until = now + self._node.settings.heartbeat  # it will take them a moment to agree
            case _:
                consensus.step(message, now)
                if isinstance(message, AppendEntries) and self._leads(consensus, message):
                    self._leader_commit = (message.term, message.commit)
                    self._note_progress()

    def _route(self) -> MemberId | None:
        """Who takes commands now: this node, or a leader that can be reached."""
        leader = self.standing.leader
        if leader is None or leader == self.identity.member or self._connected(leader):
            return leader
        return None

    def _place(self, consensus: Consensus, actions: Actions, now: Instant) -> None:
        if not self._submissions.anything_to_place:
            return
        leader = consensus.standing.leader
        if leader == self.identity.member:
            self._propose(consensus, now)
            return
        self._submissions.refuse_arrived()
        if leader is not None and now >= self._paused_until and self._connected(leader):
            forwards: list[Wire] = list(self._submissions.forward_all(leader))
            if forwards:
                actions.messages[leader] = forwards

    def _propose(self, consensus: Consensus, now: Instant) -> None:
        batch = self._submissions.take_all()
        if self._room.is_full and consensus.transfer_target is None:
            batch, without = self._room.divided(batch)
            for origin, _ in without:
                self._submissions.resolve(origin, Refused("full"))
        try:
            term, first = consensus.propose([command for _, command in batch], now)
        except NotLeader:
            self._submissions.put_back(batch)
        except Transferring:
            self._submissions.put_back(batch)
            self._paused_until = now + self._node.settings.heartbeat
        except Overloaded:
            for origin, _ in batch:
                self._submissions.resolve(origin, Refused("overloaded"))
        else:
            self._submissions.proposed(batch, term, first)

    def _leave_it_to_one_with_room(self, consensus: Consensus, now: Instant) -> None:
        if not self._room.hands_over(self.standing.established, now) or self._state.paused is not None:
            return
        others = [voter for voter in consensus.voters if self._connected(voter) and not self._peers.is_full(voter)]
        target = consensus.successor(others, now)
        if target is not None and consensus.transfer_target is None:
            consensus.transfer(target, now)

    def _tell_time(self, consensus: Consensus, now: Instant) -> None:
        tells = self.standing.established and len(self._state.sessions) > 0
        self._session_time.tell_in(self.standing.term if tells else None, now)
        elapse = self._session_time.due(now)
        if elapse is not None:
            try:
                _, index = consensus.propose([commands.encode(elapse)], now)
            except (NotLeader, Transferring, Overloaded):
                return  # what passed is told the next time
            self._session_time.proposed(index, now)

    # --------------------------------------------------------------------------------------------------- what is seen

    def _leads(self, consensus: Consensus, append: AppendEntries) -> bool:
        standing = consensus.standing
        return standing.leader == append.source and standing.term == append.term

    def _note_progress(self) -> None:
        """Caught up: applied is what a leader called committed, and an entry of its own term is among it, for before
        that a new leader does not know itself how much is."""
        term, index = self._leader_commit
        if self.standing.established:
            term, index = self.standing.term, self._applied_index
        if self._applied_term == term != NO_TERM and self._applied_index >= index:
            self.caught_up = True

    def _note_standing(self, standing: Standing, actions: Actions, now: Instant) -> None:
        if standing == self.standing:
            return
        note = of_standing(self.identity.member, self.standing, standing)
        if note:
            self._notes.append(note)
        if standing.leader is not None:
            self._leaderless_since = None
        elif self._leaderless_since is None:
            self._leaderless_since = now
        self._paused_until = now
        self.standing = actions.standing = standing
        self._note_progress()

    def _note_greeting(self, verdict: Accepted | output.Refused) -> None:
        if isinstance(verdict, Accepted) and isinstance(self._phase, Consensus):
            replaced = self._peers.accepted(verdict.identity)
            if replaced:
                self._submissions.replaced(verdict.identity.member)
        if note := self._peers.note(verdict):
            self._notes.append(note)

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
        standing = self.standing
        since = self._leaderless_since
        consensus = self._phase if isinstance(self._phase, Consensus) else None
        leading = consensus if standing.role == "leader" else None
        voters = consensus.voters if consensus else ()
        return NodeStatus(
            member=self.identity.member,
            cluster=self.identity.cluster,
            waiting_for=self._waiting_for,
            role=role_of(standing),
            term=standing.term,
            leader=standing.leader,
            established=standing.established,
            leader_http=self._peers.http_address(standing.leader),
            caught_up=self.caught_up,
            leaderless_ms=0.0 if since is None else now - since,
            quorum_left_ms=time_left(leading.quorum_until if leading else None, now),
            lease_left_ms=time_left(leading.lease_until if leading else None, now),
            commit_index=consensus.commit_index if consensus else NO_INDEX,
            applied_index=self._applied_index,
            last_index=consensus.last_index if consensus else NO_INDEX,
            base_index=consensus.base_index if consensus else NO_INDEX,
            snapshot_index=self._snapshots.index,
            voters=voters,
            learners=consensus.learners if consensus else (),
            connected=tuple(voter for voter in voters if self._connected(voter)),
            elections=consensus.elections if consensus else {},
            leader_changes=consensus.leader_changes if consensus else 0,
            ignored_messages={**self._ignored, **(consensus.ignored if consensus else {})},
            proposals=dict(self._submissions.counts),
            volume_full=self._room.is_full,
        )
