"""The state that the chapters of the protocol share, and the few moves that all of them make.

Nothing leaves before what it rests on is on stable storage: what has to wait stands in the `outbox`, and `persisted`
lets it go. So an adapter cannot send too early, whatever it does.

Nor is anything applied before what it follows upon: committed entries wait for the state of a snapshot that they come
after, and for entries before them that only the volume holds.
"""

from collections.abc import Sequence

from raftq_k8s.raft.configuration import Configuration, Configurations, of
from raftq_k8s.raft.log import TRIM_STEP, Log
from raftq_k8s.raft.membership import Identity, Member, Refusal
from raftq_k8s.raft.messages import Entry, Message, ReadIndexResponse, SnapshotMark, VoteResponse
from raftq_k8s.raft.outbox import Outbox, Outgoing
from raftq_k8s.raft.output import NO_OUTPUT, Accepted, ChunkWanted, EntriesWanted, Output, Refused, Standing, Wanted
from raftq_k8s.raft.partial_snapshot import PartialSnapshot
from raftq_k8s.raft.pending_reads import PeersRead, ReadFailure, ReadOrigin, Reads
from raftq_k8s.raft.persistence import Compaction, HardState, Receipt, SnapshotPart, Write
from raftq_k8s.raft.quorum import NEVER
from raftq_k8s.raft.randomness import Dice
from raftq_k8s.raft.roles import ROLE_NAMES, Candidate, Follower, Leader, PreCandidate, Role
from raftq_k8s.raft.settings import Settings
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
from raftq_k8s.raft.versions import Versions
from raftq_k8s.raft.witness import Witness

LOADED_BYTES = 1 << 17
"""Of entries that this node loads to apply them, at a time. They do not travel, so no bound of messages is theirs."""

APPLIED_AT_ONCE = TRIM_STEP
"""So many entries at the most go with one output: whoever applies them looks up in between, and what was applied is let
go as fast as it is applied."""


