"""How a process becomes a member, and how it stops being one, by its own wish.

A process that belongs to no cluster yet, and hears of one whose record does not name it, asks to be taken in, under the
incarnation of its own volume; again and again, until a committed configuration names it. Nothing is believed before
that: only then it writes down that it belongs to that cluster, and takes part. The leader makes it a learner. A name
that another incarnation bears was lost with its volume, or two processes are configured alike: it is replaced only when
the former has been silent for long, for whoever is heard is not lost.

A learner that has caught up is made a voter as long as there are not enough of them (dissertation §4.2.1): of several
the one that has kept up longest. Who wants to leave says so until it is removed; the leader removes one at a time, and
none without whom the rest would stand still (`changes`). A voter that is dead is left one, for it may come back; only
where the settings say after how long it will not, a learner that is ready takes its place: both at once, by a joint
configuration, so that the cluster tolerates no failure less on the way.

All of that rests while the cluster is paused. Whether it is, the state says that the log drives: so a new leader leaves
the members alone until it has applied what was agreed on before its election.
"""

from raftq_k8s.raft import changes
from raftq_k8s.raft.core import Core
from raftq_k8s.raft.membership import (
    AddLearner,
    BirthRecord,
    Change,
    ChangeRefused,
    Identity,
    Member,
    Promote,
    RaiseVersion,
    Remove,
    Replace,
    ReplaceVoters,
)
from raftq_k8s.raft.messages import JoinRequest, JoinResponse, LeaveRequest
from raftq_k8s.raft.quorum import FOREVER, NEVER
from raftq_k8s.raft.roles import Leader
from raftq_k8s.raft.types import NO_TERM, ClusterId, Instant, MemberId, Milliseconds

MOST_MET = 64
"""Members of one cluster that an applicant remembers: one is enough."""

# ----------------------------------------------------------------------------------------------------------- applicants


class Applicant:
    """A process without a cluster, and the members of clusters that it has met."""

    def __init__(self, identity: Identity, ask_every: Milliseconds) -> None:
        self._identity = identity
        self._ask_every = ask_every
        self._ask_at: Instant = NEVER
        self._met: dict[MemberId, BirthRecord] = {}
        self._clusters: dict[MemberId, ClusterId] = {}
        self._leader: MemberId | None = None
        self._answer = ""
        self.record: BirthRecord | None = None
        """Of the cluster that has taken this process in."""

    @property
    def has_met(self) -> bool:
        return bool(self._clusters)

    def may_meet(self, cluster: ClusterId) -> bool:
        """Whether a stranger of that cluster is worth remembering."""
        return not self._clusters or (cluster in self._clusters.values() and len(self._clusters) < MOST_MET)

    def meet(self, member: MemberId, record: BirthRecord) -> None:
        self._met[member] = record
        self._clusters[member] = record.cluster

    def lost(self, member: MemberId) -> None:
        """It cannot be asked now. What it belongs to is not forgotten."""
        self._met.pop(member, None)

    def forget(self, member: MemberId) -> None:
        """It is blank itself, now."""
        self._met.pop(member, None)
        self._clusters.pop(member, None)

    @property
    def wake_at(self) -> Instant:
        return self._ask_at if self._may_ask else FOREVER

    def ask(self, now: Instant) -> list[JoinRequest]:
        """Of whom to ask it now: of whoever is said to lead, or of all who may know."""
        if not self._may_ask or now < self._ask_at:
            return []
        self._ask_at = now + self._ask_every
        asked = [self._leader] if self._leader in self._met else sorted(self._met)
        self._leader = None
        return [JoinRequest(self._identity.member, name, NO_TERM, self._identity.incarnation) for name in asked]

    def hear(self, response: JoinResponse) -> None:
        record = self._met.get(response.source)
        if record is None or response.incarnation != self._identity.incarnation or not self._may_ask:
            return
        if response.granted:
            self.record = record
        elif response.leader in self._met and response.leader != response.source:
            self._leader, self._ask_at = response.leader, NEVER
        else:
            self._answer = f"{response.source} says: {response.reason}"

    @property
    def _may_ask(self) -> bool:
        return self.record is None and bool(self._met) and len(set(self._clusters.values())) == 1

    @property
    def waiting_for(self) -> str:
        """A sentence for people."""
        clusters = sorted(set(self._clusters.values()))
        if len(clusters) > 1:
            return f"the peers belong to different clusters ({', '.join(clusters)}): which one is this node's?"
        me = self._identity
        return (
            f"asking to be added to cluster {clusters[0]} as {me.member} (incarnation {me.incarnation}); "
            f"{self._answer or 'no answer yet'}"
        )


# -------------------------------------------------------------------------------------------------------------- leaders


