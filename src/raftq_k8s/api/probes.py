"""Probes of the kubelet.

`/livez`: the loop turns, and nothing else: no restart mends a full disk or a lost quorum. `/startupz`: the volume is
open; this face is started after that, so that to answer is to say so. `/readyz`: an initialised member, caught up
once since its start, and not about to end. Leadership is no part of it, nor is losing the leader later; and a member
that has found no leader for a minute becomes ready, so that a rollout that is to mend a broken quorum can go on.
"""

from raftq_k8s.api.answers import Answer
from raftq_k8s.api.problems import Problem
from raftq_k8s.api.requests import Request
from raftq_k8s.api.views import Node
from raftq_k8s.node.status import NodeStatus

LEADERLESS_IS_READY_MS = 60_000.0

_PLAIN = b"text/plain; charset=utf-8"


def waits_for(status: NodeStatus, failed: bool) -> str | None:
    """Why this node is not ready, as a sentence; `None` when it is."""
    if failed:
        return "this node cannot go on, and its process is about to end"
    if status.waiting_for is not None:
        return status.waiting_for
    if status.cluster is None:
        return "this node belongs to no cluster yet"
    if status.caught_up or status.leaderless_ms >= LEADERLESS_IS_READY_MS:
        return None
    if status.leader is None:
        return f"no leader has been found for {status.leaderless_ms / 1000:.0f} s; ready without one after 60 s"
    return f"catching up with {status.leader}: {status.applied_index} of {status.commit_index} entries or more applied"


class Probes:
    def __init__(self, node: Node) -> None:
        self._node = node
        self.leaving = False

    async def live(self, request: Request) -> Answer:
        return Answer(200, b"live\n", _PLAIN)

    async def started(self, request: Request) -> Answer:
        return Answer(200, b"started\n", _PLAIN)

    async def ready(self, request: Request) -> Answer:
        sentence = waits_for(self._node.status(), self._node.failure.done())
        if self.leaving:
            sentence = "this member is drained: its process is about to end"
        if sentence is not None:
            raise Problem(503, "not-ready", "Not ready", sentence)
        return Answer(200, b"ready\n", _PLAIN)
