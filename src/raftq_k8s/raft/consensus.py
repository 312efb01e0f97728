"""The doors of the core. Inside, each chapter of the protocol has a file of its own:

- `election`: who asks for votes, and who gets one;
- `lease`: until when a leader may act;
- `replication`: how the log spreads, and what is committed;
- `snapshots`: how a peer gets what the log does not tell any more;
- `reads`: what may be answered from a state;
- `transfer`: leadership handed to another voter;
- `changes`: members come and go;
- `joining`: how a process becomes a member;
- `greeting`: whom a member listens to;
- `core`: the state they share; `outbox`: what waits for the disk;
- `quorum`, `log`, `progress`: counting, entries, one peer.

Everything here is deterministic: the same calls give the same outputs, bit for bit. After any call, `take_output` says
what is to be done, and `wake_at` when to call `tick` at the latest. A caller that comes late does no harm: every door
first looks at the time.
"""

from collections.abc import Collection, Sequence

from raftq_k8s.raft import changes, election, greeting, joining, lease, reads, replication, snapshots, transfer
from raftq_k8s.raft.configuration import of_log
from raftq_k8s.raft.core import Core
from raftq_k8s.raft.log import Log
from raftq_k8s.raft.membership import Change, Hello, Identity, Membership, Refusal
from raftq_k8s.raft.messages import (
    AppendEntries,
    AppendResponse,
    Entry,
    JoinRequest,
    JoinResponse,
    LeaveRequest,
    Message,
    ReadIndexRequest,
    ReadIndexResponse,
    SnapshotChunk,
    SnapshotMark,
    SnapshotResponse,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from raftq_k8s.raft.output import ChunkWanted, EntriesWanted, FollowerView, Output, Standing
from raftq_k8s.raft.pending_reads import ReadContext
from raftq_k8s.raft.persistence import HardState, Receipt, Restored
from raftq_k8s.raft.quorum import NEVER
from raftq_k8s.raft.randomness import Dice
from raftq_k8s.raft.roles import Leader
from raftq_k8s.raft.settings import Settings
from raftq_k8s.raft.types import LONGEST_STEP, NO_INDEX, ClusterId, Index, Instant, MemberId, Term
from raftq_k8s.raft.validity import is_possible

UNSYNCED_LIMIT = 1 << 16
"""Entries: a majority may commit without this leader's disk, but not without end."""


_OF_ANYBODY = AppendEntries | VoteRequest | TimeoutNow | SnapshotChunk | JoinRequest | JoinResponse


class NotLeader(Exception):
    """Only a leader takes proposals; `leader` is who that may be, where one is known."""

    def __init__(self, leader: MemberId | None) -> None:
        super().__init__(f"this node does not lead; {leader or 'nobody known'} does")
        self.leader = leader


class Transferring(Exception):
    """The leader is handing over, and takes no proposals until that succeeded or was given up: at most a maximum
    election time."""

    def __init__(self, target: MemberId) -> None:
        super().__init__(f"leadership is being handed to {target}; propose again in a moment")
        self.target = target


class TransferRefused(ValueError):
    """Leadership cannot be handed to that node; nothing was begun."""


class Overloaded(Exception):
    """More bytes are proposed and not yet committed than the settings allow: propose again when some are."""


class Consensus:
    """One member of one cluster.

    `restored` is what its volume held when it was opened, with the birth record of the cluster, which need not name
    this member: it may have joined later. `now` is milliseconds on a clock that never goes back and goes on while the
    machine sleeps. Raises `ValueError` for a volume without a record, or with another cluster's.
    """

    def __init__(self, identity: Identity, restored: Restored, settings: Settings, seed: int, now: Instant) -> None:
        birth = restored.birth
        if birth is None:
            raise ValueError(f"the volume of {identity.member} belongs to no cluster")
        if not birth.is_possible:
            raise ValueError(f"no correct founder wrote this birth record: {birth}")
        if identity.cluster != birth.cluster:
            raise ValueError(f"{identity.member} claims cluster {identity.cluster}, its volume {birth.cluster}")
        hard_state = restored.hard_state
        if hard_state.term < birth.first_term - 1:
            hard_state = HardState(Term(birth.first_term - 1), None, hard_state.promised_window, hard_state.peers)
        if restored.base > (restored.snapshot.index if restored.snapshot is not None else NO_INDEX):
            raise ValueError(f"the log of {identity.member} begins after {restored.base}, and no snapshot covers that")
        log = Log(restored.entries, restored.base, restored.base_term, restored.term_starts)
        configurations = of_log(birth, restored)
        self._core = Core(identity, configurations, hard_state, log, restored.snapshot, settings, Dice(seed))
        lease.forget_nothing(self._core, now)

    # ------------------------------------------------------------------------------------------------------------ doors

    def step(self, message: Message | Hello, now: Instant) -> None:
        """A message came in. Never raises for what it says."""
        self._look_at_the_time(now)
        core = self._core
        if isinstance(message, Hello):
            greeting.on_hello(core, message)
            return
        if core.fenced is not None:
            core.ignore("fenced")
            return
        if message.destination != core.me or not self._is_heard(message):
            core.ignore("no-member")
            return
        if not is_possible(message):
            core.ignore("impossible")
            return
        match message:
            case AppendEntries():
                replication.on_append_entries(core, message, now)
                changes.go_on(core, now)
            case AppendResponse():
                replication.on_append_response(core, message, now)
                self._peer_answered(message.source, message.term, now)
                changes.go_on(core, now)
                transfer.tell_target(core)
                reads.confirm(core, now)
            case VoteRequest():
                election.on_vote_request(core, message, now)
            case VoteResponse():
                if message.granted and not message.pre_vote:
                    greeting.voted(core, message.source, message.term)
                election.on_vote_response(core, message, now)
            case TimeoutNow():
                election.on_timeout_now(core, message, now)
            case ReadIndexRequest():
                reads.on_read_index_request(core, message, now)
            case ReadIndexResponse():
                reads.on_read_index_response(core, message, now)
            case SnapshotChunk():
                snapshots.on_snapshot_chunk(core, message, now)
                changes.go_on(core, now)
            case SnapshotResponse():
                snapshots.on_snapshot_response(core, message, now)
                self._peer_answered(message.source, message.term, now)
                replication.go_on(core, message.source, now)
                changes.go_on(core, now)
                transfer.tell_target(core)
                reads.confirm(core, now)

            case JoinRequest():
                joining.on_join_request(core, message, now)
            case LeaveRequest():
                joining.on_leave_request(core, message)
            case JoinResponse():  # pragma: no branch
                core.ignore("late-join")

    def _is_heard(self, message: Message) -> bool:
        """Whoever was accepted may lead, for this node's configuration may be old, or may ask to join; only a member is
        counted."""
        if isinstance(message, _OF_ANYBODY):
            return message.source in self._core.accepted
        return self._core.counts(message.source)

    def _peer_answered(self, peer: MemberId, term: Term, now: Instant) -> None:
        changes.acknowledged(self._core, peer, term, now)
        greeting.acknowledged(self._core, peer, term)

    def tick(self, now: Instant) -> None:
        """Time passed."""
        self._look_at_the_time(now)
        if self._core.fenced is not None:
            return
        election.campaign_if_due(self._core, now)
        replication.send_round_if_due(self._core, now)
        changes.go_on(self._core, now)
        joining.look_after_members(self._core, now)
        joining.ask_to_leave_if_due(self._core, now)
        transfer.tell_target(self._core)
        reads.ask_again_if_due(self._core, now)
        reads.confirm(self._core, now)

    def propose(self, commands: Sequence[bytes], now: Instant) -> tuple[Term, Index]:
        """Append a batch to the leader's log. Returns the term, and the index of the first: a command took effect when
        the entry at its index is committed with that term, and provably never will when another one is.

        Raises `NotLeader`, `Transferring` or `Overloaded`; then nothing of the batch was taken.
        """
        self._look_at_the_time(now)
        core = self._core
        leader = core.role
        if not isinstance(leader, Leader):
            raise NotLeader(core.leader)
        if leader.transfer is not None:
            raise Transferring(leader.transfer.target)
        if leader.uncommitted_bytes > core.settings.max_uncommitted_bytes:
            raise Overloaded(f"{leader.uncommitted_bytes} bytes are proposed and not yet committed; try again later")
        if core.log.unsynced > UNSYNCED_LIMIT:
            raise Overloaded(f"the disk is {core.log.unsynced} entries behind; try again later")
        return core.term, replication.append_commands(core, leader, commands)

    def change(self, change: Change, now: Instant) -> Index:
        """Begin a change of members; returns the index of its entry. It took effect for good when that is committed
        with this term.

        Raises `NotLeader`, or `ChangeRefused` for what makes no sense, or not now.
        """
        self._look_at_the_time(now)
        core = self._core
        if not isinstance(core.role, Leader):
            raise NotLeader(core.leader)
        changes.begin(core, core.role, change, now)
        changes.go_on(core, now)
        return core.configurations.latest_index

    def read(self, context: ReadContext, now: Instant) -> None:
        """A linearizable read came in. Some later output's `reads` says up to where a state must have applied the log
        to answer it, or `failed_reads` why it cannot be answered. `context` comes back with it."""
        self._look_at_the_time(now)
        reads.read(self._core, context, now)

    def leased_read(self, now: Instant) -> Index | None:
        """Up to where a state must have applied the log to answer a read that came in now, by this leader's lease
        alone; `None` where that does not hold. Rests on a bound of what clocks differ in rate."""
        self._look_at_the_time(now)
        return reads.leased_index(self._core, now)

    def transfer(self, target: MemberId, now: Instant) -> None:
        """Hand the leadership to that voter; given up after a maximum election time. Instead of to another one, if
        this was begun for that. Proposals are refused meanwhile, and there is no lease.

        Raises `NotLeader`, or `TransferRefused` for a target that cannot lead.
        """
        self._look_at_the_time(now)
        core = self._core
        if not isinstance(core.role, Leader):
            raise NotLeader(core.leader)
        if reason := transfer.objection(core, target):
            raise TransferRefused(reason)
        transfer.begin(core, core.role, target, now)

    def successor(self, among: Collection[MemberId], now: Instant) -> MemberId | None:
        """To whom of those this leader would best hand over; `None` where it does not lead, or none of them votes."""
        self._look_at_the_time(now)
        core = self._core
        return transfer.successor(core, core.role, among) if isinstance(core.role, Leader) else None

    def cancel_transfer(self, now: Instant) -> None:
        """Go on leading, if that is still possible."""
        self._look_at_the_time(now)
        if isinstance(self._core.role, Leader):
            transfer.cancel(self._core, self._core.role, now)

    def take_output(self) -> Output:
        """What is to be done now; each thing is said once."""
        return self._core.take_output()

    def persisted(self, receipt: Receipt, now: Instant) -> None:
        """The write of that receipt, and so every earlier one, is on stable storage.

        May come late, or never. Raises `ValueError` for a receipt that was never given.
        """
        self._look_at_the_time(now)
        core = self._core
        core.persisted(receipt)
        own_votes, core.own_votes = core.own_votes, []
        for vote in own_votes:
            election.on_vote_response(core, vote, now)
        replication.commit_if_held(core, now)
        changes.go_on(core, now)
        reads.confirm(core, now)

    def applied(self, index: Index) -> None:
        """Everything up to `index` has been applied to the state machine."""
        self._core.note_applied(index)

    def entries_loaded(self, wanted: EntriesWanted, entries: tuple[Entry, ...], now: Instant) -> None:
        """What an output wanted of the volume's log; empty where that begins later by now."""
        self._look_at_the_time(now)
        replication.send_loaded(self._core, wanted, self._core.entries_loaded(wanted, entries))

    def snapshot_chunk(self, wanted: ChunkWanted, data: bytes | None, now: Instant) -> None:
        """What an output wanted of the volume's snapshot; `None` where it holds another one by now."""
        self._look_at_the_time(now)
        snapshots.send_piece(self._core, wanted, data, now)

    def snapshot_taken(self, mark: SnapshotMark) -> None:
        """The caller has sealed a snapshot of its state on the volume: what it covers may leave the log."""
        self._core.snapshot_taken(mark)

    def depart(self, name: MemberId, now: Instant) -> None:
        """That member, perhaps this one, goes away for good: whoever leads removes it as soon as the others can do
        without it. What is no member is none already."""
        self._look_at_the_time(now)
        joining.depart(self._core, name, now)

    def refused_by(self, by: Identity, refusal: Refusal, now: Instant) -> None:
        """A peer does not listen to this process: it may be out of date, and then it takes no part any more."""
        self._look_at_the_time(now)
        greeting.refused_by(self._core, by, refusal, now)

    def peer_lost(self, peer: MemberId, now: Instant) -> None:
        """The connection to that peer died: a hint, never a proof."""
        self._look_at_the_time(now)
        greeting.lost(self._core, peer)
        election.leader_connection_lost(self._core, peer, now)

    def observe_term(self, term: Term, now: Instant) -> None:
        """A higher term was seen outside of the protocol, on a pod: step down, so that the next election is above
        it."""
        self._look_at_the_time(now)
        if term > self._core.term + LONGEST_STEP:
            self._core.ignore("impossible")
        elif term > self._core.term:
            self._core.follow(term, None, now)

    def set_eligible(self, eligible: bool, now: Instant) -> None:
        """Whether this node may stand for election. A leader goes on leading."""
        self._look_at_the_time(now)
        self._core.eligible = eligible

    def set_paused(self, paused: bool) -> None:
        """Whether the leader leaves the members as they are, until a person asks for a change."""
        self._core.paused = paused

    def recognises(self, sender: Identity) -> bool:
        """Whether messages of that process of a peer are to be heard: it said hello, and no younger one did since."""
        accepted = self._core.accepted.get(sender.member)
        return accepted is not None and accepted.is_process(sender)

    def _look_at_the_time(self, now: Instant) -> None:
        lease.step_down_if_over(self._core, now)
        transfer.cancel_if_over(self._core, now)

    # --------------------------------------------------------------------------------------------------------- readings

    @property
    def wake_at(self) -> Instant:
        """When to call `tick`, if nothing else happens before."""
        core = self._core
        ask_again_at = min(reads.wake_at(core), joining.wake_at(core))
        if isinstance(core.role, Leader):
            leader = core.role
            round_at = min(leader.next_round_at, leader.news_at)
            return min(round_at, lease.quorum_until(core, leader), transfer.wake_at(leader), ask_again_at)
        if core.fenced is not None:
            return reads.wake_at(core)
        return min(core.election_at, ask_again_at)

    @property
    def quorum_until(self) -> Instant | None:
        """When this node stops leading unless a quorum is heard again; `None` when it does not lead."""
        core = self._core
        return lease.quorum_until(core, core.role) if isinstance(core.role, Leader) else None

    @property
    def lease_until(self) -> Instant | None:
        """Until then nobody else can be elected; `None` when that cannot be said, or this node does not lead."""
        core = self._core
        if not isinstance(core.role, Leader):
            return None
        until = lease.lease_until(core, core.role)
        return None if until == NEVER else until

    @property
    def transfer_target(self) -> MemberId | None:
        """To whom this leader is handing over; `None` when it is not."""
        core = self._core
        return core.role.transfer.target if isinstance(core.role, Leader) and core.role.transfer is not None else None

    @property
    def followers(self) -> dict[MemberId, FollowerView]:
        """All other members, as this leader knows them; empty when it does not lead."""
        leader = self._core.role
        if not isinstance(leader, Leader):
            return {}
        return {
            peer: FollowerView(progress.match, leader.catch_up[peer].heard_at, leader.round_trips.get(peer))
            for peer, progress in leader.progress.items()
        }

    @property
    def standing(self) -> Standing:
        return self._core.standing

    @property
    def identity(self) -> Identity:
        return self._core.identity

    @property
    def cluster(self) -> ClusterId | None:
        return self._core.identity.cluster

    @property
    def voters(self) -> tuple[MemberId, ...]:
        return self._core.configuration.voters

    @property
    def learners(self) -> tuple[MemberId, ...]:
        return self._core.configuration.learners

    @property
    def members(self) -> Collection[MemberId]:
        return self._core.configuration.incarnations

    @property
    def membership(self) -> Membership:
        """By the latest configuration in this node's log, committed or not."""
        return self._core.configuration.membership

    @property
    def changing(self) -> bool:
        """Whether that one is not committed yet, as far as this node knows, or is a joint one."""
        core = self._core
        return core.configurations.latest_index > core.commit or core.configuration.is_joint

    @property
    def version(self) -> int:
        """Of commands and formats: what all members understand, as far as is committed."""
        core = self._core
        return core.configurations.at(core.commit).membership.version

    @property
    def fenced(self) -> Refusal | None:
        """Why this process takes no part any more."""
        return self._core.fenced

    @property
    def vote(self) -> MemberId | None:
        return self._core.vote

    def membership_at(self, index: Index) -> Membership:
        """In force at that index, which is applied and not compacted: for a snapshot of it."""
        return self._core.configurations.at(index).membership

    @property
    def commit_index(self) -> Index:
        return self._core.commit

    @property
    def applied_index(self) -> Index:
        return self._core.applied

    @property
    def last_index(self) -> Index:
        return self._core.log.last_index

    @property
    def base_index(self) -> Index:
        """The log begins after it."""
        return self._core.log.base

    @property
    def snapshot(self) -> SnapshotMark | None:
        """Of this node's volume."""
        return self._core.snapshot

    def sends_snapshot(self, now: Instant) -> bool:
        """Whether a peer is getting on with it: another one in its place would send that peer back to the start."""
        return snapshots.is_sent(self._core, now)

    @property
    def receives_snapshot(self) -> bool:
        """Whether one is being put together on this node's volume, where there is room for one only."""
        return snapshots.is_received(self._core)

    @property
    def elections(self) -> dict[str, int]:
        """This node's campaigns by outcome: `won`, `lost`, `pre-vote-lost`."""
        return dict(self._core.elections)

    @property
    def leader_changes(self) -> int:
        return self._core.leader_changes

    @property
    def ignored(self) -> dict[str, int]:
        """Messages that a rule refused to hear, by kind."""
        return dict(self._core.ignored)
