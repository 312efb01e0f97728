"""SIGKILL at any moment: every acknowledged write is there afterwards, and the volume opens.

This file is also the program that is killed. Each write is numbered, and its number decides what it writes, so that the
survivor can be compared with the same writes made in memory.
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from zlib import crc32

from raftq_k8s.raft.membership import Membership
from raftq_k8s.raft.messages import Entry, EntryKind, SnapshotMark
from raftq_k8s.raft.persistence import Compaction, HardState, Restored, SnapshotPart, Write
from raftq_k8s.raft.types import Index, MemberId, Term
from raftq_k8s.storage.memory import MemoryVolume
from raftq_k8s.storage.sqlite import SqliteVolume
from raftq_k8s.storage.volume import Volume

MEMBER = MemberId("raftq-0")
ROUNDS = 12
MAX_QUEUED = 40


class Log:
    """From where to where the log goes."""

    def __init__(self, found: Restored) -> None:
        self.base = found.base
        self.last = Index(found.base + len(found.entries))

    def next_write(self, number: int) -> Write:
        """One to three entries, in one of ten cases in place of some that are there; mostly with a term and vote.
        In one of seven cases a whole snapshot comes before them, and the log up to somewhere in it goes."""
        dice = random.Random(number)
        part, seal, compaction = None, None, None
        if dice.random() < 0.15:
            data = bytes([number % 256]) * dice.choice([10, 5000, 70_000])
            mark = SnapshotMark(self.last, Term(number), Membership(()), len(data), crc32(data))
            part, seal = SnapshotPart(self.last, 0, data), mark
            self.base = Index(dice.randint(self.base, self.last))
            compaction = Compaction(self.base, Term(number), True)
        first = max(self.base + 1, self.last - dice.randrange(5)) if dice.random() < 0.1 else self.last + 1
        added = tuple(
            Entry(Index(index), Term(number), EntryKind.COMMAND, bytes([number % 256]) * dice.choice([0, 256, 9000]))
            for index in range(first, first + dice.randint(1, 3))
        )
        self.last = added[-1].index
        vote = HardState(Term(number), MemberId(f"raftq-{number % 3}")) if dice.random() < 0.7 else None
        return Write(None, vote, part, seal, compaction, added)


def made_in_memory(count: int) -> MemoryVolume:
    volume = MemoryVolume(MEMBER, tail_bytes=1 << 30)
    log = Log(volume.open())
    for number in range(1, count + 1):
        volume.write(log.next_write(number)).result()
    return volume


def writes_in(found: Restored) -> int:
    return found.entries[-1].term if found.entries else 0


# The processes that are killed


def write_for_ever(directory: Path) -> None:
    """Print the number of each write once it is acknowledged, with some more always queued behind it."""
    volume = SqliteVolume(directory, MEMBER)
    found = volume.open()
    number, log = writes_in(found), Log(found)
    room = threading.Semaphore(MAX_QUEUED)
    print("open", flush=True)

    def acknowledged(future: Future[None], number: int) -> None:
        future.result()
        os.write(1, b"%d\n" % number)
        room.release()

    while True:
        room.acquire()
        number += 1
        volume.write(log.next_write(number)).add_done_callback(
            lambda future, number=number: acknowledged(future, number)
        )


def open_until(directory: Path, last_call: int) -> None:
    """Open a volume, and die right before the so-many-th call that could change something on the disk."""
    calls = 0

    def count(_frame: object, event: str, called: Any) -> None:
        nonlocal calls
        if event == "c_call" and called.__name__ in {
            "connect",
            "execute",
            "fsync",
            "open",
            "write",
            "pwrite",
            "replace",
        }:
            calls += 1
            if calls == last_call:
                os.kill(os.getpid(), signal.SIGKILL)

    threading.setprofile(count)
    SqliteVolume(directory, MEMBER).open()


def open_blank_volumes(parent: Path) -> None:
    """One for each such call, each in a process of its own, until one gets through."""
    for last_call in range(1, 100):
        directory = parent / str(last_call)
        directory.mkdir()
        process = os.fork()
        if process == 0:
            open_until(directory, last_call)
            os._exit(0)
        if os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) != -signal.SIGKILL:
            return
    sys.exit("no volume was ever opened")


@contextmanager
def child(*arguments: object) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, __file__, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


# What must hold


def everything_of_the_snapshot(volume: Volume, found: Restored) -> bytes | None:
    if found.snapshot is None:
        return None
    return volume.read_snapshot(found.snapshot.index, 0, found.snapshot.size).result(timeout=10)


def test_sigkill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    dice = random.Random(seed)
    present = 0
    for generation in range(1, 2 * ROUNDS, 2):
        with child("write", tmp_path) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline() == "open\n", process.stderr.read()
            time.sleep(dice.uniform(0, 0.15))  # Not waiting for anything: the moment of the kill is what varies.
            process.kill()
            acknowledged = max([present, *(int(line) for line in process.stdout if line.endswith("\n"))])
        with closing(SqliteVolume(tmp_path, MEMBER)) as volume:
            found = volume.open()
            snapshot = everything_of_the_snapshot(volume, found)
        present = writes_in(found)
        model = made_in_memory(present)
        expected = model.open()
        assert acknowledged <= present <= acknowledged + MAX_QUEUED, f"seed {seed}"
        assert found.entries == expected.entries, f"seed {seed}"
        assert (found.base, found.hard_state) == (expected.base, expected.hard_state), f"seed {seed}"
        assert found.snapshot == expected.snapshot, f"seed {seed}"
        assert snapshot == everything_of_the_snapshot(model, expected), f"seed {seed}"
        assert found.generation == generation + 1
    assert present > ROUNDS, "the rounds were too short to write anything"


def test_sigkill_while_a_blank_volume_is_opened_leaves_it_blank_or_complete(tmp_path: Path) -> None:
    with child("open", tmp_path) as process:
        _, complaint = process.communicate(timeout=60)
    assert process.returncode == 0, complaint
    generations = []
    for directory in sorted(tmp_path.iterdir(), key=lambda path: int(path.name)):
        with closing(SqliteVolume(directory, MEMBER)) as volume:
            found = volume.open()
        assert (found.member, found.hard_state, found.entries) == (MEMBER, HardState(), [])
        generations.append(found.generation)
        with closing(SqliteVolume(directory, MEMBER)) as volume:
            assert volume.open().incarnation == found.incarnation
    assert len(generations) > 10
    assert generations == sorted(generations), "a later death leaves more"
    assert set(generations) == {1, 2}, "killed both before and after the first opening was complete"


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["write", directory]:
            write_for_ever(Path(directory))
        case ["open", directory]:
            open_blank_volumes(Path(directory))
