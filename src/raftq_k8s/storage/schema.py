"""The database file: its tables and format, and how it is taken hold of.

What the rows mean is said in `records.py`. The format version stands in SQLite's `user_version`, where it can be read
whatever a later format does to the tables. An older format is migrated, a newer one refused; there is one so far.
"""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

from raftq_k8s.raft.types import MemberId
from raftq_k8s.storage.volume import VolumeUnusable

FILE = "raftq.sqlite"
FORMAT = 1

_APPLICATION = 0x52465451
"""`RFTQ`: marks a file as ours."""

Statement: TypeAlias = tuple[str, tuple[str | int | bytes | None, ...]]
"""Of a transaction that is being put together."""

UNREADABLE = (sqlite3.Error, UnicodeDecodeError)
"""What reading may raise; the second where SQLite's complaint quotes a damaged name."""

TABLES = (
    """CREATE TABLE identity (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        member TEXT NOT NULL, incarnation TEXT NOT NULL, generation INTEGER NOT NULL, birth BLOB,
        batch INTEGER NOT NULL, checksum INTEGER NOT NULL)""",
    """CREATE TABLE hard_state (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        state BLOB NOT NULL,
        batch INTEGER NOT NULL, checksum INTEGER NOT NULL)""",
    """CREATE TABLE base (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        state BLOB NOT NULL,
        batch INTEGER NOT NULL, checksum INTEGER NOT NULL)""",
    """CREATE TABLE entries (
        first INTEGER PRIMARY KEY,
        summary BLOB NOT NULL, run BLOB NOT NULL,
        batch INTEGER NOT NULL, checksum INTEGER NOT NULL)""",
    """CREATE TABLE parts (
        snapshot INTEGER NOT NULL, offset INTEGER NOT NULL,
        data BLOB NOT NULL, checksum INTEGER NOT NULL,
        PRIMARY KEY (snapshot, offset))""",
)


class Damaged(Exception):
    """What was read is not what was written. Says which part of the volume that is: `its log after index 7`."""


def refuse_a_stranger(path: Path, member: MemberId) -> None:
    """Raise `VolumeUnusable` when the file belongs to somebody else, without touching a byte of it.

    Whoever opens a database to write folds in what a crash left in its write-ahead log. So this reads the main file
    only, where the owner stands since the volume's first use; what cannot be read here is for `connect` to judge.
    """
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            if not is_blank(connection, path):
                refuse_another_member(connection, path, member)
    except UNREADABLE:
        return


def connect(path: Path) -> sqlite3.Connection:
    """Take the file for this process alone. Where there was no file there is an empty database now."""
    connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    try:
        # Exclusive before the first look at the write-ahead log: then its index is in memory, and no file is shared.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("COMMIT")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def set_durability(connection: sqlite3.Connection, path: Path) -> None:
    """A commit is one sync of the write-ahead log. Folding that into the main file is left to `Records.fold`."""
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise VolumeUnusable(f"{path} cannot have a write-ahead log (SQLite offers {mode!r}): use another file system")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    # Else, where SQLite was built to (Debian's is), every deleted page is written once more, with zeros.
    connection.execute("PRAGMA secure_delete = OFF")


def stamp(connection: sqlite3.Connection) -> None:
    """Mark the file as ours, in the caller's transaction."""
    connection.execute(f"PRAGMA application_id = {_APPLICATION}")
    connection.execute(f"PRAGMA user_version = {FORMAT}")


def is_blank(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the volume was never used. Raises `VolumeUnusable` when it was, but not by this release or an older."""
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
        return True
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != _APPLICATION:
        raise VolumeUnusable(f"{path} is the database of another program: give this member a directory of its own")
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found != FORMAT:
        raise VolumeUnusable(
            f"{path} has format {found}, and this release knows format {FORMAT}: run the release that wrote it"
        )
    return False


def refuse_another_member(connection: sqlite3.Connection, path: Path, member: MemberId) -> None:
    for (owner,) in connection.execute("SELECT member FROM identity"):
        if owner != member:
            raise VolumeUnusable(
                f"{path} belongs to member {owner}, but this member is {member}: mount the volume of {member}"
            )


def sync_directory(directory: Path) -> None:
    """The names of new files are on stable storage as the files are."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
