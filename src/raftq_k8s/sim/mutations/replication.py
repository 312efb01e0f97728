"""How a log spreads, what of it is committed, and how that is applied."""

from typing import Any

from raftq_k8s.node.driver import Driver
from raftq_k8s.raft import replication
from raftq_k8s.raft.core import Core
from raftq_k8s.raft.log import Log
from raftq_k8s.raft.messages import AppendEntries, AppendResponse, Entry, EntryKind
from raftq_k8s.raft.progress import Progress
from raftq_k8s.raft.quorum import committed_index
from raftq_k8s.raft.roles import Leader
from raftq_k8s.raft.types import Index, Instant, Term
from raftq_k8s.sim.mutations.mutation import Mutation


def commit_what_is_held(core: Core, own: Index, only: Term | None) -> None:
    leader = core.role
    if not isinstance(leader, Leader):
        return
    held = {peer: progress.match for peer, progress in leader.progress.items()}
    index = committed_index({**held, core.me: own}, core.configuration)
    if index > core.commit and only in (None, core.log.term_at(index)):
        core.commit = index


def _commit_old_terms(core: Core, now: Instant) -> None:
    commit_what_is_held(core, core.log.stable, None)


_on_append_entries = replication.on_append_entries


def _commit_past_agreed(core: Core, append: AppendEntries, now: Instant) -> None:
    _on_append_entries(core, append, now)
    if append.term == core.term and not isinstance(core.role, Leader):
        core.commit = max(core.commit, min(append.commit, core.log.last_index))


def _always_matches(self: Log, index: Index, term: Term) -> bool:
    return index <= self.last_index


_on_append_response = replication.on_append_response


def _drop_own_tail(core: Core, response: AppendResponse, now: Instant) -> None:
    leader = core.role
    if isinstance(leader, Leader) and not response.success and core.log.last_index > max(core.commit, 1):
        last = core.log.last_index
        core.log.overwrite([Entry(last, core.term, EntryKind.NOOP)])
    _on_append_response(core, response, now)


def _rewrite_own_tail(core: Core, leader: Leader, commands: Any) -> Index:
    first = Index(core.commit + 1 if core.commit > leader.first_index else core.log.last_index + 1)
    core.log.overwrite([Entry(Index(first + i), core.term, EntryKind.COMMAND, c) for i, c in enumerate(commands)])
    return first


def _never_refused(self: Progress, previous: Index, agreed_at_most: Index) -> bool:
    return True


_apply = Driver._apply


def _apply_twice(self: Driver) -> None:
    if self._to_apply:
        self._to_apply = (*self._to_apply, self._to_apply[-1])
    _apply(self)


def _skip_one(self: Driver) -> None:
    if len(self._to_apply) > 1:
        self._to_apply = self._to_apply[1:]
    _apply(self)


MUTATIONS = (
    Mutation(
        "rewrite-own-tail",
        "2",
        "a leader puts new commands in the place of uncommitted ones",
        ((replication, "append_commands", _rewrite_own_tail),),
    ),
    Mutation(
        "drop-own-tail",
        "2",
        "a leader that is refused gives its last entry up",
        ((replication, "on_append_response", _drop_own_tail),),
    ),
    Mutation(
        "skip-the-match",
        "3",
        "a follower takes appends without a match",
        ((Log, "matches", _always_matches),),
        ("partition", "crash", "bridge"),
        3.0,
    ),
    Mutation(
        "count-old-terms",
        "4",
        "replicas of old-term entries are counted",
        ((replication, "commit_if_held", _commit_old_terms),),
    ),
    Mutation(
        "commit-past-agreed",
        "5",
        "a follower commits what it did not compare",
        ((replication, "on_append_entries", _commit_past_agreed),),
    ),
    Mutation("apply-twice", "5", "the last of each batch is applied twice", ((Driver, "_apply", _apply_twice),)),
    Mutation("apply-with-gaps", "5", "the first of a batch is skipped", ((Driver, "_apply", _skip_one),)),
    Mutation("never-probe", "11", "a refused append is not followed up", ((Progress, "refused", _never_refused),)),
)