class Core:
    """Shared by the chapters of the protocol; whoever is outside of `raft/` uses `Consensus`."""

    __slots__ = (
        "_compacting",
        "_install",
        "_installing",
        "_known_leader",
        "_leaving",
        "_loaded",
        "_loads",
        "_restoring",
        "_seal",
        "_verdicts",
        "_wanted",
        "accepted",
        "applied",
        "ask_to_leave_at",
        "cancelled",
        "commit",
        "configuration",
        "configurations",
        "connected",
        "departing",
        "dice",
        "election_at",
        "elections",
        "eligible",
        "fenced",
        "handed_to_apply",
        "identity",
        "ignored",
        "is_voter",
        "leader_changes",
        "log",
        "me",
        "outbox",
        "own_votes",
        "paused",
        "peers",
        "piece",
        "promised_window",
        "reads",
        "receiving",
        "refuse_all_until",
        "refuse_until",
        "role",
        "seen",
        "settings",
        "snapshot",
        "speaks",
        "term",
        "vote",
        "witnesses",
    )

    def __init__(
        self,
        identity: Identity,
        configurations: Configurations,
        hard_state: HardState,
        log: Log,
        snapshot: SnapshotMark | None,
        settings: Settings,
        dice: Dice,
    ) -> None:
        self.identity = identity
        self.me = identity.member
        self.configurations = configurations
        self.configuration: Configuration
        """The latest that stands in the log."""
        self.peers: tuple[MemberId, ...]
        """All other members."""
        self.is_voter: bool
        """Whether this incarnation of this node counts."""
        self.adopt_configuration()
        self.settings = settings
        self.dice = dice
        self.log = log

        self.term = hard_state.term
        self.vote = hard_state.vote
        self.promised_window = hard_state.promised_window
        self.seen = {Member(peer.member, peer.incarnation): peer for peer in hard_state.peers}
        """The youngest process that was ever accepted of each incarnation."""

        self.role: Role = Follower(None)
        self.eligible = True
        self.paused = False
        """Nothing is to be changed about the members that no person asks for."""
        self.fenced: Refusal | None = None
        """Why this process takes no part any more, for good."""
        self.refuse_until: Instant = NEVER
        """Until then this node elects nobody, because a leader heard from it."""
        self.refuse_all_until: Instant = NEVER
        """Until then it elects nobody at all, because it has forgotten what it promised before its start."""
        self.cancelled: tuple[Term, TransferId] = (NO_TERM, NO_TRANSFER)
        """The last transfer of leadership that is known to be given up, and with it every earlier one."""
        self.election_at: Instant = NEVER
        self.snapshot = snapshot
        """Of this node's volume, as soon as its seal is on the way there."""
        self.receiving: PartialSnapshot | None = None
        self.piece: SnapshotPart | None = None
        """Of that snapshot, to be written with the next output."""
        self._seal: SnapshotMark | None = None
        """It is the last one."""
        self._installing: tuple[Receipt, SnapshotMark] | None = None
        self._compacting: tuple[Receipt, Compaction] | None = None
        self._install = snapshot
        """Of which the next output tells the state machine."""
        self._restoring = snapshot.index if snapshot is not None else NO_INDEX
        """Nothing is applied before the state machine has got so far by a snapshot."""
        self.commit = self._restoring
        self.handed_to_apply = self._restoring
        self.applied = NO_INDEX
        self._wanted: list[Wanted] = []
        self._loads: set[EntriesWanted] = set()
        """What is being read from the volume, for whomever."""
        self._loaded: tuple[Entry, ...] = ()
        """Of that, what is to be applied."""
        self.accepted: dict[MemberId, Identity] = {}
        """The process of each peer whose messages are listened to."""
        self.connected: set[MemberId] = set()
        """Those of them that were not lost since."""
        self.speaks: dict[MemberId, Versions] = {}
        self.witnesses: dict[MemberId, Witness] = {}
        """What each peer has said to this process."""
        self.departing: dict[Member, None] = {}
        """Members that are to be removed when that can be done, in the order in which they asked."""
        self.ask_to_leave_at: Instant = NEVER

        self.reads = Reads(identity.generation)
        self.elections = {"won": 0, "lost": 0, "pre-vote-lost": 0}
        self.leader_changes = 0
        self.ignored: dict[str, int] = {}
        self._known_leader: MemberId | None = None

        self.outbox = Outbox()
        self.own_votes: list[VoteResponse] = []
        """A candidate's answers to itself, synced and not counted yet."""
        self._leaving: list[Message] = []
        self._verdicts: list[Accepted | Refused] = []

    # ------------------------------------------------------------------------------------------------- who this is

    def adopt_configuration(self) -> None:
        """Another configuration stands in the log from now on."""
        configuration = self.configurations.latest
        self.configuration = configuration
        self.peers = configuration.peers_of(self.me)
        myself = Member(self.me, self.identity.incarnation)
        self.is_voter = self.me in configuration.voting and configuration.names(myself)

    @property
    def may_stand(self) -> bool:
        """Whether this node may ask for votes: it votes, or did before what is not known to be committed. For a removal
        that only it holds makes its log the longest, and without it nobody would be elected (dissertation §4.2.2)."""
        myself = Member(self.me, self.identity.incarnation)
        return self.is_voter or any(
            self.me in earlier.voting and earlier.names(myself) for earlier in self.configurations.since(self.commit)
        )

    def take_entries(self, entries: Sequence[Entry]) -> None:
        """A leader's entries stand in the log, instead of whatever stood where they begin and after."""
        self.log.overwrite(entries)
        truncated = self.configurations.truncate(entries[0].index)
        if self.configurations.take(entries) or truncated:
            self.adopt_configuration()

    def counts(self, peer: MemberId) -> bool:
        """Whether what that peer grants and acknowledges is counted: the process that speaks under its name has the
        incarnation that the configuration names."""
        accepted = self.accepted.get(peer)
        return accepted is not None and accepted.incarnation == self.configuration.incarnations.get(peer)

    def member(self, name: MemberId) -> Member:
        """As the configuration names it."""
        return Member(name, self.configuration.incarnations[name])

    @property
    def leader(self) -> MemberId | None:
        match self.role:
            case Leader():
                return self.me
            case Follower(leader=leader):
                return leader
            case _:
                return None

    @property
    def standing(self) -> Standing:
        role = self.role
        established = isinstance(role, Leader) and self.commit >= role.first_index
        return Standing(ROLE_NAMES[type(role)], self.term, self.leader, established)

    def ignore(self, kind: str) -> None:
        """Count what a rule refuses to hear; nothing else happens."""
        self.ignored[kind] = self.ignored.get(kind, 0) + 1

    # ----------------------------------------------------------------------------------------------- who is listened to

    @property
    def greeted(self) -> list[Identity]:
        """Every process that is listened to, or will be as soon as what that rests on is synced, in this order."""
        waiting = [each.identity for each in self.outbox.waiting if isinstance(each, Accepted)]
        return [*self.accepted.values(), *waiting]

    def turn_away(self, process: Identity, refusal: Refusal) -> None:
        """Listen to a process no longer, or not begin to."""
        known = self.accepted.get(process.member)
        if known is not None and known.is_process(process):
            del self.accepted[process.member]

        def stays(outgoing: Outgoing) -> bool:
            return not (isinstance(outgoing, Accepted) and outgoing.identity.is_process(process))

        self.outbox.keep_only(stays)
        self.send(Refused(process, refusal))

    # -------------------------------------------------------------------------------------------- moves of all chapters

    def follow(self, term: Term, leader: MemberId | None, now: Instant) -> None:
        """Become a follower in `term`, which is not below the current one. The vote of a term outlives the role."""
        if term > self.term:
            self.term = term
            self.vote = None
            self.change_hard_state()
        match self.role:
            case Follower() as follower:
                follower.leader = leader
            case Leader(reads=reads):
                self.role = Follower(leader)
                self.restart_election_timer(now)
                for read in reads:
                    self.fail_read(read.origin, ReadFailure.LEADERSHIP_LOST)
            case PreCandidate() | Candidate():  # pragma: no branch
                self.role = Follower(leader)
        self.note_leader()

    def fence(self, refusal: Refusal, now: Instant) -> None:
        """Take no part from here on: no vote, no election, no acknowledgement."""
        if self.fenced is None:
            self.fenced = refusal
            self.follow(self.term, None, now)

    def drop_messages(self) -> None:
        """What has not left stays unsaid; verdicts on greetings aside."""
        self._leaving.clear()
        self.outbox.keep_only(lambda outgoing: isinstance(outgoing, Accepted | Refused))

    def note_leader(self) -> None:
        leader = self.leader
        if leader is not None and leader != self._known_leader:
            self._known_leader = leader
            self.leader_changes += 1

    def fail_read(self, origin: ReadOrigin, reason: ReadFailure) -> None:
        match origin:
            case PeersRead(peer, ticket):
                self.send(ReadIndexResponse(self.me, peer, self.term, ticket, False, NO_INDEX))
            case context:
                self.reads.fail(context, reason)

    def note_cancelled(self, term: Term, transfer: TransferId) -> None:
        self.cancelled = max(self.cancelled, (term, transfer))

    @property
    def cancelled_in_this_term(self) -> TransferId:
        term, transfer = self.cancelled
        return transfer if term == self.term else NO_TRANSFER

    def restart_election_timer(self, now: Instant) -> None:
        self.election_at = max(now + self.random_election_time(), self.refuse_until)

    def random_election_time(self) -> Milliseconds:
        return self.dice.between(self.settings.minimum_election, self.settings.maximum_election)

    # ----------------------------------------------------------------------------------------- snapshots and the volume

    def install(self, part: SnapshotPart, mark: SnapshotMark) -> None:
        """With this last piece of it that snapshot takes the place of the log, and, when that is synced, of the
        state."""
        self.piece, self._seal = part, mark
        self.log.install(mark.index, mark.term, self.commit)
        self.configurations = Configurations(of(mark.membership), mark.index)
        self.adopt_configuration()
        self.snapshot = mark
        self.commit = self.handed_to_apply = self._restoring = mark.index

    def snapshot_taken(self, mark: SnapshotMark) -> None:
        """The volume's snapshot is that one now, unless a later one is on the way there."""
        if self.snapshot is None or self.snapshot.index < mark.index:
            self.snapshot = mark

    def want(self, wanted: ChunkWanted) -> None:
        self._wanted.append(wanted)

    def want_entries(self, wanted: EntriesWanted) -> None:
        """Whoever wants the same is served by one answer."""
        if wanted not in self._loads:
            self._loads.add(wanted)
            self._wanted.append(wanted)

    def entries_loaded(self, wanted: EntriesWanted, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
        """Returns those that the log still holds: after a start some that only the volume has are not committed, and
        may have been overwritten since they were asked for."""
        self._loads.discard(wanted)
        if (
            not entries
            or entries[0].index <= self.log.base
            or not self.log.matches(entries[-1].index, entries[-1].term)
        ):
            return ()
        if wanted.first == self.handed_to_apply + 1:  # a peer may lack the same, committed or not
            self._loaded = entries[: max(0, self.commit - self.handed_to_apply)]
        return entries

    def note_applied(self, index: Index) -> None:
        self.applied = max(self.applied, index)
        self.log.trim(self.applied, self.settings.tail_bytes)

    # -------------------------------------------------------------------------------- what leaves, and what it rests on

    def change_hard_state(self) -> None:
        """Term, vote, promise or a seen peer changed: the next output writes them."""
        self.outbox.hard_state_changed = True

    def send(self, outgoing: Outgoing) -> None:
        """Let it leave as soon as the hard state it rests on is synced; mostly that is now."""
        if self.outbox.lets_leave(outgoing, self._drop):
            self._let_leave(outgoing)

    def _drop(self) -> None:
        self.ignore("held-too-many")

    def send_after_writes(self, outgoing: Outgoing) -> None:
        """Let it leave when everything that this node has changed so far is synced."""
        self.outbox.add_after_writes(outgoing)

    def persisted(self, receipt: Receipt) -> None:
        """The write of that receipt is on stable storage, and so is every earlier one: what waited for it may leave."""
        self.outbox.note_persisted(receipt)
        persisted = self.outbox.persisted
        self.log.persisted(receipt)
        self.log.trim(self.applied, self.settings.tail_bytes)
        if self._compacting is not None and self._compacting[0] <= persisted:
            self.log.compact(self._compacting[1].index)
            self.configurations.compact(self.log.base)
            self._compacting = None
        if self._installing is not None and self._installing[0] <= persisted:
            self._install = self._installing[1]
            self._installing = None
        for outgoing in self.outbox.released():
            self._let_leave(outgoing)

    def _let_leave(self, outgoing: Outgoing) -> None:
        match outgoing:
            case VoteResponse() if outgoing.destination == self.me:
                self.own_votes.append(outgoing)
            case Accepted():
                self.accepted[outgoing.identity.member] = outgoing.identity
                self.connected.add(outgoing.identity.member)
                self._verdicts.append(outgoing)
            case Refused():
                self._verdicts.append(outgoing)
            case _:
                self._leaving.append(outgoing)

    def take_output(self) -> Output:
        if not self._has_news:
            return NO_OUTPUT
        receipt, write = self._take_write()
        for outgoing in self.outbox.seal(self._drop):
            self._let_leave(outgoing)
        messages, self._leaving = self._leaving, []
        verdicts, self._verdicts = self._verdicts, []
        install, self._install = self._install, None
        committed = self._take_committed()
        wanted, self._wanted = self._wanted, []
        return Output(
            receipt=receipt,
            write=write,
            messages=tuple(messages),
            install=install,
            committed=committed,
            wanted=tuple(wanted),
            greetings=tuple(verdicts),
            reads=self.reads.take_confirmed(),
            failed_reads=self.reads.take_failed(),
        )

    @property
    def _has_news(self) -> bool:
        """Whether there is anything that an output would say: mostly it is asked for once more, and there is not."""
        return bool(
            self._leaving
            or self.outbox.has_unsealed
            or self.outbox.hard_state_changed
            or self.log.has_unwritten
            or self.commit > self.handed_to_apply
            or self.piece is not None
            or self._install is not None
            or self._wanted
            or self._compactable > self.log.base
            or self._verdicts
            or self.reads.confirmed
            or self.reads.failed
        )

    def _take_committed(self) -> tuple[Entry, ...]:
        """What is to be applied next; nothing while the state before it, or the entries themselves, are waited for."""
        first = Index(self.handed_to_apply + 1)
        if first > self.commit or self.applied < self._restoring:
            return ()
        if first >= self.log.oldest:
            committed = self.log.between(first, min(self.commit, Index(self.handed_to_apply + APPLIED_AT_ONCE)))
        elif self._loaded and self._loaded[0].index == first:
            committed, self._loaded = self._loaded, ()
        else:
            last = min(self.commit, Index(self.log.oldest - 1))
            self.want_entries(EntriesWanted(first, last, LOADED_BYTES))
            return ()
        self.handed_to_apply = committed[-1].index
        return committed

    def _take_write(self) -> tuple[Receipt | None, Write | None]:
        compaction = self._next_compaction()
        changed = self.outbox.hard_state_changed
        if not (changed or self.log.has_unwritten or self.piece is not None or compaction is not None):
            return None, None
        receipt = self.outbox.next_receipt()
        seen = tuple(self.seen.values())
        hard_state = HardState(self.term, self.vote, self.promised_window, seen) if changed else None
        part, self.piece = self.piece, None
        seal, self._seal = self._seal, None
        if seal is not None:
            self._installing = receipt, seal
        elif compaction is not None:
            self._compacting = receipt, compaction
        entries = self.log.hand_over(receipt) if self.log.has_unwritten or seal is not None else ()
        return receipt, Write(hard_state=hard_state, part=part, seal=seal, compaction=compaction, entries=entries)

    @property
    def _compactable(self) -> Index:
        """Up to here the log is needless: a snapshot covers it, and more than enough is kept for slow peers."""
        if self.snapshot is None or self._compacting is not None:
            return NO_INDEX
        index = Index(self.snapshot.index - self.settings.kept_entries)
        return index if index <= self.log.stable else NO_INDEX

    def _next_compaction(self) -> Compaction | None:
        if self._seal is not None:
            return Compaction(self._seal.index, self._seal.term, keep_rest=False)
        return self.log.next_compaction(self._compactable)
