"""Whom a member listens to: the judgement of a peer's hello.

*To be listened to* is not to be counted. A process of this cluster may lead: what this node knows of the members may be
old. A process without a cluster may ask to become a member. What either grants and acknowledges is counted only if the
configuration names its incarnation: under its old name, but with a new volume, it has forgotten its votes. Not listened
to is:

- who belongs to another cluster, bears this node's own name, or speaks no version that this one understands;
- who was *removed*, by a committed configuration: it would disturb without end, for it hears no leader;
- an *older process*: of its processes the youngest is listened to. The highest generation seen of an incarnation is
  synced before anything that process says has an effect; so of two processes on one volume the older one is fenced by
  everybody who has met the younger one;
- one whose volume was *rolled back*, an old copy of what it had: it lacks what it granted or acknowledged to this node.
  That is so if its term is lower than one in which it did; if the term is the same, and its log is shorter than what it
  acknowledged in it, or the vote is gone; or if its log is shorter than what it acknowledged and this node knows to be
  committed. Nothing else is: a log that a later leader has shortened was legally shortened. A process remembers this of
  every peer since its own start;
- a *namesake* of a member, with another volume, while that member is connected. It may come back when that is gone.

A process that hears of its own cluster that it is removed, older or rolled back is *fenced*: it takes no part any more.
"""

from raftq_k8s.raft.changes import removed
from raftq_k8s.raft.core import Core
from raftq_k8s.raft.membership import Hello, Identity, Member, Refusal
from raftq_k8s.raft.output import Accepted
from raftq_k8s.raft.persistence import SeenPeer
from raftq_k8s.raft.roles import Candidate, Leader
from raftq_k8s.raft.types import Instant, MemberId, Term
from raftq_k8s.raft.versions import Versions
from raftq_k8s.raft.witness import Witness

STRANGERS_KEPT = 64
"""Processes of no member, of which the youngest is remembered: whoever invents names fills no volume."""

_FENCING = frozenset({"removed", "older-process", "rolled-back"})


def on_hello(core: Core, hello: Hello) -> None:
    """Judge a process that says hello; the verdict leaves with an output, an acceptance after what it rests on is
    synced."""
    identity = hello.identity
    refusal = _objection(core, hello)
    if refusal is not None:
        core.ignore(f"hello-{refusal.kind}")
        core.turn_away(identity, refusal)
        return
    _remember(core, identity)
    core.speaks[identity.member] = Versions(hello.protocol_min, hello.protocol_max)
    former = _present(core, identity.member)
    if former is not None and former.incarnation != identity.incarnation:
        core.turn_away(former, _namesake(identity.member))
    core.send(Accepted(identity))


def _present(core: Core, name: MemberId) -> Identity | None:
    """The process that is connected under that name, or will be as soon as the disk has written it down."""
    known = [process for process in core.greeted if process.member == name]
    return known[-1] if known and (name in core.connected or known[-1] != core.accepted.get(name)) else None


def lost(core: Core, peer: MemberId) -> None:
    """The connection to that peer died. Who is no member has to greet again before it is listened to: so whoever
    invents names fills no memory."""
    core.connected.discard(peer)
    if peer not in core.configuration.incarnations:
        core.accepted.pop(peer, None)
        if _present(core, peer) is None:
            core.speaks.pop(peer, None)


def _remember(core: Core, identity: Identity) -> None:
    member = Member(identity.member, identity.incarnation)
    youngest = SeenPeer(identity.member, identity.incarnation, identity.generation, identity.boot)
    if core.seen.get(member) == youngest:
        return
    strangers = [seen for seen in core.seen if not core.configuration.names(seen) and seen != member]
    for stranger in strangers[: max(0, len(strangers) - STRANGERS_KEPT)]:
        del core.seen[stranger]
    core.seen[member] = youngest
    core.change_hard_state()


