"""The whole state of a cluster as a file, to be kept elsewhere: what `GET /v1/snapshot` sends, and what a new cluster
can begin with.

One line for people and for whoever restores it, then the bytes of the state (`state/snapshot.py`), which end with a
checksum over themselves: half a file does not pass for one.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from raftq_k8s.raft.types import ClusterId, Index, Term
from raftq_k8s.state.machine import StateMachine
from raftq_k8s.state.snapshot import SnapshotDamaged

_MAGIC = b"raftq-snapshot 1 "
_LONGEST_LINE = 4096
_PIECE_BYTES = 1 << 20

_encode = msgspec.json.Encoder().encode


class Heading(msgspec.Struct, frozen=True):
    cluster: ClusterId
    index: Index
    """The last entry of the log that had been applied."""
    term: Term

    def line(self) -> bytes:
        return _MAGIC + _encode(self) + b"\n"


class SnapshotFile:
    """Open to be read from its beginning, once."""

    def __init__(self, file: BinaryIO) -> None:
        """Raises `SnapshotDamaged`."""
        self._file = file
        line = file.readline(_LONGEST_LINE)
        if not line.startswith(_MAGIC) or not line.endswith(b"\n"):
            raise SnapshotDamaged("it is no snapshot file, or one of another format")
        try:
            self.heading = msgspec.json.decode(line[len(_MAGIC) :], type=Heading)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise SnapshotDamaged(f"its first line cannot be read: {error}") from error

    def pieces(self) -> Iterator[bytes]:
        while piece := self._file.read(_PIECE_BYTES):
            yield piece


def read(path: Path) -> tuple[Heading, StateMachine]:
    """All of it, verified. Raises `OSError` or `SnapshotDamaged`."""
    with path.open("rb") as opened:
        file = SnapshotFile(opened)
        state = StateMachine()
        restoring = state.restoring()
        for piece in file.pieces():
            restoring.feed(piece)
        state.install(restoring)
    return file.heading, state
