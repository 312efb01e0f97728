"""Recovery from a lost quorum: a survivor becomes a cluster of its own, because a person says so.

When a majority of the voters is gone for good, nothing can be committed any more, and no rule can find out whether it
is gone: to the survivor it looks the same as being cut off. So this is never decided here. It is one deliberate write,
made while the node does not run, that turns the volume into that of another cluster: a new id, which nobody of the old
one listens to, and this member alone, with a snapshot of all that it holds. Whatever stands in its log is kept, and
becomes committed: what the lost majority had committed and this node never received is lost, and nothing can tell how
much that is. Clients may know of it, though, by a term that fences or a revision that they compare with. So the new
cluster begins well above both: neither may come a second time, for something else.

A snapshot that is restored on a volume of its own begins a cluster in the same way.
"""

import msgspec
from msgspec.structs import replace

from raftq_k8s.raft.configuration import of_log
from raftq_k8s.raft.membership import BirthRecord, Member, Membership, buried
from raftq_k8s.raft.messages import SnapshotMark
from raftq_k8s.raft.persistence import Compaction, HardState, Restored, Write
from raftq_k8s.raft.types import LONGEST_STEP, ClusterId, Index, Milliseconds, Term

TERMS_PASSED = 1000
"""So many terms the others may have seen since this node last heard of one."""

INDICES_PASSED = 1 << 24
"""So many entries they may have committed since."""


class NotRecoverable(ValueError):
    """There is nothing there that could go on as a cluster of its own."""


class Beginning(msgspec.Struct, frozen=True):
    """Of a cluster of one member, whose state is a snapshot."""

    birth: BirthRecord
    membership: Membership
    index: Index
    """Of the snapshot, and of all that was before."""
    promised_window: Milliseconds

    def write(self, size: int, checksum: int) -> Write:
        """What makes of a volume, on which all parts of that snapshot were put together, that of the cluster."""
        term = self.birth.first_term
        return Write(
            birth=self.birth,
            hard_state=HardState(term, None, self.promised_window, ()),
            seal=SnapshotMark(self.index, term, self.membership, size, checksum),
            compaction=Compaction(self.index, term, keep_rest=False),
        )


def recovered(restored: Restored, old: ClusterId, new: ClusterId) -> Beginning:
    """What was a member of the cluster `old` goes on alone as `new`. Raises `NotRecoverable`."""
    birth = restored.birth
    if birth is None:
        raise NotRecoverable(f"the volume of {restored.member} belongs to no cluster: there is nothing to recover")
    if birth.cluster != old:
        raise NotRecoverable(f"the volume of {restored.member} belongs to cluster {birth.cluster}, not to {old}")
    survivor = Member(restored.member, restored.incarnation)
    former = of_log(birth, restored).latest.membership
    gone = tuple(member for member in former.members if member != survivor)
    last = restored.entries[-1].index if restored.entries else restored.base
    return Beginning(
        birth=_record(new, survivor, restored.hard_state.term),
        membership=replace(
            former, voters=(survivor,), outgoing=(), learners=(), tombstones=buried(former.tombstones, gone)
        ),
        index=Index(last + INDICES_PASSED),
        promised_window=restored.hard_state.promised_window,
    )


def begun_with(member: Member, cluster: ClusterId, index: Index, term: Term) -> Beginning:
    """A new cluster of that member alone, with what a snapshot holds that was taken at `index`, in `term`. Raises
    `NotRecoverable`."""
    return Beginning(
        birth=_record(cluster, member, term),
        membership=Membership(voters=(member,)),
        index=Index(index + INDICES_PASSED),
        promised_window=0.0,
    )


def _record(cluster: ClusterId, alone: Member, above: Term) -> BirthRecord:
    record = BirthRecord(cluster, (alone,), Term(above + TERMS_PASSED))
    if not record.is_possible:
        raise NotRecoverable(f"no cluster can begin in term {record.first_term}, which is above {LONGEST_STEP}")
    return record
