"""What leaves, and the writes that it rests on.

A message rests on the hard state (term and vote) of its sender, and an acknowledgement also on the entries that it
acknowledges. What has to wait is kept here, under the receipt of the write that it waits for. As writes are synced in
their order, a receipt stands for every earlier one.
"""

from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from raftq_k8s.raft.messages import Message
from raftq_k8s.raft.output import Accepted, Refused
from raftq_k8s.raft.persistence import Receipt

Outgoing: TypeAlias = Message | Accepted | Refused

HELD_LIMIT = 4096
"""What waits for a disk that hangs. Beyond it messages are dropped, as a network may do, and the peers ask again."""


class Outbox:
    __slots__ = ("_held", "_last_receipt", "_unsealed", "hard_state_changed", "hard_state_receipt", "persisted")

    def __init__(self) -> None:
        self.hard_state_changed = False
        """Since the last write was handed over."""
        self.hard_state_receipt = Receipt(0)
        """Of the last write that holds one."""
        self.persisted = Receipt(0)
        """The last write that is known to be synced."""
        self._last_receipt = Receipt(0)
        self._unsealed: list[Outgoing] = []
        """What waits for the next write, or, if there is none, for the last one."""
        self._held: deque[tuple[Receipt, Outgoing]] = deque()

    def lets_leave(self, outgoing: Outgoing, dropped: Callable[[], None]) -> bool:
        """Whether it may leave now; else it waits until the hard state that it rests on is synced."""
        if self.hard_state_changed:
            self._unsealed.append(outgoing)
            return False
        if self.hard_state_receipt > self.persisted:
            self._hold(outgoing, dropped)
            return False
        return True

    def add_after_writes(self, outgoing: Outgoing) -> None:
        """It waits until everything that was changed so far is synced."""
        self._unsealed.append(outgoing)

    def _hold(self, outgoing: Outgoing, dropped: Callable[[], None]) -> None:
        if len(self._held) < HELD_LIMIT or isinstance(outgoing, Accepted):
            self._held.append((self._last_receipt, outgoing))
        else:
            dropped()

    def next_receipt(self) -> Receipt:
        """For a write that holds the hard state, if that has changed."""
        self._last_receipt = Receipt(self._last_receipt + 1)
        if self.hard_state_changed:
            self.hard_state_changed = False
            self.hard_state_receipt = self._last_receipt
        return self._last_receipt

    def seal(self, dropped: Callable[[], None]) -> list[Outgoing]:
        """All that was changed was handed over: what waits for it waits for the last receipt. Returns what may leave,
        because that is synced already."""
        unsealed, self._unsealed = self._unsealed, []
        if self._last_receipt <= self.persisted:
            return unsealed
        for outgoing in unsealed:
            self._hold(outgoing, dropped)
        return []

    def note_persisted(self, receipt: Receipt) -> None:
        """Raises `ValueError` for a receipt that was never given."""
        if receipt > self._last_receipt:
            raise ValueError(f"receipt {receipt} was never given: the last one was {self._last_receipt}")
        self.persisted = max(self.persisted, receipt)

    def released(self) -> list[Outgoing]:
        """What waited for what is synced by now."""
        released = []
        while self._held and self._held[0][0] <= self.persisted:
            released.append(self._held.popleft()[1])
        return released

    @property
    def has_unsealed(self) -> bool:
        return bool(self._unsealed)

    @property
    def waiting(self) -> list[Outgoing]:
        """In the order in which it will leave."""
        return [*[outgoing for _, outgoing in self._held], *self._unsealed]

    def keep_only(self, stays: Callable[[Outgoing], bool]) -> None:
        """The rest stays unsaid."""
        self._unsealed = [outgoing for outgoing in self._unsealed if stays(outgoing)]
        self._held = deque((receipt, outgoing) for receipt, outgoing in self._held if stays(outgoing))
