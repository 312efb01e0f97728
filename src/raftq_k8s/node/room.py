"""A node whose volume is full: it lives on what its volume kept for that, until somebody makes room.

That is enough for what keeps the cluster together (votes, members, what the others append, compaction), and for the few
bytes of a command that makes the document smaller, or ends something. Everything else is refused, as a command that
did nothing. So a leader without room is of no use to writers, and hands over to a voter that has some; where none of
them has, it goes on leading, for the sake of readers.
"""

import math
from typing import TypeAlias

from raftq_k8s.node.submissions import Origin
from raftq_k8s.raft.types import Instant, Milliseconds
from raftq_k8s.state import commands
from raftq_k8s.state.commands import CloseSession, Delete, Elapse, Pause, Resume, Starting, Stopped

Commands: TypeAlias = list[tuple[Origin, bytes]]

_SMALL = Delete | CloseSession | Elapse | Pause | Resume | Starting | Stopped


def needs_room(command: bytes) -> bool:
    """Of a command that `commands.decode` can read."""
    return not isinstance(commands.decode(command), _SMALL)


class Room:
    def __init__(self, patience: Milliseconds) -> None:
        """`patience`: so long after a hand-over that came to nothing the next one is tried."""
        self.is_full = False
        self._patience = patience
        self._hands_over_at: Instant = math.inf

    def changed(self, full: bool, now: Instant) -> None:
        self.is_full = full
        self._hands_over_at = now if full else math.inf

    def hands_over(self, leads: bool, now: Instant) -> bool:
        """Whether to try it now."""
        if not leads or now < self._hands_over_at:
            return False
        self._hands_over_at = now + self._patience
        return True

    def wake_at(self, leads: bool) -> Instant:
        return self._hands_over_at if leads else math.inf

    def divided(self, batch: Commands) -> tuple[Commands, Commands]:
        """Those that are small enough for a full volume, and those that are not."""
        small = [each for each in batch if not needs_room(each[1])]
        return small, [each for each in batch if each not in small]
