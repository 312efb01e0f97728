"""The leader's label: what is written next, and why two pods never wear it at one moment.

The state to reach is that the leader's pod has `role=leader`, the pod of every other voter `role=follower`, and each
of them the term and cluster of that leader in its annotations, its *mark*. `decide` says which writes come next,
given what the API shows and what Raft says; it keeps nothing, so whoever carries the writes out may lose everything
between two of them.

The rules:

 1. Every write names the uid and the resourceVersion of the state of the pod that it was decided on. The API compares
    and writes in one step: if anybody wrote in between, or the pod is another of the same name, nothing happens
    (409).
 2. A leader that sees a higher term than its own, on whatever pod of the StatefulSet and from whatever cluster,
    writes nothing. Raft hears of the term and steps down. The same term from another cluster counts as higher: a term
    is unique only within its cluster.
 3. *Fence before label.* A leader first puts its mark and `role=follower` on the pod of every other voter, and on any
    other pod of the StatefulSet that wears the label. Only when all show its mark does it label itself.
 4. A process labels one pod, its own, if that belongs to the StatefulSet, and of that name only the object (uid) that
    it was started for.

Why no two pods are labelled at one moment. Suppose X, labelled by a leader of term T, and Y, labelled by one of term
U, wear the label together, T < U (within a cluster a term has one leader, and a leader labels one pod; for two
clusters of one term read rule 2 as "outranks"). X is the pod of a voter (while the membership is fixed every leader
is one of the same voters), so by rule 3 Y's leader had fenced X before it labelled Y. The fence took X's label off,
so the write that labelled X came after it. By rule 1 that write was decided on a state of X at or after the fence.
All such states show a term of at least U, since by rules 1 and 2 the term on an object never falls. So by rule 2 it
was not sent: a contradiction. Note what the argument does not need: clocks, time-outs, an order of requests, a leader
that knows that it was deposed, or an API that answers. A request may be late by hours.

The label write's own resourceVersion is what closes the door: a fence by a newer leader changes the resourceVersion
of our pod, so that our label, decided before it, gets a 409; we read again, see the higher term, and give up.

A pod that is not there has no state to fence. A GET that says so proves only that it was gone when the GET was
answered, perhaps out of a cache, so the question is put to a write: a fence for a uid that no object has and a
resourceVersion that no pod has (a *probe*). It cannot take effect, whatever it meets. 409: there is a pod, read it.
404: there is none, and what is created later under this name has a new uid, which no process of a lower term may
label (rule 4), for every process that is started for it has yet to be elected, in a term above ours. So 404 of a
write is as good as a fence, for as long as this leader's term lasts.

A mark out of reach (further above than Raft would follow, `LONGEST_STEP`) was not written by a leader: believed, one
annotation by a stray hand would stop the label for ever. It outranks nobody, and the next fence overwrites it. On that
pod the term then falls, and rule 1 alone does not stop a deposed leader that reads the false mark; that it leads no
more by its own clock does (it is asked before every write).

A pod without a controller but with the name of one of ours is ours: `kubectl delete statefulset --cascade=orphan`
leaves such pods at work. A pod of another controller that wears the label is reported and never touched.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, Final, TypeAlias

import msgspec

from raftq_k8s.kube.objects import ObjectMeta, ResourceVersion, Uid
from raftq_k8s.raft.types import LONGEST_STEP, NO_TERM, ClusterId, MemberId, Term

LEADER: Final = "leader"
FOLLOWER: Final = "follower"

TERM_ANNOTATION: Final = "raftq.io/term"
CLUSTER_ANNOTATION: Final = "raftq.io/cluster"

_REVISION_LABEL: Final = "controller-revision-hash"

_NO_OBJECT: Final = "00000000-0000-0000-0000-000000000000"
_NO_STATE: Final = "1"
"""The store's first revision is older than any pod. Not "0", which to the API means "any"."""


class Mark(msgspec.Struct, frozen=True):
    """Who wrote on a pod last. No term: nobody has."""

    term: Term = NO_TERM
    cluster: ClusterId | None = None


class Pod(msgspec.Struct, frozen=True):
    """One state of a pod, as far as the label goes."""

    name: MemberId
    uid: Uid
    resource_version: ResourceVersion
    role: str | None
    mark: Mark
    ours: bool
    """It belongs to our StatefulSet."""
    terminating: bool = False
    """It was deleted, and its containers are being ended."""
    revision: str | None = None
    """Of the StatefulSet's template: another one than its neighbour's while a rollout is under way."""


class Gone(msgspec.Struct, frozen=True):
    """A write that bore `mark` met no pod of this name. For that leader, and no later one, it is as good as a fence."""

    mark: Mark


Seen: TypeAlias = Mapping[MemberId, Pod | Gone]
"""What the API shows. A name that is not in it: no pod was seen, which proves nothing."""


class Workload(msgspec.Struct, frozen=True):
    """Which pods belong together, and how their label is called."""

    statefulset: str
    selector: str
    label_key: str = "role"

    def pod(self, meta: ObjectMeta) -> Pod:
        return Pod(
            MemberId(meta.name),
            meta.uid,
            meta.resource_version,
            meta.labels.get(self.label_key),
            Mark(_term(meta.annotations.get(TERM_ANNOTATION)), _cluster(meta.annotations.get(CLUSTER_ANNOTATION))),
            self._owns(meta),
            meta.deletion_timestamp is not None,
            meta.labels.get(_REVISION_LABEL),
        )

    def _owns(self, meta: ObjectMeta) -> bool:
        for owner in meta.owner_references:
            if owner.controller:
                return owner.kind == "StatefulSet" and owner.name == self.statefulset
        name, _, ordinal = meta.name.rpartition("-")
        return name == self.statefulset and ordinal.isdecimal()


