"""What the tests of volumes write and read back."""

from contextlib import closing
from pathlib import Path
from zlib import crc32

from raftq_k8s.raft.membership import BirthRecord, Member, Membership
from raftq_k8s.raft.messages import Entry, EntryKind, SnapshotMark
from raftq_k8s.raft.persistence import Compaction, HardState, Restored, SeenPeer, SnapshotPart, Write
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


def part(index: int, offset: int, data: bytes) -> Write:
    return Write(part=SnapshotPart(Index(index), offset, data))


def mark(index: int, data: bytes, term: int = 1) -> SnapshotMark:
    return SnapshotMark(Index(index), Term(term), Membership(BIRTH.members), len(data), crc32(data))


def sealed(index: int, data: bytes, term: int = 1) -> Write:
    """A whole snapshot in one write."""
    return Write(part=SnapshotPart(Index(index), 0, data), seal=mark(index, data, term))


def compacted(index: int, term: int = 1, keep_rest: bool = True) -> Write:
    return Write(compaction=Compaction(Index(index), Term(term), keep_rest))


def all_marked(volume: SqliteVolume) -> None:
    """Wait until the mark is raised to what was acknowledged: whoever reads comes after that."""
    volume.load(Index(1), Index(1), 1).result(timeout=10)


def write(directory: Path, *writes: Write) -> None:
    """Open the volume, write each as a batch of its own, and close it."""
    with closing(SqliteVolume(directory, MEMBER)) as volume:
        volume.open()
        for each in writes:
            volume.write(each).result(timeout=10)


def restored(directory: Path) -> Restored:
    with closing(SqliteVolume(directory, MEMBER)) as volume:
        return volume.open()
