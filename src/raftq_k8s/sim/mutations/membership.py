"""Who counts, and from when on."""

from collections.abc import Mapping
from typing import Any

import msgspec

from raftq_k8s.raft import changes, configuration, core, greeting, joining, membership, quorum, replication, transfer
from raftq_k8s.raft.configuration import Configuration, Configurations
from raftq_k8s.raft.core import Core
from raftq_k8s.raft.membership import Hello, Member, Membership, Refusal
from raftq_k8s.raft.roles import Leader
from raftq_k8s.raft.types import Index, Instant, MemberId
from raftq_k8s.sim.faults import Plan, scripted
from raftq_k8s.sim.mutations.mutation import Mutation
from raftq_k8s.sim.mutations.provoking import cut_off_in_change, never_one_voter

_of = configuration.of


def _learners_vote(members: Membership) -> Configuration:
    voters = tuple(member for member in members.members if member not in members.outgoing or member in members.voters)
    counted = _of(msgspec.structs.replace(members, voters=voters, learners=()))
    return msgspec.structs.replace(counted, membership=members)


def _new_half_only(members: Membership) -> Configuration:
    counted = _of(members)
    return msgspec.structs.replace(counted, halves=counted.halves[:1])


def _everywhere(of: Any) -> tuple[tuple[Any, str, Any], ...]:
    return ((configuration, "of", of), (changes, "of", of), (core, "of", of))


def _kept(self: Configurations, first: Index) -> bool:
    return False


_not_now = changes.not_now


def _before_the_first_commit(core: Core, leader: Leader) -> str | None:
    reason = _not_now(core, leader)
    return None if reason is not None and reason.startswith("no entry of this term") else reason


def _two_at_once(core: Core, leader: Leader) -> str | None:
    reason = _not_now(core, leader)
    return None if reason is not None and reason.startswith("the last change") else reason


_committed_index = quorum.committed_index


def _counting_itself(held: Mapping[MemberId, Index], counted: Configuration) -> Index:
    """Whoever is in `held` and votes no longer is the leader, or a learner."""
    others = [index for name, index in held.items() if name not in (*counted.voting, *counted.learners)]
    if not others or counted.is_joint:
        return _committed_index(held, counted)
    indices = sorted([*(held.get(voter, Index(0)) for voter in counted.voters), *others], reverse=True)
    return indices[quorum.majority(len(counted.voters)) - 1]


def _go_on_leading(core: Core, leader: Leader, now: Instant) -> None:
    pass


def _never_fenced(self: Core, refusal: Refusal, now: Instant) -> None:
    pass


_removed = membership._removed


def _without_a_trace(members: Membership, gone: Member) -> Membership:
    return msgspec.structs.replace(_removed(members, gone), tombstones=members.tombstones)


def _never_rolled_back(core: Core, hello: Hello) -> bool:
    return False


def _never_older(core: Core, identity: Any) -> None:
    return None


def _as_this_one(core: Core) -> int:
    return core.settings.versions.newest


def _old_copy(plan: Plan) -> Plan:
    return scripted(plan.seed, "rolled-back")


def _twin(plan: Plan) -> Plan:
    return scripted(plan.seed, "twin")


_CHANGES = ("join", "leave", "replace-voters", "wipe", "crash", "partition")

MUTATIONS = (
    Mutation("learner-votes", "8", "a learner counts as a voter", _everywhere(_learners_vote), _CHANGES, 2.0),
    Mutation(
        "one-half-only",
        "8",
        "of a joint configuration only the new half is asked",
        _everywhere(_new_half_only),
        ("join", "leave", "replace-voters", "partition", "pause"),
        3.0,
        never_one_voter,
    ),
    Mutation(
        "truncated-stays-in-force",
        "8",
        "the configuration of an entry that was not committed and is gone stays in force",
        ((Configurations, "truncate", _kept),),
        shaped=cut_off_in_change,
    ),
    Mutation(
        "change-before-first-commit",
        "8",
        "members are changed before an entry of the leader's term is committed",
        ((changes, "not_now", _before_the_first_commit),),
        ("join", "leave", "replace-voters", "crash", "transfer", "slow-disk"),
        3.0,
    ),
    Mutation(
        "two-changes-at-once",
        "8",
        "members are changed while the last change is not committed",
        ((changes, "not_now", _two_at_once),),
        _CHANGES,
        3.0,
    ),
    Mutation(
        "removed-leader-counts-itself",
        "8",
        "a leader that is removed counts itself to the rest",
        ((replication, "committed_index", _counting_itself),),
        ("leave", "join", "replace-voters", "slow-network"),
        4.0,
    ),
    Mutation(
        "removed-leader-stays",
        "8",
        "a leader goes on though its removal is committed",
        ((transfer, "abdicate", _go_on_leading), (Core, "fence", _never_fenced)),
        ("leave", "join", "replace-voters"),
        3.0,
    ),
    Mutation(
        "tombstone-forgotten",
        "8",
        "of who is removed nothing is remembered",
        ((membership, "_removed", _without_a_trace),),
        ("leave", "join", "wipe"),
        3.0,
    ),
    Mutation(
        "version-of-the-leader",
        "8",
        "the version is raised as soon as the leader understands it",
        ((joining, "_understood_by_all", _as_this_one),),
        ("crash", "transfer"),
    ),
    Mutation(
        "rolled-back-votes",
        "8",
        "an old copy of a volume is listened to",
        ((greeting, "_is_rolled_back", _never_rolled_back),),
        shaped=_old_copy,
    ),
    Mutation(
        "twin-votes",
        "8",
        "the older of two processes on one volume is listened to, though it is older and lacks what the other said",
        ((greeting, "_older_process", _never_older), (greeting, "_is_rolled_back", _never_rolled_back)),
        shaped=_twin,
    ),
)
