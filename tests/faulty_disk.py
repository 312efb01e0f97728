"""A disk that does what disks do: it is full, slow, read-only or broken, and forgets or changes what it was given.

`FaultyDisk` stands between the volumes of this process and the real one, where they reach it: at SQLite's connection,
and at the few calls of the system that `storage` makes by itself. What is written below it is a file as always, so a
test can take the fault away, open the volume again and see what is left. The functions at the end damage the files of a
volume that nobody holds.
"""

import errno
import math
import os
import shutil
import sqlite3
import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raftq_k8s.storage import reserve, schema, watermark

_BLOCK = 4096


class FaultyDisk:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room_bytes: float = math.inf
        """What is left. A transaction takes its bytes and a block; what a volume deletes gives nothing back."""
        self.read_only = False
        self.broken = False
        """Every write and sync is an I/O error."""
        self._goes_on = threading.Event()
        self._goes_on.set()
        monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=self._connection_class()))
        monkeypatch.setattr(os, "posix_fallocate", lambda _file, _offset, size: self._take(size))
        monkeypatch.setattr(os, "statvfs", self._statvfs)
        monkeypatch.setattr(reserve.Reserve, "release", self._releasing(reserve.Reserve.release))
        monkeypatch.setattr(watermark.Watermark, "raise_to", self._checked(watermark.Watermark.raise_to))

    def stall(self) -> None:
        """Nothing ends any more."""
        self._goes_on.clear()

    def go_on(self) -> None:
        self._goes_on.set()

    def _take(self, size: int) -> None:
        if size > self.room_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room_bytes -= size

    def _statvfs(self, path: Any) -> Any:
        room = 1 << 40 if self.room_bytes == math.inf else self.room_bytes
        return SimpleNamespace(f_bavail=room // _BLOCK, f_frsize=_BLOCK)

    def _releasing(self, release: Any) -> Any:
        def released(kept: reserve.Reserve) -> bool:
            size = kept._held_bytes
            given: bool = release(kept)
            self.room_bytes += size if given else 0
            return given

        return released

    def _checked(self, raise_to: Any) -> Any:
        def checked(mark: watermark.Watermark, to: watermark.Mark) -> None:
            if self.broken:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            raise_to(mark, to)

        return checked

    def _connection_class(disk) -> type[sqlite3.Connection]:  # noqa: N805  (within, `self` is the connection)
        class Connection(sqlite3.Connection):
            def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
                if sql.startswith(("INSERT", "DELETE", "COMMIT")):
                    disk._before_a_write(sum(len(each) for each in parameters if isinstance(each, bytes)))
                return super().execute(sql, parameters)

        return Connection

    def _before_a_write(self, size: int) -> None:
        assert self._goes_on.wait(60), "the test forgot to let the disk go on"
        if self.broken:
            raise _error("disk I/O error", sqlite3.SQLITE_IOERR_WRITE)
        if self.read_only:
            raise _error("attempt to write a readonly database", sqlite3.SQLITE_READONLY)
        try:
            self._take(size + _BLOCK)
        except OSError:
            raise _error("database or disk is full", sqlite3.SQLITE_FULL) from None


def _error(message: str, code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(message)
    error.sqlite_errorcode = code
    return error


# --------------------------------------------------------------------------------------------- of a volume at rest


def corrupt(directory: Path, at: int = -2000, file: str = schema.FILE) -> None:
    """One byte is another one; counted from the end where `at` is negative."""
    path = directory / file
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(content)


def tear_tail(directory: Path, lost_bytes: int, file: str = schema.FILE + "-wal") -> None:
    """What was written last is not there."""
    path = directory / file
    os.truncate(path, max(0, path.stat().st_size - lost_bytes))


def vanish(directory: Path) -> None:
    """Somebody mounted nothing, or something else, in its place."""
    shutil.rmtree(directory)