def _objection(core: Core, hello: Hello) -> Refusal | None:
    identity, me = hello.identity, core.identity
    name, member = identity.member, Member(identity.member, identity.incarnation)
    committed = core.configurations.at(core.commit).membership
    if not hello.is_possible:
        return Refusal("malformed", f"no correct process says of {name} what was said")
    if name == me.member:
        return Refusal("own-name", f"{name} is this node's own name: two nodes are configured with one name")
    if identity.cluster not in (None, me.cluster):
        return Refusal("other-cluster", f"{name} belongs to cluster {identity.cluster}, this node to {me.cluster}")
    spoken = Versions(hello.protocol_min, hello.protocol_max)
    if spoken.newest < committed.version or not core.settings.versions.meet(spoken):
        return _no_common_version(core, hello, committed.version)
    if member in committed.tombstones:
        return removed(core, name)
    if (older := _older_process(core, identity)) is not None:
        return older
    if _is_rolled_back(core, hello):
        return Refusal("rolled-back", f"the volume of {name} is an old copy: it lacks what {name} said to {me.member}")
    present = _present(core, name)
    if present is None or core.configuration.names(member):
        return None
    return _namesake(name) if core.configuration.names(Member(name, present.incarnation)) else None


def _no_common_version(core: Core, hello: Hello, version: int) -> Refusal:
    mine = core.settings.versions
    return Refusal(
        "version",
        f"{hello.identity.member} understands versions {hello.protocol_min} to {hello.protocol_max}, {core.me} "
        f"{mine.oldest} to {mine.newest}, and the cluster uses {version}: upgrade one release at a time",
    )


def _namesake(name: MemberId) -> Refusal:
    return Refusal("namesake", f"{name} is connected, with another volume: do two nodes bear one name?")


def _older_process(core: Core, identity: Identity) -> Refusal | None:
    seen = core.seen.get(Member(identity.member, identity.incarnation))
    if seen is None or (seen.generation, seen.boot) == (identity.generation, identity.boot):
        return None
    if identity.generation > seen.generation:
        return None
    return Refusal(
        "older-process",
        f"a later process on this volume was met (start {seen.generation}; this is {identity.generation}): "
        "if two use it, end one of them; if it is an old copy, empty it and let the member join anew",
    )


# ---------------------------------------------------------------------------------------------------- what peers said


def _is_rolled_back(core: Core, hello: Hello) -> bool:
    """A process is asked of its volume when it is new here. Later its hello may be older than what it said since."""
    witness = core.witnesses.get(hello.identity.member)
    if witness is None or witness.process.incarnation != hello.identity.incarnation:
        return False
    if witness.process.is_process(hello.identity):
        return False
    return witness.contradicts(hello, core.me)


def _witness(core: Core, peer: MemberId) -> Witness:
    process = core.accepted[peer]
    witness = core.witnesses.get(peer)
    if witness is None or witness.process.incarnation != process.incarnation:
        witness = core.witnesses[peer] = Witness(process)
    witness.process = process
    return witness


def voted(core: Core, peer: MemberId, term: Term) -> None:
    """That peer, a member, gave this node its vote in that term, which is the present one."""
    if isinstance(core.role, Candidate | Leader) and term == core.term:
        witness = _witness(core, peer)
        witness.note(term)
        witness.voted = True


def acknowledged(core: Core, peer: MemberId, term: Term) -> None:
    """That peer answered an append or a piece of a snapshot, in that term."""
    leader = core.role
    if isinstance(leader, Leader) and term == core.term and peer in leader.progress:
        match = leader.progress[peer].match
        witness = _witness(core, peer)
        witness.note(term)
        witness.index = match
        witness.committed = max(witness.committed, min(match, core.commit))


# -------------------------------------------------------------------------------------------------------------- fencing


def refused_by(core: Core, by: Identity, refusal: Refusal, now: Instant) -> None:
    """A peer does not listen to this process."""
    if by.cluster == core.identity.cluster and refusal.kind in _FENCING:
        core.fence(refusal, now)
        core.drop_messages()
