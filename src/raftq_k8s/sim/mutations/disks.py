"""What leaves before it is synced, and what is counted though it is not."""

from typing import Any

from raftq_k8s.raft import replication
from raftq_k8s.raft.core import Core
from raftq_k8s.raft.log import Log
from raftq_k8s.raft.messages import AppendEntries
from raftq_k8s.raft.outbox import Outgoing
from raftq_k8s.raft.types import Index, Instant, MemberId, Term
from raftq_k8s.sim.mutations.mutation import Mutation
from raftq_k8s.sim.mutations.replication import commit_what_is_held


def _send_at_once(self: Core, outgoing: Outgoing) -> None:
    self._let_leave(outgoing)


def _acknowledge_at_once(core: Core, append: AppendEntries, agreed: Index) -> None:
    core.send(replication._success(core, append, agreed))


_follow = Core.follow


def _adopt_without_writing(self: Core, term: Term, leader: MemberId | None, now: Instant) -> None:
    changed = self.outbox.hard_state_changed
    _follow(self, term, leader, now)
    self.outbox.hard_state_changed = changed


def _forget_nothing_unsynced(self: Log, keep: Index) -> None:
    self._handed = min(self._handed, keep)


def _always_conflicts(self: Log, entries: Any) -> int:
    return 0


def _commit_unsynced(core: Core, now: Instant) -> None:
    commit_what_is_held(core, core.log.last_index, core.term)


MUTATIONS = (
    Mutation("persist-after-sending", "6", "messages leave before the write ends", ((Core, "send", _send_at_once),)),
    Mutation(
        "acknowledge-unsynced",
        "6",
        "an append is acknowledged before it is synced",
        ((replication, "_acknowledge", _acknowledge_at_once),),
    ),
    Mutation(
        "term-not-kept", "6", "a higher term is adopted, and not written", ((Core, "follow", _adopt_without_writing),)
    ),
    Mutation(
        "count-own-unsynced",
        "6",
        "a leader counts its own entries before they are synced",
        ((replication, "commit_if_held", _commit_unsynced),),
    ),
    Mutation(
        "late-receipt-counts",
        "6",
        "a truncation does not shorten the writes under way: their receipts count as if it had not been",
        ((Log, "_forget_unsynced", _forget_nothing_unsynced),),
    ),
    Mutation(
        "truncate-always",
        "6",
        "an append that is known already truncates what follows it",
        ((Log, "first_conflict", _always_conflicts),),
    ),
)
