"""The whole state as bytes, and back, a piece at a time: nothing here works for long at once.

A snapshot is a row of frames, each its length (four bytes) and a msgpack struct: first the head, then the keys of the
document some dozens at a time, then the sessions, last the end, with a CRC-32 of all bytes before it. Where a frame
ends depends on nothing but the state: replicas that are at one index make the same bytes, whatever the pieces in which
they are asked for. What is read was perhaps written by a disk that forgets: every byte is checked before the state is
taken over, and whatever is wrong raises `SnapshotDamaged`.
"""

import zlib
from collections.abc import Iterator
from typing import Final, TypeAlias

import msgspec

from raftq_k8s.raft.types import Index
from raftq_k8s.state.agreements import Agreements, AgreementsPicture
from raftq_k8s.state.document import Document, DocumentPicture
from raftq_k8s.state.sessions import Session, Sessions, SessionsPicture

FORMAT: Final = 1

_FRAME_BYTES = 1 << 14
"""As soon as its members are so many bytes, a frame ends."""

_LENGTH_BYTES = 4


class SnapshotDamaged(Exception):
    """These bytes are no snapshot that this release can read. Nothing was taken over."""


class _Head(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="head"):
    format: int
    applied_index: int
    changed: int
    log_time: int
    agreements: AgreementsPicture
    text: bytes | None
    """The document, where it is no object."""


class _Members(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="members"):
    members: list[tuple[str, bytes, int]]


class _Open(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="sessions"):
    sessions: list[Session]


class _End(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="end"):
    checksum: int


_Frame: TypeAlias = _Head | _Members | _Open | _End

_encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[_Frame] = msgspec.msgpack.Decoder(_Frame)


class Frozen:
    """The state at one moment. It stays as it is while the state machine goes on."""

    def __init__(self, document: DocumentPicture, sessions: SessionsPicture, agreements: AgreementsPicture) -> None:
        self._document, self._sessions, self._agreements = document, sessions, agreements

    def parts(self, max_bytes: int) -> Iterator[bytes]:
        """All bytes, in pieces of at most so many; each is made when it is asked for."""
        waiting = bytearray()
        for frame in self._framed():
            waiting += frame
            while len(waiting) >= max_bytes:
                yield bytes(waiting[:max_bytes])
                del waiting[:max_bytes]
        if waiting:
            yield bytes(waiting)

    def _framed(self) -> Iterator[bytes]:
        checksum = 0
        for frame in self._frames():
            encoded = _with_length(frame)
            checksum = zlib.crc32(encoded, checksum)
            yield encoded
        yield _with_length(_End(checksum))

    def _frames(self) -> Iterator[_Frame]:
        document = self._document
        text = document.text if document.segments is None else None
        yield _Head(FORMAT, document.applied_index, document.changed, self._sessions.log_time, self._agreements, text)
        yield from self._members()
        yield from self._open_sessions()

    def _members(self) -> Iterator[_Members]:
        members: list[tuple[str, bytes, int]] = []
        size = 0
        for segment in self._document.segments or ():
            for key, (value, revision) in segment.items():
                members.append((key, value, revision))
                size += len(key) + len(value)
                if size >= _FRAME_BYTES:
                    yield _Members(members)
                    members, size = [], 0
        if members:
            yield _Members(members)

    def _open_sessions(self) -> Iterator[_Open]:
        at_once = 8
        sessions = self._sessions.sessions
        for first in range(0, len(sessions), at_once):
            yield _Open(list(sessions[first : first + at_once]))


class Restoring:
    """Reads a snapshot into what is blank."""

    def __init__(self, document: Document, sessions: Sessions, agreements: Agreements) -> None:
        self._document, self._sessions, self._agreements = document, sessions, agreements
        self._unread = bytearray()
        self._checksum = 0
        self._begun = self._ended = False

    def feed(self, data: bytes) -> None:
        """The next bytes, however many. Raises `SnapshotDamaged`, and is of no use then."""
        unread = self._unread
        unread += data
        while len(unread) >= _LENGTH_BYTES:
            end = _LENGTH_BYTES + int.from_bytes(unread[:_LENGTH_BYTES], "big")
            if len(unread) < end:
                return
            frame = bytes(unread[:end])
            del unread[:end]
            self._take(_decoded(frame[_LENGTH_BYTES:]))
            self._checksum = zlib.crc32(frame, self._checksum)

    def finish(self) -> tuple[Document, Sessions, Agreements]:
        """After the last byte. Raises `SnapshotDamaged`."""
        if not self._ended or self._unread:
            raise SnapshotDamaged("the snapshot ends too early, or does not end")
        return self._document, self._sessions, self._agreements

    def _take(self, frame: _Frame) -> None:
        if self._begun == isinstance(frame, _Head) or self._ended:
            raise SnapshotDamaged("the parts of the snapshot are not in their order")
        match frame:
            case _Head():
                self._begin(frame)
            case _Members(members):
                for key, value, revision in members:
                    if not self._document.restore_key(key, (value, revision)):
                        raise SnapshotDamaged(f"the snapshot holds a key that cannot be there: {key[:100]!r}")
            case _Open(sessions):
                for session in sessions:
                    if not self._sessions.restore(session):
                        raise SnapshotDamaged(f"the snapshot holds a session that cannot be there: {session.session}")
            case _End(checksum):
                if checksum != self._checksum:
                    raise SnapshotDamaged("the snapshot's checksum is another than that of its bytes")
                self._ended = True

    def _begin(self, head: _Head) -> None:
        if head.format != FORMAT:
            raise SnapshotDamaged(f"the snapshot has format {head.format}, and this release reads {FORMAT}")
        self._begun = True
        self._document.restore(Index(head.applied_index), Index(head.changed), head.text)
        self._sessions.log_time = head.log_time
        self._agreements.restore(head.agreements)


def _with_length(frame: _Frame) -> bytes:
    encoded = _encode(frame)
    return len(encoded).to_bytes(_LENGTH_BYTES, "big") + encoded


def _decoded(frame: bytes) -> _Frame:
    try:
        return _decoder.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SnapshotDamaged(f"a part of the snapshot cannot be read: {error}") from error
