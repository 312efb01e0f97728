"""Where commands go now: into this node's log while it leads, else to a leader that can be reached; or nowhere yet.

What travels is `submissions.py`'s to remember. Here it is decided whom to ask, and when it is better to wait a little:
a leader that hands over takes none, and one that said that it does not lead may need a moment to know who does.
"""

from collections.abc import Callable

from raftq_k8s.node.actions import Actions
from raftq_k8s.node.forwarding import Refused
from raftq_k8s.node.room import Room
from raftq_k8s.node.submissions import Submissions
from raftq_k8s.node.transport import Wire
from raftq_k8s.raft.consensus import Consensus, NotLeader, Overloaded, Transferring
from raftq_k8s.raft.quorum import FOREVER
from raftq_k8s.raft.types import Instant, MemberId, Milliseconds


class Placing:
    def __init__(
        self,
        me: MemberId,
        submissions: Submissions,
        room: Room,
        connected: Callable[[MemberId], bool],
        pause: Milliseconds,
        now: Instant,
    ) -> None:
        """`pause`: how long commands wait that were not taken."""
        self._me = me
        self._submissions = submissions
        self._room = room
        self._connected = connected
        self._pause = pause
        self._paused_until = now

    def rest(self, now: Instant) -> None:
        """Whoever was asked does not lead: it will take them a moment to agree."""
        self._paused_until = now + self._pause

    def go_on(self, now: Instant) -> None:
        """Something is known now that was not."""
        self._paused_until = now

    def wake_at(self, leader: MemberId | None) -> Instant:
        """When to place what waits, where `leader` is whom this node follows, or itself."""
        if not self._submissions.anything_to_place or leader is None:
            return FOREVER
        return self._paused_until if leader == self._me or self._connected(leader) else FOREVER

    def place(self, consensus: Consensus, actions: Actions, now: Instant) -> None:
        if not self._submissions.anything_to_place:
            return
        leader = consensus.standing.leader
        if leader == self._me:
            self._propose(consensus, now)
            return
        self._submissions.refuse_arrived()
        if leader is not None and now >= self._paused_until and self._connected(leader):
            forwards: list[Wire] = list(self._submissions.forward_all(leader))
            if forwards:
                actions.messages[leader] = forwards

    def _propose(self, consensus: Consensus, now: Instant) -> None:
        batch = self._submissions.take_all()
        if self._room.is_full and consensus.transfer_target is None:
            batch, without = self._room.divided(batch)
            for origin, _ in without:
                self._submissions.resolve(origin, Refused("full"))
        try:
            term, first = consensus.propose([command for _, command in batch], now)
        except NotLeader:
            self._submissions.put_back(batch)
        except Transferring:
            self._submissions.put_back(batch)
            self.rest(now)
        except Overloaded:
            for origin, _ in batch:
                self._submissions.resolve(origin, Refused("overloaded"))
        else:
            self._submissions.proposed(batch, term, first)