def on_join_request(core: Core, request: JoinRequest, now: Instant) -> None:
    applicant = Member(request.source, request.incarnation)
    if core.accepted[request.source].incarnation != request.incarnation:
        core.ignore("incarnation")
    elif core.configurations.at(core.commit).names(applicant):
        _answer(core, applicant, granted=True, reason="")
    elif not isinstance(core.role, Leader):
        _answer(core, applicant, granted=False, reason=f"{core.me} does not lead, {core.leader or 'nobody known'} does")
    else:
        _answer(core, applicant, granted=False, reason=_take_in(core, core.role, applicant, now))


def _take_in(core: Core, leader: Leader, applicant: Member, now: Instant) -> str:
    """Begin to make it a member; returns how that stands."""
    if not core.configuration.names(applicant):
        former = core.configuration.incarnations.get(applicant.name)
        if former is not None and core.paused:
            return f"the cluster is paused, and {applicant.name} (incarnation {former}) is not replaced"
        if former is not None and now < leader.catch_up[applicant.name].heard_at + core.settings.silent_for:
            return f"{applicant.name} (incarnation {former}) was heard within {core.settings.silent_for:g} ms"
        refusal = _try(core, leader, AddLearner(applicant) if former is None else Replace(applicant), now)
        if refusal is not None:
            return refusal
    return f"{applicant.name} is being added"


def _try(core: Core, leader: Leader, change: Change, now: Instant) -> str | None:
    try:
        changes.begin(core, leader, change, now)
    except ChangeRefused as refused:
        return str(refused)
    return None


def _answer(core: Core, applicant: Member, *, granted: bool, reason: str) -> None:
    core.send(JoinResponse(core.me, applicant.name, core.term, applicant.incarnation, granted, core.leader, reason))


def on_leave_request(core: Core, request: LeaveRequest) -> None:
    member = Member(request.source, request.incarnation)
    if core.configuration.names(member):
        core.departing[member] = None


def look_after_members(core: Core, now: Instant) -> None:
    """Whatever is due, one change at a time: who leaves is removed, who has caught up votes, what all understand is
    used."""
    leader = core.role
    if not isinstance(leader, Leader) or changes.not_now(core, leader) is not None:
        return
    if core.paused or core.applied < leader.first_index:
        return
    for change in _due(core, leader, now):
        if _try(core, leader, change, now) is None:
            return


def _due(core: Core, leader: Leader, now: Instant) -> list[Change]:
    due: list[Change] = [Remove(member) for member in core.departing if core.configuration.names(member)]
    ready = _ready(core, leader, now)
    if len(core.configuration.voters) < core.settings.max_voters:
        due += [Promote(member) for member in ready]
    due += [_in_place_of(core, dead, ready[0]) for dead in _dead(core, leader, now) if ready]
    version = _understood_by_all(core)
    if version > core.configuration.membership.version:
        due.append(RaiseVersion(version))
    return due


def _ready(core: Core, leader: Leader, now: Instant) -> list[Member]:
    """Learners that could vote and mean to stay; first the one that has kept up longest."""
    ready = [name for name in core.configuration.learners if changes.has_caught_up(core, leader, name, now)]
    ready.sort(key=lambda name: (leader.catch_up[name].since, name))
    return [member for member in map(core.member, ready) if member not in core.departing]


def _dead(core: Core, leader: Leader, now: Instant) -> list[Member]:
    """Voters that this leader has not heard for too long; first the one that was heard last the longest ago."""
    too_long = core.settings.replace_dead_after
    if too_long is None:
        return []
    heard_at = {name: leader.catch_up[name].heard_at for name in core.configuration.voters if name != core.me}
    dead = [name for name, heard in heard_at.items() if now >= heard + too_long]
    return [core.member(name) for name in sorted(dead, key=lambda name: (heard_at[name], name))]


def _in_place_of(core: Core, gone: Member, successor: Member) -> ReplaceVoters:
    staying = [voter for voter in core.configuration.membership.voters if voter != gone]
    return ReplaceVoters((*staying, successor))


def _understood_by_all(core: Core) -> int:
    """As far as this leader has heard of every member."""
    known = [core.speaks[peer].newest if core.counts(peer) else 0 for peer in core.peers]
    return min([core.settings.versions.newest, *known])


# ------------------------------------------------------------------------------------------------------------- leaving


def depart(core: Core, name: MemberId, now: Instant) -> None:
    """That member goes away for good, by its own wish or its owner's."""
    if name in core.configuration.incarnations:
        core.departing[core.member(name)] = None
        look_after_members(core, now)
        ask_to_leave_if_due(core, now)


def ask_to_leave_if_due(core: Core, now: Instant) -> None:
    """A member that does not lead asks whoever does."""
    if now < wake_at(core):
        return
    core.ask_to_leave_at = now + core.settings.heartbeat
    leader = core.leader
    if leader is not None:
        core.send(LeaveRequest(core.me, leader, core.term, core.identity.incarnation))


def wake_at(core: Core) -> Instant:
    leaving = Member(core.me, core.identity.incarnation) in core.departing and not isinstance(core.role, Leader)
    return core.ask_to_leave_at if leaving else FOREVER
