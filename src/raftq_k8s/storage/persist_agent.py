"""The volume of an application that brings its own store: the whole state of a node, persisted and restored as one.

The application has two coroutine functions, `persist` and `restore`, and whatever they keep. What is persisted is plain
data that JSON can say: `term`, `votedFor` and `data` for whoever wants to read it, and under `raft` all that a node of
full Raft must not forget. Each time it is the whole, so it has to stay small: the log is cut after little
(`node/options.py` says when), and several writes that wait are persisted as one.

A write has ended when `persist` has returned, and what rests on it waits for that. So `persist` must not return before
all of it is on stable storage, and leaves what was there before when it fails. `restore` returns `None` where nothing
was ever persisted, and only then: a state that cannot be read is no fresh start, so an exception of it ends the start.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, TypeAlias, TypedDict
from zlib import crc32

import msgspec

from raftq_k8s.raft.membership import BirthRecord
from raftq_k8s.raft.messages import Entry, SnapshotMark
from raftq_k8s.raft.persistence import HardState, Restored, Write
from raftq_k8s.raft.types import NO_INDEX, Generation, Incarnation, Index, MemberId, Term
from raftq_k8s.storage.contents import Contents
from raftq_k8s.storage.volume import TAIL_BYTES, VolumeUnusable, WriteFailed

FORMAT = 1


class RaftPersistentData(TypedDict):
    """JSON-compatible, and to be restored as it was persisted. Only `raft` counts; the rest tells people the same."""

    term: int
    votedFor: str | None
    data: Any
    """The document, as far as this node had applied the log."""
    raft: dict[str, Any]


Persist: TypeAlias = Callable[[RaftPersistentData], Awaitable[None]]
Restore: TypeAlias = Callable[[], Awaitable[RaftPersistentData | None]]
Shown: TypeAlias = Callable[[], tuple[Index, Any]]
"""The document for people to read, and the index of the log up to which it has applied it."""


class _State(msgspec.Struct, frozen=True, rename="camel"):
    """What stands under `raft`, with a checksum of it beside. Bytes are base64."""

    format: int
    member: MemberId
    incarnation: Incarnation
    generation: Generation
    birth: BirthRecord | None
    hard_state: HardState
    base: Index
    base_term: Term
    entries: list[Entry]
    snapshot: SnapshotMark | None
    snapshot_data: bytes
    data_index: Index
    """That `data` shows."""


class PersistedVolume:
    """Keeps `storage.volume.Volume`. `write`, `load` and `read_snapshot` belong to the loop that it is given, where the
    application's functions are awaited; `open` and `close` block, and so belong to any other thread."""

    def __init__(
        self,
        member: MemberId,
        persist: Persist,
        restore: Restore,
        shown: Shown,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._member = member
        self._persist = persist
        self._restore = restore
        self._shown = shown
        self._loop = loop
        self._contents = Contents(member, Incarnation(""))
        self._data: tuple[Index, Any] = (NO_INDEX, {})
        self._waiting: list[Future[None]] = []
        self._changed = False
        """Since it was persisted last. A snapshot that is only begun is no change: the next start forgets it."""
        self._persisting: asyncio.Task[None] | None = None
        self._refusal: WriteFailed | None = self._not_open()

    def open(self) -> Restored:
        return asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()

    async def _open(self) -> Restored:
        try:
            found = await self._restore()
        except Exception as error:  # the application's own: whatever it is, it is told what became of it
            raise VolumeUnusable(f"the state of {self._member} could not be restored: {error!r}") from error
        if found is None:
            self._contents = Contents(self._member, Incarnation(secrets.token_hex(8)))
        else:
            state = _read(found)
            if state.member != self._member:
                raise VolumeUnusable(f"what was restored for {self._member} is the state of {state.member}")
            self._contents, self._data = _contents_of(state), (state.data_index, found["data"])
        restored = self._contents.open(TAIL_BYTES)
        try:
            await self._persist(self._picture())
        except Exception as error:  # the same
            raise VolumeUnusable(f"the state of {self._member} could not be persisted: {error!r}") from error
        self._refusal = None
        return restored

    def write(self, write: Write) -> "Future[None]":
        future: Future[None] = Future()
        if self._refusal is None:
            self._keep(write)
        if self._refusal is not None:
            future.set_exception(self._refusal)
            return future
        self._waiting.append(future)
        if self._persisting is None:
            self._persisting = self._loop.create_task(self._persist_all(), name="raftq persists")
        return future

    def load(self, first: Index, last: Index, max_bytes: int) -> "Future[tuple[Entry, ...]]":
        future: Future[tuple[Entry, ...]] = Future()
        future.set_result(self._contents.load(first, last, max_bytes))
        return future

    def read_snapshot(self, index: Index, offset: int, max_bytes: int) -> "Future[bytes | None]":
        future: Future[bytes | None] = Future()
        future.set_result(self._contents.read_snapshot(index, offset, max_bytes))
        return future

    def watch_room(self, told: Callable[[bool], None]) -> None:
        """How much room there is, the application knows."""
        told(False)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()

    async def _close(self) -> None:
        self._refusal = self._refusal or self._not_open()
        if self._persisting is not None:
            await self._persisting

    def _keep(self, write: Write) -> None:
        try:
            self._contents.keep(write)
        except ValueError as error:
            self._refusal = WriteFailed(f"the state of {self._member} did not take a write: {error}")
        only_a_part = write.part is not None and write == Write(part=write.part)
        self._changed = self._changed or not only_a_part

    async def _persist_all(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            changed, self._changed = self._changed, False
            try:
                if changed:
                    await self._persist(self._picture())
            except (
                Exception,
                asyncio.CancelledError,
            ) as error:  # the application's: all hear of it
                self._refusal = WriteFailed(
                    f"the state of {self._member} could not be persisted ({error!r}): see to the store, then start "
                    "again; what was acknowledged is kept"
                )
                self._refusal.__cause__ = error
                for future in (*waiting, *self._waiting):
                    future.set_exception(self._refusal)
                self._waiting = []
            else:
                for future in waiting:
                    future.set_result(None)
        self._persisting = None

    def _picture(self) -> RaftPersistentData:
        contents, hard_state = self._contents, self._contents.hard_state
        shown = self._shown()
        if shown[0] >= self._data[0]:  # after a start the node applies anew what is shown already
            self._data = shown
        index, data = self._data
        window = float(hard_state.promised_window)  # a whole number would come back as another one, to the checksum
        state = _State(
            FORMAT,
            contents.member,
            contents.incarnation,
            contents.generation,
            contents.birth,
            msgspec.structs.replace(hard_state, promised_window=window),
            contents.base,
            contents.base_term,
            contents.entries,
            contents.snapshot,
            contents.sealed,
            index,
        )
        return RaftPersistentData(
            term=hard_state.term,
            votedFor=hard_state.vote,
            data=data,
            raft=msgspec.to_builtins(state) | {"checksum": _checksum(state)},
        )

    def _not_open(self) -> WriteFailed:
        return WriteFailed(f"the state of {self._member} is not open: open it before you write")


def _read(found: RaftPersistentData) -> _State:
    """Raises `VolumeUnusable`."""
    try:
        state = msgspec.convert(found["raft"], _State)
        check = found["raft"]["checksum"]
        same = (found["term"], found["votedFor"]) == (state.hard_state.term, state.hard_state.vote)
    except (TypeError, KeyError, msgspec.ValidationError) as error:
        raise VolumeUnusable(
            f"what was restored is not what this release persists ({error!r}): restore must return it as it was "
            "persisted, and None only where nothing ever was"
        ) from error
    if state.format != FORMAT:
        raise VolumeUnusable(f"what was restored has format {state.format}, and this release knows format {FORMAT}")
    if not same or check != _checksum(state):
        raise VolumeUnusable(
            f"what was restored for {state.member} is damaged, or was changed: it does not match its checksum, so "
            "nothing in it can be trusted; take it away and let this member return with nothing"
        )
    return state


def _contents_of(state: _State) -> Contents:
    contents = Contents(state.member, state.incarnation)
    contents.generation = state.generation
    contents.birth = state.birth
    contents.hard_state = state.hard_state
    contents.base, contents.base_term = state.base, state.base_term
    contents.entries = state.entries
    contents.snapshot, contents.sealed = state.snapshot, state.snapshot_data
    return contents


def _checksum(state: _State) -> int:
    return crc32(msgspec.msgpack.encode(state))
