"""Every linearizable read that somebody waits for at this node, from its arrival to the moment when this node's own
state may answer it.

A read *waits* while nobody is known who could vouch for it, is *asked* while the core finds its read index, and is
*confirmed* while this node has yet to apply that much. A read does nothing, so one that the core could not answer is
asked again until the time of whoever asked is over.
"""

from heapq import heappop, heappush
from typing import TypeAlias

from raftq_k8s.node.forwarding import Refused
from raftq_k8s.node.submissions import Token
from raftq_k8s.raft.consensus import Consensus
from raftq_k8s.raft.output import Output
from raftq_k8s.raft.pending_reads import ReadContext, ReadFailure
from raftq_k8s.raft.types import Index, Instant, Milliseconds

ReadOutcome: TypeAlias = Index | Refused
"""The state, now that it has applied the log up to that index at the least, may answer; or nobody vouched for it."""

OPEN_LIMIT = 1 << 15
"""Reads that callers here wait for; beyond it they are refused as overloaded."""


class ReadQueue:
    def __init__(self, pause: Milliseconds) -> None:
        """`pause`: how long a read rests that could not be answered, before it is asked again."""
        self._pause = pause
        self._open: dict[Token, Instant] = {}
        """What somebody waits for, and until when."""
        self._deadlines: list[tuple[Instant, Token]] = []
        self._waiting: dict[Token, None] = {}
        self._resting_until: Instant = float("-inf")
        self._confirmed: list[tuple[Index, Token]] = []
        self._resolved: list[tuple[Token, ReadOutcome]] = []

    def admit(self, token: Token, deadline: Instant) -> None:
        if len(self._open) >= OPEN_LIMIT:
            self._resolved.append((token, Refused("overloaded")))
            return
        self._open[token] = deadline
        heappush(self._deadlines, (deadline, token))
        self._waiting[token] = None

    def ask(self, consensus: Consensus, now: Instant) -> None:
        if self._waiting and now >= self._resting_until and consensus.standing.leader is not None:
            waiting, self._waiting = self._waiting, {}
            for token in waiting:
                consensus.read(ReadContext(token), now)

    def answered(self, output: Output, now: Instant) -> None:
        for read in output.reads:
            if Token(read.context) in self._open:
                heappush(self._confirmed, (read.index, Token(read.context)))
        for failed in output.failed_reads:
            token = Token(failed.context)
            if token not in self._open:
                continue  # nobody waits any more
            if failed.reason is ReadFailure.OVERLOADED:
                self._resolve(token, Refused("overloaded"))
            else:
                self._waiting[token] = None
                self._resting_until = now + self._pause

    def applied(self, index: Index) -> None:
        """The state has applied everything up to `index`."""
        while self._confirmed and self._confirmed[0][0] <= index:
            self._resolve(heappop(self._confirmed)[1], index)

    def expire(self, now: Instant) -> None:
        while self._deadlines and (self._deadlines[0][0] <= now or self._deadlines[0][1] not in self._open):
            self._resolve(heappop(self._deadlines)[1], Refused("no-leader"))

    def wake_at(self, leader_known: bool) -> Instant:
        """When to expire reads, and to ask for them again."""
        expire_at = self._deadlines[0][0] if self._deadlines else float("inf")
        return min(expire_at, self._resting_until) if self._waiting and leader_known else expire_at

    def _resolve(self, token: Token, outcome: ReadOutcome) -> None:
        if self._open.pop(token, None) is not None:
            self._waiting.pop(token, None)
            self._resolved.append((token, outcome))

    def take_resolved(self) -> list[tuple[Token, ReadOutcome]]:
        resolved, self._resolved = self._resolved, []
        return resolved