class OwnPod(msgspec.Struct, frozen=True):
    """The pod that this process was started in."""

    name: MemberId
    uid: Uid


class Leads(msgspec.Struct, frozen=True):
    """Raft says: this node leads, and an entry of its term is committed."""

    term: Term
    cluster: ClusterId
    voters: tuple[MemberId, ...]


class Follows(msgspec.Struct, frozen=True):
    """Raft says: this node may not be labelled."""


class Purpose(StrEnum):
    FENCE = "fence"
    PROBE = "probe"
    LEAD = "lead"
    STEP_BACK = "step-back"


class Write(msgspec.Struct, frozen=True):
    """One conditional write. It leaves the mark alone where it has none of its own."""

    purpose: Purpose
    name: MemberId
    uid: Uid
    resource_version: ResourceVersion
    role: str
    mark: Mark | None


class Decision(msgspec.Struct, frozen=True):
    writes: tuple[Write, ...] = ()
    """They do not depend on one another: all may go out at once. Then look at what they did, and decide again."""
    above: Term | None = None
    """Set when somebody outranks us: Raft must leave its term behind and be at least here."""
    hindrance: str | None = None
    """Why the label cannot be where it belongs, though there is nothing to write."""
    intruders: tuple[str, ...] = ()
    """Pods of another owner that wear the leader's label among ours."""


def decide(seen: Seen, own: OwnPod | None, raft: Leads | Follows) -> Decision:
    """The next writes. `own` is `None` until it is known which object this process was started for."""
    pods = [pod for pod in seen.values() if isinstance(pod, Pod)]
    intruders = tuple(sorted(pod.name for pod in pods if not pod.ours and pod.role == LEADER and not _same(pod, own)))
    match raft:
        case Follows():
            return Decision(tuple(_step_back(seen, own)), intruders=intruders)
        case Leads():
            claims = [pod.mark for pod in pods if pod.ours and _outranks(pod.mark, raft)]
            if claims:
                highest = max(claim.term for claim in claims)
                return Decision(above=Term(max(highest, raft.term + 1)), intruders=intruders)
            if own is None:
                return Decision(hindrance="this process's own pod was not seen yet", intruders=intruders)
            me = seen.get(own.name)
            if isinstance(me, Pod) and me.uid != own.uid:
                hindrance = f"the name {own.name} has passed to another pod: this process was started for {own.uid}"
                return Decision(hindrance=hindrance, intruders=intruders)
            if isinstance(me, Pod) and not me.ours:
                return Decision(hindrance=f"the pod {own.name} belongs to another owner", intruders=intruders)
            if fences := tuple(_fences(seen, own, raft)):
                return Decision(fences, intruders=intruders)
            if not isinstance(me, Pod):
                return Decision(hindrance=f"there is no pod {own.name} to label", intruders=intruders)
            return Decision(tuple(_lead(me, raft)), intruders=intruders)


def merge_patch(write: Write, label_key: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "uid": write.uid,
        "resourceVersion": write.resource_version,
        "labels": {label_key: write.role},
    }
    if write.mark is not None:
        metadata["annotations"] = {TERM_ANNOTATION: str(write.mark.term), CLUSTER_ANNOTATION: write.mark.cluster}
    return {"metadata": metadata}


def _step_back(seen: Seen, own: OwnPod | None) -> Iterator[Write]:
    """The mark stays: it is the newer leader's, or our own and true until somebody has led after us."""
    if own is None:
        return
    me = seen.get(own.name)
    if isinstance(me, Pod) and me.uid == own.uid and me.role != FOLLOWER:
        yield Write(Purpose.STEP_BACK, me.name, me.uid, me.resource_version, FOLLOWER, None)


def _fences(seen: Seen, own: OwnPod, raft: Leads) -> Iterator[Write]:
    wearers = {pod.name for pod in seen.values() if isinstance(pod, Pod) and pod.ours and pod.role == LEADER}
    mark = Mark(raft.term, raft.cluster)
    for name in sorted({*raft.voters, *wearers} - {own.name}):
        match seen.get(name):
            case Pod() as pod:
                if pod.ours and (pod.role != FOLLOWER or pod.mark != mark):
                    yield Write(Purpose.FENCE, name, pod.uid, pod.resource_version, FOLLOWER, mark)
            case Gone() | None as gone:
                if gone != Gone(mark):
                    yield Write(Purpose.PROBE, name, _NO_OBJECT, _NO_STATE, FOLLOWER, mark)


def _lead(me: Pod, raft: Leads) -> Iterator[Write]:
    mark = Mark(raft.term, raft.cluster)
    if me.role != LEADER or me.mark != mark:
        yield Write(Purpose.LEAD, me.name, me.uid, me.resource_version, LEADER, mark)


def _outranks(mark: Mark, raft: Leads) -> bool:
    same_term_elsewhere = mark.term == raft.term and mark.cluster not in (None, raft.cluster)
    return raft.term < mark.term <= raft.term + LONGEST_STEP or same_term_elsewhere


def _same(pod: Pod, own: OwnPod | None) -> bool:
    return own is not None and pod.name == own.name and pod.uid == own.uid


def _term(annotation: str | None) -> Term:
    """What is not a term was not written by us, and so fences nobody."""
    if annotation is None or not annotation.isascii() or not annotation.isdecimal() or len(annotation) > 19:
        return NO_TERM
    return Term(int(annotation))


def _cluster(annotation: str | None) -> ClusterId | None:
    return ClusterId(annotation) if annotation else None
