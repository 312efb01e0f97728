"""Changes of members (dissertation §4): begun by the leader, carried by the log, in force from the moment they stand in
it.

*One at a time.* Two configurations of which one follows the other by a single voter share a voter in any two of their
majorities (§4.1), or, by way of a joint configuration, are both asked (§4.3). Of two that are further apart neither
holds: so none is begun while one is not committed. Nor before an entry of the leader's own term is: until then it does
not know whether the configuration in its log is the one before, and a rival might change another (Ongaro's erratum of
2015).

*A lease, a promise, a read's round and a transfer* rest on what each voter said, and on this: that any majority which
could elect a rival shares a voter with the one that spoke. A rival may stand by the configuration before, while the
leader counts by the one after. Because they are one change apart, the majorities share a voter all the same. By a still
earlier one it cannot win: what followed that is committed, so in every majority there is somebody whose log the rival
lacks. What a voter promised before it was a voter, it promised under the same rules, and it counts. What a namesake
with another volume said counts for nothing, so it is forgotten.

*A joint configuration ends by itself:* once it is committed, whoever leads then appends its new half.

*Who is removed* is told by the entry itself, best effort, and when that is committed by the refusal of its hello. A
leader that removes itself leads, without counting itself, until that is committed (§4.2.2), and then lets another one
stand at once. Until it knows that it is committed, whoever is removed may also stand, without counting itself: where it
alone holds the entry, nobody else gets its vote, and the cluster may need that (figure 4.6).
"""

from raftq_k8s.raft import replication, transfer
from raftq_k8s.raft.catch_up import CatchUp
from raftq_k8s.raft.configuration import Configuration, encode, of
from raftq_k8s.raft.core import Core
from raftq_k8s.raft.membership import (
    Change,
    ChangeRefused,
    Member,
    Membership,
    Promote,
    Refusal,
    changed,
    without_outgoing,
)
from raftq_k8s.raft.messages import Entry, EntryKind
from raftq_k8s.raft.progress import Progress
from raftq_k8s.raft.quorum import NEVER, is_majority
from raftq_k8s.raft.roles import Leader
from raftq_k8s.raft.types import Index, Instant, MemberId, Term

_KNOWN_OF_PEERS = ("progress", "catch_up", "promises", "lease_promises", "heard", "round_trips")

# -------------------------------------------------------------------------------------------------------------- leaders


def begin(core: Core, leader: Leader, change: Change, now: Instant) -> None:
    """Raises `ChangeRefused`."""
    if reason := not_now(core, leader):
        raise ChangeRefused(reason)
    after = of(changed(core.configuration.membership, change))
    for member in after.membership.members:
        if not (core.configuration.names(member) or _understands(core, member)):
            raise ChangeRefused(f"{member.name} did not say yet that it understands version {after.membership.version}")
    if isinstance(change, Promote) and not has_caught_up(core, leader, change.member.name, now):
        raise ChangeRefused(f"{change.member.name} has not caught up yet")
    if after.halves != core.configuration.halves and not is_majority(_in_touch(core, leader, now), after):
        raise ChangeRefused(
            f"of {', '.join(after.voting)} no majority is connected and caught up: the cluster would stand still"
        )
    _put_in_force(core, leader, after.membership, now)


def not_now(core: Core, leader: Leader) -> str | None:
    """Why no change at all can be begun; each reason passes."""
    if core.commit < leader.first_index:
        return "no entry of this term is committed yet"
    if core.configurations.latest_index > core.commit:
        return "the last change is not committed yet"
    if core.configuration.is_joint:
        return "the last change is a joint one, and has not ended yet"
    if leader.transfer is not None:
        return f"leadership is being handed to {leader.transfer.target}"
    return None


def _understands(core: Core, member: Member) -> bool:
    """Whoever is new has to have greeted: what all members understand is in use."""
    process = core.accepted.get(member.name)
    if process is None or process.incarnation != member.incarnation:
        return False
    return core.speaks[member.name].newest >= core.configuration.membership.version


def has_caught_up(core: Core, leader: Leader, peer: MemberId, now: Instant) -> bool:
    known = leader.catch_up.get(peer)
    return known is not None and known.is_caught_up(core.settings.minimum_election, now)


