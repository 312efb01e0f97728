"""What a persist agent is given is the whole of a volume, and comes back as it was, or not at all."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from volume_contents import BIRTH, MEMBER, VOTED, compacted, entries, log, mark, part, sealed

from raftq_k8s.raft.persistence import HardState, Restored, Write
from raftq_k8s.raft.types import Index, MemberId
from raftq_k8s.storage.persist_agent import PersistedVolume, RaftPersistentData
from raftq_k8s.storage.volume import VolumeUnusable, WriteFailed


class Store:
    """An application's, that keeps JSON."""

    def __init__(self) -> None:
        self.text: str | None = None
        self.times = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: BaseException | None = None

    async def persist(self, data: RaftPersistentData) -> None:
        text = json.dumps(data, sort_keys=True)
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        self.text = text
        self.times += 1

    async def restore(self) -> RaftPersistentData | None:
        return None if self.text is None else json.loads(self.text)

    def changed(self, change: Callable[[dict[str, Any]], None]) -> None:
        data = json.loads(self.text or "")
        change(data)
        self.text = json.dumps(data)


def volume_on(store: Store, member: MemberId = MEMBER, shown: tuple[int, Any] = (0, {})) -> PersistedVolume:
    index, data = shown
    return PersistedVolume(
        member, store.persist, store.restore, lambda: (Index(index), data), asyncio.get_running_loop()
    )


async def opened(volume: PersistedVolume) -> Restored:
    return await asyncio.to_thread(volume.open)


async def written(volume: PersistedVolume, *writes: Write) -> None:
    for write in writes:
        await asyncio.wrap_future(volume.write(write))


async def test_what_was_written_comes_back_through_json() -> None:
    store = Store()
    volume = volume_on(store)
    first = await opened(volume)
    await written(volume, Write(birth=BIRTH, hard_state=VOTED, entries=entries(1, 9)))
    await written(volume, sealed(6, b"\x00 a snapshot \xff"), compacted(4))
    await asyncio.to_thread(volume.close)

    again = volume_on(store)
    found = await opened(again)
    assert (found.incarnation, found.generation) == (first.incarnation, 2)
    assert (found.birth, found.hard_state, found.base) == (BIRTH, VOTED, 4)
    assert (found.entries, found.snapshot) == ([*entries(5, 9)], mark(6, b"\x00 a snapshot \xff"))
    assert again.read_snapshot(Index(6), 0, 99).result() == b"\x00 a snapshot \xff"
    assert again.load(Index(5), Index(6), 9999).result() == entries(5, 6)


async def test_times_that_are_whole_numbers_come_back() -> None:
    store = Store()
    volume = volume_on(store)
    await opened(volume)
    await written(volume, Write(hard_state=HardState(VOTED.term, None, 200)))
    assert (await opened(volume_on(store))).hard_state.promised_window == 200.0


async def test_the_contracts_fields_are_there_to_read() -> None:
    store = Store()
    volume = volume_on(store, shown=(5, {"colour": "blue"}))
    await opened(volume)
    await written(volume, Write(hard_state=VOTED))
    data = json.loads(store.text or "")
    assert (data["term"], data["votedFor"], data["data"]) == (VOTED.term, VOTED.vote, {"colour": "blue"})


async def test_after_a_start_the_document_shown_is_that_of_before_until_the_log_is_applied() -> None:
    store = Store()
    volume = volume_on(store, shown=(5, {"colour": "blue"}))
    await opened(volume)
    await asyncio.to_thread(volume.close)
    await opened(volume_on(store))
    assert json.loads(store.text or "")["data"] == {"colour": "blue"}


async def test_a_write_has_ended_when_persist_has_returned_and_those_that_wait_are_one() -> None:
    store = Store()
    volume = volume_on(store)
    await opened(volume)
    store.gate.clear()
    futures = [volume.write(log(index, index)) for index in range(1, 6)]
    await asyncio.sleep(0)
    assert not any(future.done() for future in futures)
    store.gate.set()
    await asyncio.gather(*map(asyncio.wrap_future, futures))
    assert store.times == 2  # at the start, and once for all five


async def test_a_snapshot_that_is_only_begun_is_not_persisted() -> None:
    store = Store()
    volume = volume_on(store)
    await opened(volume)
    await written(volume, part(1, 0, b"x" * 1000), part(1, 1000, b"y"))
    assert store.times == 1


async def test_a_persist_that_fails_is_final() -> None:
    store = Store()
    volume = volume_on(store)
    await opened(volume)
    await written(volume, log(1, 1))
    store.failure = OSError(28, "No space left on device")
    with pytest.raises(WriteFailed, match="No space left"):
        await written(volume, log(2, 2))
    store.failure = None
    with pytest.raises(WriteFailed, match="No space left"):
        await written(volume, log(3, 3))
    assert (await opened(volume_on(store))).entries == [*entries(1, 1)]


async def test_a_persist_that_is_broken_off_from_within_leaves_nobody_waiting() -> None:
    store = Store()
    volume = volume_on(store)
    await opened(volume)
    store.failure = asyncio.CancelledError()
    async with asyncio.timeout(2):
        with pytest.raises(WriteFailed, match="CancelledError"):
            await written(volume, log(1, 1))
        with pytest.raises(WriteFailed, match="CancelledError"):
            await written(volume, log(1, 1))
        await asyncio.to_thread(volume.close)


async def test_a_restore_that_fails_stops_the_start_and_nothing_is_persisted() -> None:
    store = Store()

    async def torn() -> RaftPersistentData | None:
        raise json.JSONDecodeError("Expecting value", "{", 1)

    store.restore = torn  # type: ignore[method-assign]
    with pytest.raises(VolumeUnusable, match="Expecting value"):
        await opened(volume_on(store))
    assert store.times == 0


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda data: data.update(term=99), "does not match its checksum"),
        (lambda data: data["raft"]["entries"].pop(), "does not match its checksum"),
        (lambda data: data["raft"].update(format=2), "has format 2"),
        (lambda data: data["raft"].pop("incarnation"), "incarnation"),
        (lambda data: data["raft"]["entries"][0].pop(), "does not match|not what this release persists"),
        (lambda data: data.pop("raft"), "raft"),
    ],
)
async def test_what_is_not_what_was_persisted_is_refused(
    change: Callable[[dict[str, Any]], None], complaint: str
) -> None:
    store = Store()
    volume = volume_on(store)
    await opened(volume)
    await written(volume, Write(hard_state=VOTED, entries=entries(1, 3)))
    await asyncio.to_thread(volume.close)
    store.changed(change)
    with pytest.raises(VolumeUnusable, match=complaint):
        await opened(volume_on(store))


async def test_the_state_of_another_member_is_refused() -> None:
    store = Store()
    await opened(volume_on(store))
    with pytest.raises(VolumeUnusable, match="is the state of raftq-0"):
        await opened(volume_on(store, MemberId("raftq-1")))


async def test_after_closing_nothing_is_taken_and_what_was_given_is_persisted() -> None:
    store = Store()
    volume = volume_on(store)
    await opened(volume)
    last = volume.write(log(1, 1))
    await asyncio.to_thread(volume.close)
    assert last.done()
    with pytest.raises(WriteFailed, match="not open"):
        await written(volume, log(2, 2))
    assert (await opened(volume_on(store))).entries == [*entries(1, 1)]


async def test_a_log_with_a_gap_is_never_written() -> None:
    store = Store()
    volume = volume_on(store)
    await opened(volume)
    with pytest.raises(WriteFailed, match="gap"):
        await written(volume, log(3, 3))
