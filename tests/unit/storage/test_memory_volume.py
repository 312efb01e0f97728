"""The volume of tests keeps the same promises for as long as the object lives."""

import pytest
from volume_contents import BIRTH, MEMBER, VOTED, entries, log

from raftq_k8s.raft.persistence import Write
from raftq_k8s.raft.types import Incarnation
from raftq_k8s.storage.memory import MemoryVolume
from raftq_k8s.storage.volume import Volume, WriteFailed


def test_what_was_written_survives_closing_and_a_crash() -> None:
    volume: Volume = MemoryVolume(MEMBER, Incarnation("i0"))
    volume.open()
    assert volume.write(Write(birth=BIRTH, hard_state=VOTED, entries=entries(1, 5))).done()
    volume.close()
    volume.open()
    volume.write(log(3, 3, term=2))
    found = volume.open()
    assert (found.incarnation, found.generation, found.birth, found.hard_state) == ("i0", 3, BIRTH, VOTED)
    assert found.entries == [*entries(1, 2), *entries(3, 3, term=2)]


def test_what_was_restored_does_not_change_under_its_reader() -> None:
    volume = MemoryVolume(MEMBER)
    found = volume.open()
    volume.write(log(1, 1))
    assert found.entries == []


def test_a_closed_volume_takes_no_write() -> None:
    volume = MemoryVolume(MEMBER)
    with pytest.raises(WriteFailed):
        volume.write(log(1, 1)).result()


def test_a_log_with_a_gap_is_never_written() -> None:
    volume = MemoryVolume(MEMBER)
    volume.open()
    with pytest.raises(ValueError, match="gap"):
        volume.write(log(2, 2))
