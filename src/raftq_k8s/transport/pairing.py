"""Several sockets to one peer: which of them carries what we send, and which ones this side has to close.

Both sides dial, so two sockets of a pair are common, and both must keep the same one. Four rules, strongest first:
- Of two volumes under one name the one greeted last counts: whom the node accepted last, it listens to.
- A younger process of the peer replaces an older one. Its greeting was accepted, so the older is fenced already.
- Two sockets dialled by the same side: the later one counts, for a side dials again only when it has lost the earlier.
- Otherwise both keep the one dialled by the lower name. Only the side that dialled the other one closes it, and only
  when it has proof that the peer has greeted it on the one that stays. So nobody closes what the other still needs, the
  two never close different sockets, and at no moment is the pair without a connection.
"""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from raftq_k8s.raft.membership import Identity
from raftq_k8s.raft.types import MemberId


class Line(Protocol):
    """A socket on which this side has greeted the peer."""

    process: Identity
    dialled_by: MemberId
    confirmed: bool
    """The peer has greeted this side on it, too."""


L = TypeVar("L", bound=Line)


def preferred(lines: Sequence[L], this_side: MemberId) -> L | None:
    """The line to send on; `lines` stand in the order in which they were greeted."""
    present = [line for line in lines if line.process.incarnation == lines[-1].process.incarnation]
    return max(reversed(present), key=lambda line: _rank(line, this_side), default=None)


def surplus(lines: Sequence[L], this_side: MemberId) -> list[L]:
    """The lines that this side closes now."""
    kept = preferred(lines, this_side)
    if kept is None:
        return []
    return [line for line in lines if line is not kept and _is_ours_to_close(line, kept, this_side)]


def _rank(line: Line, this_side: MemberId) -> tuple[int, bool]:
    return line.process.generation, line.dialled_by == min(this_side, line.process.member)


def _is_ours_to_close(line: Line, kept: Line, this_side: MemberId) -> bool:
    if line.process.boot != kept.process.boot or line.dialled_by == kept.dialled_by:
        return True
    return line.dialled_by == this_side and kept.confirmed
