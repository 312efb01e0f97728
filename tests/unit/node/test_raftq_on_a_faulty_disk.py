"""A node on SQLite, over a disk that is slow, full, broken or gone."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from fake_time import clock, until

from faulty_disk import FaultyDisk, corrupt, vanish
from raftq_k8s import Raftq, RaftqOptions
from raftq_k8s.node.errors import OutcomeUnknown, VolumeFull
from raftq_k8s.raft.types import MemberId
from raftq_k8s.storage import sqlite
from raftq_k8s.storage.sqlite import SqliteVolume
from raftq_k8s.storage.volume import NoRoom, VolumeUnusable, WriteFailed

RESERVE = 1 << 20
JUST_ME = {"node": {"id": "a", "time": 1}}


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> FaultyDisk:
    monkeypatch.setattr(sqlite, "REFILL_EVERY_S", 0.01)
    return FaultyDisk(monkeypatch)


def node(directory: Path) -> Raftq:
    volume = SqliteVolume(directory, MemberId("a"), reserve_bytes=RESERVE)
    return Raftq(RaftqOptions(bootstrap=True), volume=volume, clock=clock)


async def leading(directory: Path) -> Raftq:
    raft = node(directory)
    await raft.dispatch("serviceStarted", JUST_ME)
    await until(lambda: raft.standing().established)
    return raft


async def refused_as_full(raft: Raftq, data: Any) -> bool:
    try:
        await raft.dispatch("replicateData", data)
    except VolumeFull:
        return True
    return False


@pytest.mark.parametrize("fault", ["broken", "read_only"])
async def test_53_after_an_error_of_the_disk_it_takes_no_part_at_once_and_what_was_acknowledged_is_kept(
    tmp_path: Path, disk: FaultyDisk, fault: str
) -> None:
    raft = await leading(tmp_path)
    await raft.dispatch("replicateData", {"colour": "blue"})
    setattr(disk, fault, True)
    with pytest.raises(OutcomeUnknown):
        await raft.dispatch("replicateData", {"colour": "red"})
    with pytest.raises(WriteFailed, match="did not take a write"):
        await raft.failure
    assert (raft.get_leader(), raft.standing().role) == (None, "follower")
    setattr(disk, fault, False)
    await raft.destroy()

    again = await leading(tmp_path)
    assert again.get_data() == {"colour": "blue"}
    await again.destroy()


async def test_53_on_a_slow_disk_nothing_is_acknowledged_before_it_is_written(tmp_path: Path, disk: FaultyDisk) -> None:
    raft = await leading(tmp_path)
    disk.stall()
    replicating = asyncio.create_task(raft.dispatch("replicateData", {"colour": "blue"}))
    done, _ = await asyncio.wait({replicating}, timeout=0.2)
    assert not done
    assert raft.get_data() == {}
    disk.go_on()
    await replicating
    assert raft.get_data() == {"colour": "blue"}
    await raft.destroy()


async def test_53_on_a_full_disk_what_needs_room_is_refused_until_there_is_room(
    tmp_path: Path, disk: FaultyDisk
) -> None:
    raft = await leading(tmp_path)
    disk.room_bytes = 0
    await raft.dispatch("replicateData", {"colour": "blue"})  # in what was the reserve
    await until(lambda: raft.status().volume_full)
    assert await refused_as_full(raft, {"colour": "red"})
    assert (raft.get_role(), raft.get_data()) == (3, {"colour": "blue"})
    disk.room_bytes = 10 * RESERVE
    await until(lambda: not raft.status().volume_full)
    await raft.dispatch("replicateData", {"colour": "green"})
    await raft.destroy()


async def test_53_when_the_reserve_is_gone_it_takes_no_part_and_says_that_it_lacks_room(
    tmp_path: Path, disk: FaultyDisk
) -> None:
    raft = await leading(tmp_path)
    disk.room_bytes = -RESERVE
    with pytest.raises(OutcomeUnknown):
        await raft.dispatch("replicateData", {"colour": "blue"})
    with pytest.raises(NoRoom, match="make room"):
        await raft.failure
    assert raft.get_leader() is None
    await raft.destroy()


async def test_53_a_volume_that_is_damaged_or_gone_is_not_started_on(tmp_path: Path) -> None:
    directory = tmp_path / "volume"
    await asyncio.to_thread(directory.mkdir)
    raft = await leading(directory)
    await raft.dispatch("replicateData", {"colour": "blue"})
    await raft.destroy()
    corrupt(directory, 8190)
    with pytest.raises(VolumeUnusable, match=r"damaged|cannot be read"):
        await node(directory).dispatch("serviceStarted", JUST_ME)
    vanish(directory)
    with pytest.raises(VolumeUnusable, match="does not exist"):
        await node(directory).dispatch("serviceStarted", JUST_ME)
