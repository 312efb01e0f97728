"""The simulated volume keeps the storage contract, and nothing more."""

import pytest

from raftq_k8s.node.actions import Load, Loaded, Written
from raftq_k8s.raft.messages import Entry, EntryKind
from raftq_k8s.raft.output import ChunkWanted, EntriesWanted
from raftq_k8s.raft.persistence import Receipt, Write
from raftq_k8s.raft.types import Index, MemberId, Term
from raftq_k8s.sim.dice import Dice
from raftq_k8s.sim.disk import Disk
from raftq_k8s.sim.events import Events
from raftq_k8s.storage.volume import VolumeUnusable


class Process:
    def __init__(self, seed: int = 1) -> None:
        self.ended: list[Written] = []
        self.found: list[Loaded] = []
        self.failed = False
        self.events = Events()
        self.disk = Disk(MemberId("n0"), self.events, Dice(seed), self)
        self.disk.open(1)

    def written(self, life: int, written: Written) -> None:
        self.ended.append(written)

    def loaded(self, life: int, load: Load, loaded: Loaded) -> None:
        self.found.append(loaded)

    def write_failed(self, life: int) -> None:
        self.failed = True

    def write(self, *indices: int) -> None:
        for index in indices:
            entry = Entry(Index(index), Term(1), EntryKind.COMMAND, b"%d" % index)
            self.disk.write(Receipt(index), Write(entries=(entry,)))


def test_writes_end_later_and_in_order() -> None:
    process = Process()
    process.write(1, 2, 3)
    assert not process.ended
    assert not process.disk.contents.entries
    process.events.run_until(100.0)
    assert process.ended == [1, 2, 3]
    assert [entry.index for entry in process.disk.contents.entries] == [1, 2, 3]


def test_what_is_loaded_comes_later_and_sees_every_write_before() -> None:
    process = Process()
    process.write(1, 2)
    process.disk.load(EntriesWanted(Index(1), Index(9), 1 << 20))
    process.disk.load(ChunkWanted(MemberId("n1"), Index(1), 0, 1))
    process.write(3)
    assert not process.found
    process.events.run_until(100.0)
    assert process.found == [tuple(process.disk.contents.entries[:2]), None]
    assert process.ended == [1, 2, 3]


def test_a_crash_keeps_a_prefix_of_what_was_under_way_and_ends_nothing() -> None:
    kept = set()
    for seed in range(40):
        process = Process(seed)
        process.write(1, 2, 3)
        process.disk.crash()
        process.events.run_until(100.0)
        assert not process.ended
        indices = [entry.index for entry in process.disk.open(2).entries]
        assert indices == list(range(1, len(indices) + 1))
        kept.add(len(indices))
    assert kept == {0, 1, 2, 3}


def test_a_write_of_a_former_life_never_ends_in_the_next() -> None:
    process = Process()
    process.write(1)
    process.disk.crash()
    process.disk.open(2)
    process.write(2) if process.disk.contents.entries else process.write(1)
    process.events.run_until(100.0)
    assert len(process.ended) == 1


def test_a_full_disk_fails_the_write_and_opens_again_when_there_is_room() -> None:
    process = Process()
    process.disk.full = True
    process.write(1)
    process.events.run_until(100.0)
    assert process.failed
    assert not process.ended
    with pytest.raises(VolumeUnusable):
        process.disk.open(2)
    process.disk.crash()
    process.disk.repair()
    assert process.disk.open(2).generation == 2


def test_a_wiped_volume_is_another_incarnation() -> None:
    process = Process()
    before = process.disk.incarnation
    process.write(1)
    process.events.run_until(100.0)
    process.disk.crash()
    process.disk.wipe()
    restored = process.disk.open(2)
    assert restored.incarnation != before
    assert restored.generation == 1
    assert not restored.entries
