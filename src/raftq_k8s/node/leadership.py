"""What this node has seen of who leads: now, since when nobody did, and how the leadership changed hands.

Each node sees that for itself, and two may tell the same failover differently: one had lost the connection, another
merely heard nothing. How long it took is counted from the last sign of the old leader to the first of the new one.
"""

from collections import deque
from typing import Final

import msgspec

from raftq_k8s.node.distribution import Distribution
from raftq_k8s.node.status import NOBODY
from raftq_k8s.raft.messages import AppendEntries, Message, TimeoutNow, VoteRequest
from raftq_k8s.raft.output import Standing
from raftq_k8s.raft.types import NO_INDEX, NO_TERM, NO_TRANSFER, Index, Instant, MemberId, Milliseconds, Term

REMEMBERED: Final = 50
"""Changes of leader."""


class Failover(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    at: float
    """When the new leader was known: seconds since the epoch."""
    from_: MemberId | None
    """Who led before; `None` where this process had seen nobody lead."""
    to: MemberId
    term: Term
    reason: str
    """`first`: nobody led before. `transfer`: it was handed over. Of the old leader: `connection-lost`; `silent`, it
    was not heard any more; `quorum-lost` or `deposed`, it was this node, and heard no majority, or of a later term."""
    duration_ms: Milliseconds
    """For how long nobody was known to lead, as far as this node could know; of the first one, since its start."""


class _Seen(msgspec.Struct, frozen=True):
    when: Instant
    failover: Failover


class Leadership:
    def __init__(self, me: MemberId, now: Instant, took: Distribution) -> None:
        """`took` is told of each change but the first, in seconds."""
        self.standing = NOBODY
        self.leaderless_since: Instant | None = now
        self.caught_up = False
        """Once since the start, this node had applied everything that a leader called committed."""
        self._me = me
        self._commit: tuple[Term, Index] = (NO_TERM, NO_INDEX)
        """What the leader said last."""
        self._last: Standing | None = None
        """When somebody was known to lead last."""
        self._sign_at: Instant = now
        """Of whoever led last."""
        self._reason = "first"
        self._handed_over_in = NO_TERM
        """Somebody was told to stand for election in that term."""
        self._transferring = False
        self._took = took
        self._failovers: deque[_Seen] = deque(maxlen=REMEMBERED)

    # ------------------------------------------------------------------------------------------------- what is noticed

    def heard(self, message: Message, by: Standing, now: Instant) -> None:
        """A message, and how this node stands by it. A leader's first one tells its commit already, for what it commits
        is applied before the standing counts as changed; a sign of the leader is one of whoever led before."""
        match message:
            case AppendEntries(source, _, term) if (by.leader, by.term) == (source, term):
                self._commit = (term, message.commit)
                if self._is_led_by(source, term):
                    self._sign_at, self._reason = now, "silent"
            case VoteRequest(term=term, transfer=transfer) if transfer != NO_TRANSFER:
                self._handed_over_in = term
            case TimeoutNow(term=term):
                self._handed_over_in = Term(term + 1)
            case _:
                pass

    def _is_led_by(self, source: MemberId, term: Term) -> bool:
        return self.standing.leader == source and self.standing.term == term

    def connection_lost(self, peer: MemberId, now: Instant) -> None:
        if self.standing.leader == peer:
            self._sign_at, self._reason = now, "connection-lost"

    def applied(self, index: Index, term: Term) -> None:
        """Caught up: applied is what a leader called committed, and an entry of its own term is among it, for before
        that a new leader does not know itself how much is."""
        leaders_term, commit = self._commit
        if self.standing.established:
            leaders_term, commit = self.standing.term, index
        if term == leaders_term != NO_TERM and index >= commit:
            self.caught_up = True

    def transfers(self, transferring: bool) -> None:
        """Whether this node leads, and is handing over."""
        self._transferring = transferring

    def changed(self, standing: Standing, now: Instant) -> None:
        before, self.standing = self.standing, standing
        if before.role == "leader" and standing.role != "leader":
            self._sign_at, self._reason = now, self._why_no_longer(before, standing)
        if standing.leader is None:
            if self.leaderless_since is None:
                self.leaderless_since = now
            return
        self.leaderless_since = None
        last, self._last = self._last, standing
        if last is None or (last.leader, last.term) != (standing.leader, standing.term):
            failover = self._failover(last, standing, standing.leader, now)
            self._failovers.append(_Seen(now, failover))
            if last is not None:
                self._took.observe(failover.duration_ms / 1000.0)
        self._sign_at, self._reason = now, "silent"

    def _why_no_longer(self, before: Standing, now: Standing) -> str:
        if self._transferring:
            return "transfer"
        return "deposed" if now.term > before.term else "quorum-lost"

    def _failover(self, last: Standing | None, standing: Standing, leader: MemberId, now: Instant) -> Failover:
        reason = "transfer" if last is not None and self._handed_over_in == standing.term else self._reason
        former = last.leader if last is not None else None
        return Failover(0.0, former, leader, standing.term, reason, now - self._sign_at)

    def end(self, now: Instant) -> None:
        """This node stops for good, and leads no more."""
        self.standing = Standing("follower", self.standing.term, None, established=False)
        self.leaderless_since = now

    # -------------------------------------------------------------------------------------------------------- readings

    def history(self, now: Instant, time_s: float) -> tuple[Failover, ...]:
        """The last ones, the latest last. `time_s`: the time of day now, in seconds since the epoch."""
        return tuple(
            msgspec.structs.replace(seen.failover, at=time_s - (now - seen.when) / 1000.0) for seen in self._failovers
        )
