"""Who is to lead after this agent, which is about to end.

Raft would take any voter. Beside it there is what Kubernetes shows: a pod that is being ended would hand over again at
once, and so would one that the rollout under way has yet to reach. A StatefulSet is rolled out from the highest ordinal
down. So of the voters that are connected and nearly caught up, one whose pod stays is preferred, then one that has
another revision than this pod, for that is the new one; of those that are alike, the lowest ordinal.
"""

from collections.abc import Mapping, Sequence

from raftq_k8s.kube.label import Gone, Pod
from raftq_k8s.node.status import MemberStatus
from raftq_k8s.raft.types import MemberId

NEARLY_CAUGHT_UP = 1000
"""Entries: they are brought in while writes wait."""


def successor(me: MemberId, members: Sequence[MemberStatus], pods: Mapping[MemberId, Pod | Gone]) -> MemberId | None:
    """`None`: whoever Raft thinks best."""
    candidates = [
        each.name
        for each in members
        if each.name != me and each.kind == "voter" and each.connected and (each.lag or 0) <= NEARLY_CAUGHT_UP
    ]
    seen = {name: pod for name in candidates if isinstance(pod := pods.get(name), Pod)}
    mine = pods.get(me)
    if not seen or not isinstance(mine, Pod):
        return None

    def rank(name: MemberId) -> tuple[bool, bool, int]:
        pod = seen[name]
        return pod.terminating, pod.revision == mine.revision, int(name.rpartition("-")[2])

    return min(seen, key=rank)
