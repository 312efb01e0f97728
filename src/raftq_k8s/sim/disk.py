"""A volume that keeps the storage contract and nothing more.

Writes end in the order given, each as a whole or not at all, some time after they were handed over. A crash loses what
had not ended, except that a prefix of it may have reached the disk. A full disk fails a write, which is final for the
process. A wiped one comes back blank, as another incarnation; a corrupt one does not open any more.
"""

from collections import deque
from typing import Protocol

from raftq_k8s.node.driver import Written
from raftq_k8s.raft.membership import BirthRecord
from raftq_k8s.raft.messages import Entry
from raftq_k8s.raft.persistence import HardState, Restored, Write
from raftq_k8s.raft.types import Generation, Incarnation, MemberId, Milliseconds
from raftq_k8s.sim.dice import Dice
from raftq_k8s.sim.events import Events
from raftq_k8s.storage.volume import VolumeUnusable


class Owner(Protocol):
    def written(self, life: int, written: Written) -> None: ...

    def write_failed(self, life: int) -> None: ...


class Disk:
    def __init__(self, member: MemberId, events: Events, dice: Dice, owner: Owner) -> None:
        self.member = member
        self.usual: tuple[Milliseconds, Milliseconds] = (0.2, 2.0)
        self.slowed_by = 1.0
        self.full = False
        self.corrupt = False
        self.wiped = 0
        self.birth: BirthRecord | None = None
        self.hard_state = HardState()
        self.entries: list[Entry] = []
        self.before_wipe: list[Entry] = []
        """What an earlier volume of this member held when it was lost: it did acknowledge that."""
        self._generation = 0
        self._events, self._dice, self._owner = events, dice, owner
        self._life = 0
        self._sync = 0
        self._under_way: deque[tuple[Written, Write]] = deque()
        self._syncing = 0
        """How many of them are being synced together."""

    def open(self, life: int) -> Restored:
        if self.corrupt:
            raise VolumeUnusable(f"the volume of {self.member} is damaged")
        if self.full:
            raise VolumeUnusable(f"the volume of {self.member} is full")
        self._life = life
        self._generation += 1
        return Restored(
            self.member,
            self.incarnation,
            Generation(self._generation),
            self.birth,
            self.hard_state,
            list(self.entries),
        )

    @property
    def incarnation(self) -> Incarnation:
        return Incarnation(f"{self.member}-volume{self.wiped}")

    def write(self, written: Written, write: Write) -> None:
        self._under_way.append((written, write))
        if not self._syncing:
            self._begin()

    def crash(self) -> None:
        """Of what was under way, a prefix reached the disk."""
        for _ in range(self._dice.below(len(self._under_way) + 1)):
            self._keep(self._under_way.popleft()[1])
        self._under_way.clear()
        self._syncing = 0
        self._life = 0

    def wipe(self) -> None:
        self.before_wipe = self.entries
        self.wiped += 1
        self.birth, self.hard_state, self.entries, self._generation = None, HardState(), [], 0

    def _begin(self) -> None:
        self._syncing = len(self._under_way)
        took = self._dice.between(*self.usual) * self.slowed_by
        self._sync += 1
        self._events.after(took, self._end, self._sync)

    def repair(self) -> None:
        """From here on it is as fast as usual, also with what is under way, and has room."""
        self.slowed_by, self.full = 1.0, False
        if self._syncing:
            self._begin()

    def _end(self, sync: int) -> None:
        if sync != self._sync or not self._syncing:
            return
        life = self._life
        if self.full:
            self._owner.write_failed(life)
            return
        ended = [self._under_way.popleft() for _ in range(self._syncing)]
        self._syncing = 0
        for _, write in ended:
            self._keep(write)
        if self._under_way:
            self._begin()
        for written, _ in ended:
            self._owner.written(life, written)

    def _keep(self, write: Write) -> None:
        if write.birth is not None:
            self.birth = write.birth
        if write.hard_state is not None:
            self.hard_state = write.hard_state
        if write.entries:
            first = write.entries[0].index
            assert 0 < first <= len(self.entries) + 1, f"{self.member} was given entries that leave a gap"
            self.entries[first - 1 :] = write.entries
