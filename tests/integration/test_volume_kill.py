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

from raftq_k8s.raft.messages import Entry, EntryKind
from raftq_k8s.raft.persistence import HardState, Restored, Write
from raftq_k8s.raft.types import Index, MemberId, Term
from raftq_k8s.storage.memory import MemoryVolume
from raftq_k8s.storage.sqlite import SqliteVolume

MEMBER = MemberId("raftq-0")
ROUNDS = 12
MAX_QUEUED = 40


def numbered_write(number: int, last: Index) -> Write:
    """One to three entries, in one of ten cases in place of some that are there; mostly with a term and vote."""
    dice = random.Random(number)
    first = max(1, last - dice.randrange(5)) if dice.random() < 0.1 else last + 1
    added = tuple(
        Entry(Index(index), Term(number), EntryKind.COMMAND, bytes([number % 256]) * dice.choice([0, 256, 9000]))
        for index in range(first, first + dice.randint(1, 3))
    )
    vote = HardState(Term(number), MemberId(f"raftq-{number % 3}")) if dice.random() < 0.7 else None
    return Write(hard_state=vote, entries=added)


def made_in_memory(count: int) -> Restored:
    volume = MemoryVolume(MEMBER)
    last = volume.open().entries
    for number in range(1, count + 1):
        volume.write(numbered_write(number, Index(len(last))))
        last = volume.open().entries
    return volume.open()


def writes_in(found: Restored) -> int:
    return found.entries[-1].term if found.entries else 0


# The processes that are killed


def write_for_ever(directory: Path) -> None:
    """Print the number of each write once it is acknowledged, with some more always queued behind it."""
    volume = SqliteVolume(directory, MEMBER)
    found = volume.open()
    number, last = writes_in(found), Index(len(found.entries))
    room = threading.Semaphore(MAX_QUEUED)
    print("open", flush=True)

    def acknowledged(future: Future[None], number: int) -> None:
        future.result()
        os.write(1, b"%d\n" % number)
        room.release()

    while True:
        room.acquire()
        number += 1
        write = numbered_write(number, last)
        last = write.entries[-1].index
        volume.write(write).add_done_callback(lambda future, number=number: acknowledged(future, number))


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
        present = writes_in(found)
        expected = made_in_memory(present)
        assert acknowledged <= present <= acknowledged + MAX_QUEUED, f"seed {seed}"
        assert found.entries == expected.entries, f"seed {seed}"
        assert found.hard_state == expected.hard_state, f"seed {seed}"
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
