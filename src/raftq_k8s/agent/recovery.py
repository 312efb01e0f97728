"""Recovery from a lost quorum, asked of a running agent (`raftq recover`).

Nothing of it happens while the node runs: the agent ends as it always does, its volume is archived, and becomes that of
the new cluster, or blank; then this process begins anew, as the same command. A node that has heard a leader of its own
cluster lately is told by it that there is a quorum, so it refuses: two clusters with one name would serve two truths.
"""

import logging
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from raftq_k8s.agent.anew import Work
from raftq_k8s.agent.before_the_start import Recovered, join_any, join_only, note_recovery
from raftq_k8s.api.views import OperationRefused
from raftq_k8s.node import recovery
from raftq_k8s.node.status import NodeStatus
from raftq_k8s.raft.types import ClusterId, MemberId, Milliseconds
from raftq_k8s.storage import archive
from raftq_k8s.storage.sqlite import SqliteVolume

SILENCE = 10
"""So many of the longest election times nobody must have led."""

log = logging.getLogger(__name__)


class Node(Protocol):
    def status(self) -> NodeStatus: ...


class Recovery:
    def __init__(
        self,
        node: Node,
        data: Path,
        member: MemberId,
        maximum_election: Milliseconds,
        begin_anew: Callable[[Work], bool],
    ) -> None:
        """`begin_anew` ends the agent, does the work, and begins the process anew; unless it is about to already."""
        self._node = node
        self._data = data
        self._member = member
        self._silence_ms = SILENCE * maximum_election
        self._begin_anew = begin_anew
        self._objection: OperationRefused | None = None

    def recover(self, old: ClusterId) -> ClusterId:
        """Raises `OperationRefused`."""
        status = self._node.status()
        if status.cluster != old:
            raise OperationRefused(f"this node belongs to {_named(status.cluster)}, not to {old}; nothing was done")
        self._check_silence(status)
        if status.member not in (*status.voters, *status.learners):
            raise OperationRefused(f"{status.member} is no member of cluster {old} any more; nothing was done")
        new = ClusterId(secrets.token_hex(8))

        def go_on_alone() -> None:
            self._object()
            kept = archive.copy(self._data, f"{old}-before-recovery")
            note_recovery(self._data, Recovered(new, out_of=old))  # first: where the rest fails, it is of no cluster
            begun = recovery.recover(SqliteVolume(self._data, self._member), old, new)
            join_any(self._data)
            log.warning(
                "recovered: alone in the new cluster %s, from term %d on; the former volume is in %s",
                *(begun.cluster, begun.term, kept),
            )

        self._begin(go_on_alone)
        return new

    def join(self, new: ClusterId) -> None:
        """Raises `OperationRefused`."""
        status = self._node.status()
        if status.cluster == new:
            raise OperationRefused(f"this node belongs to cluster {new} already; nothing was done")
        self._check_silence(status)

        def join() -> None:
            self._object()
            join_only(self._data, new)  # first: a blank volume joins whichever cluster it meets
            kept = archive.move(self._data, f"{status.cluster or 'unborn'}-left")
            log.warning("joining cluster %s with an empty volume; the former one is in %s", new, kept)

        self._begin(join)

    def look_again(self) -> None:
        """Called when the node is about to end: somebody may lead by now, and then what was begun is not done."""
        try:
            self._check_silence(self._node.status())
        except OperationRefused as error:
            self._objection = error

    def _object(self) -> None:
        if self._objection is not None:
            raise self._objection

    def _begin(self, work: Work) -> None:
        if not self._begin_anew(work):
            raise OperationRefused("this process is about to begin anew already; ask again in a moment")

    def _check_silence(self, status: NodeStatus) -> None:
        silent_ms = 0.0 if status.leader is not None else status.leaderless_ms
        if status.cluster is not None and silent_ms < self._silence_ms:
            whom = f"{status.leader} leads" if status.leader is not None else f"nobody led for {silent_ms / 1000:.1f} s"
            raise OperationRefused(
                f"{whom}: this is for a cluster whose quorum is lost for good, and {self._silence_ms / 1000:g} s "
                "without a leader must have passed on this node; nothing was done"
            )


def _named(cluster: ClusterId | None) -> str:
    return f"cluster {cluster}" if cluster is not None else "no cluster yet"
