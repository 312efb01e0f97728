"""What the tests of volumes write and read back."""

from contextlib import closing
from pathlib import Path

from raftq_k8s.raft.membership import BirthRecord, Member
from raftq_k8s.raft.messages import Entry, EntryKind
from raftq_k8s.raft.persistence import HardState, Restored, SeenPeer, Write
from raftq_k8s.raft.types import BootId, ClusterId, Generation, Incarnation, Index, MemberId, Term
from raftq_k8s.storage.sqlite import SqliteVolume

MEMBER = MemberId("raftq-0")

BIRTH = BirthRecord(
    ClusterId("c1"), (Member(MEMBER, Incarnation("i0")), Member(MemberId("raftq-1"), Incarnation("i1"))), Term(4)
)

VOTED = HardState(
    Term(7),
    MemberId("raftq-1"),
    350.0,
    (SeenPeer(MemberId("raftq-1"), Incarnation("i1"), Generation(3), BootId("b")),),
)


def entries(first: int, last: int, term: int = 1) -> tuple[Entry, ...]:
    return tuple(
        Entry(Index(index), Term(term), EntryKind.COMMAND, b"%d of term %d" % (index, term))
        for index in range(first, last + 1)
    )


def log(first: int, last: int, term: int = 1) -> Write:
    return Write(entries=entries(first, last, term))


def write(directory: Path, *writes: Write) -> None:
    """Open the volume, write each as a batch of its own, and close it."""
    with closing(SqliteVolume(directory, MEMBER)) as volume:
        volume.open()
        for each in writes:
            volume.write(each).result(timeout=10)


def restored(directory: Path) -> Restored:
    with closing(SqliteVolume(directory, MEMBER)) as volume:
        return volume.open()
