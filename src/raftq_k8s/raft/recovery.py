"""Recovery from a lost quorum: a survivor becomes a cluster of its own, because a person says so.

When a majority of the voters is gone for good, nothing can be committed any more, and no rule can find out whether it
is gone: to the survivor it looks the same as being cut off. So this is never decided here. It is one deliberate write,
made while the node does not run, that turns the volume into that of another cluster: a new id, which nobody of the old
one listens to; a configuration of this member alone, at the end of its log; and a term above every one that is known,
so that fencing tokens never go back. Whatever stands in the log is kept, and becomes committed: what the lost majority
had committed and this node never received is lost, and nothing can tell how much that is.
"""

import msgspec

from raftq_k8s.raft.configuration import encode, of_log
from raftq_k8s.raft.membership import BirthRecord, Member, buried
from raftq_k8s.raft.messages import Entry, EntryKind
from raftq_k8s.raft.persistence import HardState, Restored, Write
from raftq_k8s.raft.types import LONGEST_STEP, ClusterId, Index, Term


class NotRecoverable(ValueError):
    """There is nothing on that volume that could go on as a cluster of its own."""


def recovered(restored: Restored, cluster: ClusterId, above: Term) -> Write:
    """What makes this volume the cluster of that new id, with this member alone, in a term above `above` and its own.

    Raises `NotRecoverable`.
    """
    if restored.birth is None:
        raise NotRecoverable(f"the volume of {restored.member} belongs to no cluster: there is nothing to recover")
    if restored.birth.cluster == cluster:
        raise NotRecoverable(f"the volume of {restored.member} belongs to cluster {cluster} already")
    term = Term(max(restored.hard_state.term, above) + 1)
    if term > LONGEST_STEP:
        raise NotRecoverable(f"no cluster can begin in term {term}")
    survivor = Member(restored.member, restored.incarnation)
    former = of_log(restored.birth, restored).latest.membership
    gone = tuple(member for member in former.members if member != survivor)
    alone = msgspec.structs.replace(
        former,
        voters=(survivor,),
        outgoing=(),
        learners=(),
        tombstones=buried(former.tombstones, gone),
    )
    last = restored.entries[-1].index if restored.entries else restored.base
    return Write(
        birth=BirthRecord(cluster, (survivor,), term),
        hard_state=HardState(term, None, restored.hard_state.promised_window, ()),
        entries=(Entry(Index(last + 1), term, EntryKind.CONFIGURATION, encode(alone)),),
    )
