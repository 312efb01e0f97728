"""The high-water mark: how far this volume surely is, in a small file beside the database.

SQLite forgets without a word what stood in a write-ahead log that was lost, or in a database that was replaced by an
older copy. So each batch has a number which its rows carry, and once a batch is on stable storage its number is written
here, with the last index and the checksum that ends there. A database that is behind its mark has lost something, be it
an entry or a vote.

The mark lags, and never leads, whatever dies when:

- before or in the commit: the mark names an earlier batch;
- after the commit, before or in the write of the mark: the same, though that batch may be acknowledged already; what
  lags is the proof that it was there, not the batch;
- after the write: the kernel has it; only a crash of the machine may forget it, for it has no sync of its own.

Numbers of batches only grow, so a truncation, which lowers the last index, is nothing special here. Two slots are
written in turn: a torn write spoils the older mark's slot, and the newer mark stays readable. The file is created,
synced, before the database holds anything, so where there is a database without it, somebody took it away.
"""

import os
from pathlib import Path
from struct import Struct
from zlib import crc32

import msgspec

from raftq_k8s.raft.types import NO_INDEX, Index
from raftq_k8s.storage.checksum import Batch, Checksum
from raftq_k8s.storage.volume import VolumeUnusable

FILE = "raftq.mark"

_MAGIC = b"raftqmk1"
_FIELDS = Struct("<8sQQI")
_CHECK = Struct("<I")
_SLOT_BYTES = 512
"""A sector: what a disk writes as a whole."""


class Mark(msgspec.Struct, frozen=True, gc=False):
    """`checksum` is that of the run which ends at `last_index`."""

    batch: Batch
    last_index: Index
    checksum: Checksum


NOTHING = Mark(Batch(0), NO_INDEX, Checksum(0))


def read(directory: Path) -> Mark | None:
    """The highest readable mark; `None` where there is no file. Raises `VolumeUnusable` when nothing is readable."""
    path = directory / FILE
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    marks = [mark for mark in _slots(content) if mark is not None]
    if not marks:
        raise VolumeUnusable(
            f"{path} is damaged, so nobody can tell whether {directory} lost anything: "
            "move the volume's files away and let this member return with an empty volume"
        )
    return max(marks, key=lambda mark: mark.batch)


def lacks(found: Mark, mark: Mark) -> str | None:
    """What a volume that ends with `found` must have lost, if `mark` was once on stable storage; `None`: nothing."""
    if found.batch < mark.batch:
        return f"it ends with batch {found.batch} and index {found.last_index}"
    if found.batch == mark.batch and found != mark:
        return f"its log ends otherwise, with index {found.last_index}"
    return None


def create(directory: Path) -> None:
    """The mark of a volume that holds nothing, as a whole or not at all. The caller syncs the directory."""
    fresh = directory / f"{FILE}.new"
    with fresh.open("wb") as file:
        file.write(_encode(NOTHING) * 2)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(directory / FILE)


class Watermark:
    """The open file. Its owner calls `raise_to` only with what is on stable storage."""

    def __init__(self, directory: Path) -> None:
        self._file = os.open(directory / FILE, os.O_RDWR | os.O_CLOEXEC)
        first, second = _slots(os.pread(self._file, 2 * _SLOT_BYTES, 0))
        # A mark may be several batches above the last one, so the number of the batch does not say whose turn it is.
        self._slot = int(second is None or (first is not None and first.batch > second.batch))
        """Of the older mark."""

    def raise_to(self, mark: Mark) -> None:
        written = os.pwrite(self._file, _encode(mark), self._slot * _SLOT_BYTES)
        if written != _SLOT_BYTES:
            raise OSError(f"only {written} of {_SLOT_BYTES} bytes of the mark were written")
        self._slot = 1 - self._slot

    def sync(self) -> None:
        os.fsync(self._file)

    def close(self) -> None:
        os.close(self._file)


def _encode(mark: Mark) -> bytes:
    fields = _FIELDS.pack(_MAGIC, mark.batch, mark.last_index, mark.checksum)
    return (fields + _CHECK.pack(crc32(fields))).ljust(_SLOT_BYTES, b"\0")


def _slots(content: bytes) -> tuple[Mark | None, Mark | None]:
    return _decode(content[:_SLOT_BYTES]), _decode(content[_SLOT_BYTES:])


def _decode(slot: bytes) -> Mark | None:
    fields, check = slot[: _FIELDS.size], slot[_FIELDS.size : _FIELDS.size + _CHECK.size]
    if len(check) != _CHECK.size or _CHECK.unpack(check)[0] != crc32(fields):
        return None
    magic, batch, last_index, checksum = _FIELDS.unpack(fields)
    return Mark(batch, last_index, checksum) if magic == _MAGIC else None
