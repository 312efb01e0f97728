"""A volume that keeps the storage contract and nothing more.

Writes and loads end in the order given, each write as a whole or not at all, some time after they were handed over. A
crash loses what had not ended, except that a prefix of it may have reached the disk. A full disk fails a write, which
is final for the process. A wiped one comes back blank, as another incarnation; a corrupt one does not open any more. Of
a longer log only the tail comes along at a start.
"""

from collections import deque
from typing import Protocol, TypeAlias

from raftq_k8s.node.actions import Load, Loaded, Written
from raftq_k8s.raft.messages import Entry
from raftq_k8s.raft.output import EntriesWanted
from raftq_k8s.raft.persistence import HardState, Restored, Write
from raftq_k8s.raft.types import Incarnation, Index, MemberId, Milliseconds
from raftq_k8s.sim.dice import Dice
from raftq_k8s.sim.events import Events
from raftq_k8s.storage.contents import Contents
from raftq_k8s.storage.volume import TAIL_BYTES, VolumeUnusable


class Owner(Protocol):
    def written(self, life: int, written: Written) -> None: ...

    def loaded(self, life: int, load: Load, loaded: Loaded) -> None: ...

    def write_failed(self, life: int) -> None: ...


_Work: TypeAlias = tuple[Written, Write] | Load


class Disk:
    def __init__(self, member: MemberId, events: Events, dice: Dice, owner: Owner) -> None:
        self.member = member
        self.usual: tuple[Milliseconds, Milliseconds] = (0.2, 2.0)
        self.tail_bytes = TAIL_BYTES
        self.slowed_by = 1.0
        self.full = False
        self.corrupt = False
        self.wiped = 0
        self.contents = Contents(member, self.incarnation)
        self.is_old_copy = False
        self._lost: dict[Incarnation, list[Contents]] = {}
        """What earlier volumes of this member held, and what one held of which an old copy took the place."""
        self._events, self._dice, self._owner = events, dice, owner
        self._life = 0
        self._sync = 0
        self._under_way: deque[_Work] = deque()
        self._syncing = 0
        """How many of them are being done together."""

    @property
    def hard_state(self) -> HardState:
        return self.contents.hard_state

    @property
    def last_index(self) -> Index:
        return self.contents.last_index

    def holds(self, entry: Entry, incarnation: Incarnation) -> bool:
        """Whether the volume of that incarnation does, or did when it was lost: it did acknowledge that."""
        volumes = [*self._lost.get(incarnation, ()), *([self.contents] if incarnation == self.incarnation else ())]
        return any(_holds(contents, entry) for contents in volumes)

    def open(self, life: int) -> Restored:
        if self.corrupt:
            raise VolumeUnusable(f"the volume of {self.member} is damaged")
        if self.full:
            raise VolumeUnusable(f"the volume of {self.member} is full")
        self._life = life
        return self.contents.open(self.tail_bytes)

    @property
    def incarnation(self) -> Incarnation:
        return Incarnation(f"{self.member}-volume{self.wiped}")

    def write(self, written: Written, write: Write) -> None:
        self._do((written, write))

    def load(self, load: Load) -> None:
        self._do(load)

    def _do(self, work: _Work) -> None:
        self._under_way.append(work)
        if not self._syncing:
            self._begin()

    def crash(self) -> None:
        """Of what was under way, a prefix reached the disk."""
        for _ in range(self._dice.below(len(self._under_way) + 1)):
            self._keep(self._under_way.popleft())
        self._under_way.clear()
        self._syncing = 0
        self._life = 0

    def wipe(self) -> None:
        self._lost.setdefault(self.incarnation, []).append(self.contents)
        self.is_old_copy = False
        self.wiped += 1
        self.contents = Contents(self.member, self.incarnation)

    def roll_back(self, copy: Contents) -> None:
        """An old copy of the volume takes its place, under the same incarnation."""
        self._lost.setdefault(self.incarnation, []).append(self.contents)
        self.contents = copy
        self.is_old_copy = True

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
        found = [self._keep(work) for work in ended]
        if self._under_way:
            self._begin()
        for work, loaded in zip(ended, found, strict=True):
            if isinstance(work, tuple):
                self._owner.written(life, work[0])
            else:
                self._owner.loaded(life, work, loaded)

    def _keep(self, work: _Work) -> Loaded:
        match work:
            case (_, write):
                self.contents.keep(write)
                return None
            case EntriesWanted(first, last, max_bytes):
                return self.contents.load(first, last, max_bytes)
            case _:
                return self.contents.read_snapshot(work.index, work.offset, work.max_bytes)


def _holds(contents: Contents, entry: Entry) -> bool:
    """Or did, until a snapshot covered it."""
    return entry.index < contents.base or contents.term_at(entry.index) == entry.term