def _in_touch(core: Core, leader: Leader, now: Instant) -> set[MemberId]:
    """With whom this leader could go on at once: they are connected, vouch for it, and lack little. It is only asked
    who is in it."""
    vouching = {peer for peer in core.peers if peer in core.connected and leader.promises.get(peer, NEVER) > now}
    return {core.me} | {peer for peer in vouching if has_caught_up(core, leader, peer, now)}


def _put_in_force(core: Core, leader: Leader, membership: Membership, now: Instant) -> None:
    before = core.configuration
    entry = Entry(Index(core.log.last_index + 1), core.term, EntryKind.CONFIGURATION, encode(membership))
    core.log.append([entry])
    leader.uncommitted_bytes += len(entry.command)
    core.configurations.take([entry])
    for name in core.peers:
        if name not in of(membership).incarnations:
            replication.replicate(core, leader, name)  # the last that it hears
    core.adopt_configuration()
    _forget_strangers(core, leader, before)
    meet_peers(core, leader, now)
    replication.send_round(core, leader, now)
    replication.commit_if_held(core, now)


def _forget_strangers(core: Core, leader: Leader, before: Configuration) -> None:
    """What a former member, or the former incarnation of one, acknowledged is nobody's any more."""
    for name, incarnation in before.incarnations.items():
        if not core.configuration.names(Member(name, incarnation)):
            for known in _KNOWN_OF_PEERS:
                getattr(leader, known).pop(name, None)


def meet_peers(core: Core, leader: Leader, now: Instant) -> None:
    """Begin with whoever this leader knows nothing of yet."""
    last = core.log.last_index
    limits = core.settings.max_inflight, core.settings.max_inflight_bytes
    for peer in core.peers:
        if peer not in leader.progress:
            leader.progress[peer] = Progress(Index(last + 1), *limits)
            leader.catch_up[peer] = CatchUp(last, now)


def acknowledged(core: Core, peer: MemberId, term: Term, now: Instant) -> None:
    """That peer answered an append or a piece of a snapshot, in that term."""
    leader = core.role
    if isinstance(leader, Leader) and term == core.term:
        match = leader.progress[peer].match
        leader.catch_up[peer].heard(match, core.log.last_index, core.settings.minimum_election, now)


# ------------------------------------------------------------------------------------------------------------ everybody


def go_on(core: Core, now: Instant) -> None:
    """After the commit index may have moved: a configuration that is committed has consequences."""
    configuration = core.configurations.settle(core.commit)
    if configuration is not None:
        _settled(core, configuration, now)
    leader = core.role
    if isinstance(leader, Leader) and core.configuration.is_joint and _may_end_joint(core, leader):
        _put_in_force(core, leader, without_outgoing(core.configuration.membership), now)


def _may_end_joint(core: Core, leader: Leader) -> bool:
    committed = core.configurations.latest_index <= core.commit and core.commit >= leader.first_index
    return committed and leader.transfer is None


def _settled(core: Core, configuration: Configuration, now: Instant) -> None:
    tombstones, version = configuration.membership.tombstones, configuration.membership.version
    core.departing = {member: None for member in core.departing if configuration.names(member)}
    for process in core.greeted:
        if Member(process.member, process.incarnation) in tombstones:
            core.turn_away(process, removed(core, process.member))
        elif core.speaks[process.member].newest < version:
            core.turn_away(process, too_old(core, process.member, version))
    if isinstance(core.role, Leader) and not core.is_voter:
        transfer.abdicate(core, core.role, now)
    if Member(core.me, core.identity.incarnation) in tombstones:
        core.fence(removed(core, core.me), now)
    if version > core.settings.versions.newest:
        newest = core.settings.versions.newest
        core.fence(Refusal("version", f"the cluster uses version {version}, and {core.me} knows {newest}"), now)


def too_old(core: Core, member: MemberId, version: int) -> Refusal:
    return Refusal(
        "version", f"cluster {core.identity.cluster} uses version {version}, which {member} does not understand"
    )


def removed(core: Core, member: MemberId) -> Refusal:
    return Refusal("removed", f"this incarnation of {member} was removed from cluster {core.identity.cluster}")
