"""Room that is kept for bad times: a file of the volume that holds nothing, to be given up when there is no other room.

A volume that is full would take no vote, and no compaction by which it could become smaller. So as soon as a write
finds no room, the reserve is emptied, the write is done in its place, and the volume counts as *full* until the reserve
can be made again. That takes more than its own size, or it would be the reserve itself that fills the volume.

What is kept is blocks, not a length: on file systems that share blocks, or write every one of them anew, it is worth
less, and a quota counts it as everything else.
"""

import errno
import os
import sqlite3
from pathlib import Path

FILE = "raftq.reserve"
RESERVE_BYTES = 1 << 20

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})

_CANNOT_ALLOCATE = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})
"""What a file system says that can only be written to."""
_ZEROS = bytes(1 << 16)


def finds_no_room(error: BaseException) -> bool:
    """Whether that is what went wrong: nothing was written, and nothing is damaged."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return isinstance(error, OSError) and error.errno in _NO_ROOM


class Reserve:
    def __init__(self, directory: Path, size_bytes: int) -> None:
        """`size_bytes` 0: none is kept."""
        self._path = directory / FILE
        self._size_bytes = size_bytes

    def fill(self) -> bool:
        """Have all of it. False where the volume has no room for that. Raises `OSError` for anything else."""
        held = self._held_bytes
        if held == self._size_bytes:
            return True
        if self._free_bytes < self._size_bytes - held:
            return False
        try:
            self._allocate()
        except OSError as error:
            if not finds_no_room(error):
                raise
            self.release()
            return False
        return True

    def refill(self) -> bool:
        """The same after it was given up, as soon as somebody has made more room than it takes."""
        return self._free_bytes >= 2 * self._size_bytes and self.fill()

    def release(self) -> bool:
        """Whether there was any."""
        if self._held_bytes == 0:
            return False
        self._path.unlink()
        return True

    def _allocate(self) -> None:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._take_blocks(descriptor)
            os.ftruncate(descriptor, self._size_bytes)
        finally:
            os.close(descriptor)

    def _take_blocks(self, descriptor: int) -> None:
        if self._size_bytes == 0:
            return
        try:
            os.posix_fallocate(descriptor, 0, self._size_bytes)
        except OSError as error:
            if error.errno not in _CANNOT_ALLOCATE:
                raise
            for offset in range(0, self._size_bytes, len(_ZEROS)):
                os.pwrite(descriptor, _ZEROS[: self._size_bytes - offset], offset)
            os.fsync(descriptor)

    @property
    def _held_bytes(self) -> int:
        return self._path.stat().st_size if self._path.exists() else 0

    @property
    def _free_bytes(self) -> int:
        found = os.statvfs(self._path.parent)
        return found.f_bavail * found.f_frsize
