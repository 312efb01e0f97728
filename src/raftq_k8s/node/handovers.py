"""The leadership handed to somebody else: to whom, and who waits for that. What comes of it is seen by who leads next.

Whom the caller does not name is chosen: of the connected voters the one that lacks the least.
"""

from collections.abc import Callable, Collection
from typing import TypeAlias

import msgspec

from raftq_k8s.node.submissions import Token
from raftq_k8s.raft.consensus import Consensus, NotLeader, TransferRefused
from raftq_k8s.raft.output import Standing
from raftq_k8s.raft.quorum import FOREVER
from raftq_k8s.raft.types import Instant, MemberId, Term

HandedOver: TypeAlias = MemberId | None
"""Who leads now; `None` where that is this node again, or nobody was found in time."""


class _Open(msgspec.Struct, frozen=True, gc=False):
    term: Term
    deadline: Instant


class Handovers:
    def __init__(self, me: MemberId, connected: Callable[[MemberId], bool]) -> None:
        self._me = me
        self._connected = connected
        self._open: dict[Token, _Open] = {}
        self._resolved: list[tuple[Token, HandedOver]] = []

    def begin(
        self, consensus: Consensus, token: Token, target: MemberId | None, deadline: Instant, now: Instant
    ) -> None:
        """Raises `NotLeader` and `TransferRefused`."""
        standing = consensus.standing
        if standing.role != "leader":
            raise NotLeader(standing.leader)
        chosen = target if target is not None else self._successor(consensus, consensus.voters, now)
        if chosen is None:
            raise TransferRefused("no other voter is connected")
        consensus.transfer(chosen, now)
        self._open[token] = _Open(standing.term, deadline)

    def leave_it_to(self, among: Collection[MemberId], consensus: Consensus, now: Instant) -> None:
        """If this node leads, and one of those can, let that one lead instead; nobody waits for it."""
        target = self._successor(consensus, among, now)
        if target is not None and consensus.transfer_target is None:
            consensus.transfer(target, now)

    def _successor(self, consensus: Consensus, among: Collection[MemberId], now: Instant) -> MemberId | None:
        return consensus.successor([voter for voter in among if self._connected(voter)], now)

    def look(self, standing: Standing, transferring: bool, now: Instant) -> None:
        for token, each in list(self._open.items()):
            if standing.leader is not None and standing.term > each.term:
                self._resolve(token, None if standing.leader == self._me else standing.leader)
            elif now >= each.deadline or (standing.role == "leader" and not transferring):
                self._resolve(token, None)

    def end(self) -> None:
        for token in list(self._open):
            self._resolve(token, None)

    def _resolve(self, token: Token, outcome: HandedOver) -> None:
        del self._open[token]
        self._resolved.append((token, outcome))

    @property
    def wake_at(self) -> Instant:
        return min((each.deadline for each in self._open.values()), default=FOREVER)

    def take_resolved(self) -> list[tuple[Token, HandedOver]]:
        resolved, self._resolved = self._resolved, []
        return resolved
