"""A trace: the file in which everything is noted that went into a driver, so that its life can be lived again.

It opens with what the driver was started with. One frame for each call of a door follows: the door, its arguments, what
`connected` answered meanwhile, and a digest of all outputs so far. A driver that is given the same again does the same
(`replay.py`), or the first digest that differs names the call. Who writes the frames is `recording.py`.

A frame is its length, a CRC-32 and msgpack. Frames reach the kernel whole turns at a time; a machine that dies leaves a
torn one at the end, which is passed over. The file has a bound: at that it ends, and says so. Commands stand in it as
they were given, so only its owner may read it; and a file that is there already, perhaps the trace of the process that
has just crashed, is kept under another name.
"""

import logging
import os
import struct
import zlib
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, TypeAlias

import msgspec

from raftq_k8s.node.given import Node
from raftq_k8s.raft.types import Instant, MemberId

MAGIC = b"raftq-trace 1\n"
"""How a trace is told from any other file, and one format of it from the next."""

LIMIT_BYTES = 256 << 20

_HEADER = struct.Struct(">II")
_LARGEST_FRAME = 1 << 30

_log = logging.getLogger(__name__)


class Started(msgspec.Struct, frozen=True, array_like=True, tag="started"):
    """The arguments of the driver, and the release that made it."""

    release: str
    node: Node
    limit_bytes: int
    """Of the document."""
    sessions_limit: int
    idle_ms: int
    """Of a session, until it expires."""
    now: Instant


class Call(msgspec.Struct, frozen=True, array_like=True, tag="call"):
    door: str
    arguments: msgspec.Raw
    connected: tuple[tuple[MemberId, bool], ...]
    """Who was asked for during the call, and the answers."""
    digest: int
    """CRC-32 of all outputs up to the one of this call."""


class Ending(StrEnum):
    STOPPED = "stopped"
    """The node did, in order."""
    FULL = "full"
    """The file reached its bound; the node went on."""
    TORN = "torn"
    """The process died, or still runs."""


class Ended(msgspec.Struct, frozen=True, array_like=True, tag="ended"):
    why: Ending


_Frame: TypeAlias = Started | Call | Ended

_encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[_Frame] = msgspec.msgpack.Decoder(_Frame)


class TraceUnusable(Exception):
    """A trace cannot be written there."""


class TraceUnreadable(Exception):
    """The file is no trace, or is damaged elsewhere than at its end."""


class Trace:
    """The file while it is written. One that cannot be written any more ends, and the node goes on."""

    def __init__(self, path: Path, started: Started, limit_bytes: int = LIMIT_BYTES) -> None:
        try:
            if path.exists():
                path.replace(path.with_name(path.name + ".1"))
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise TraceUnusable(f"no trace can be written to {path}: {error.strerror}") from error
        self._file: BinaryIO | None = os.fdopen(descriptor, "wb", buffering=1 << 16)
        self._left = limit_bytes
        self._write(MAGIC)
        self.note(started)

    def note(self, frame: Started | Call) -> None:
        framed = _framed(frame)
        if len(framed) > self._left:
            self.end(Ending.FULL)
        else:
            self._left -= len(framed)
            self._write(framed)

    def flush(self) -> None:
        """What was noted so far outlives this process."""
        if self._file is not None:
            try:
                self._file.flush()
            except OSError as error:
                self._give_up(error)

    def end(self, why: Ending) -> None:
        self._write(_framed(Ended(why)))
        self.flush()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, data: bytes) -> None:
        if self._file is not None:
            try:
                self._file.write(data)
            except OSError as error:
                self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        _log.warning("the trace ends here, for it cannot be written any more: %s", error)
        self._file = None


def _framed(frame: _Frame) -> bytes:
    payload = _encode(frame)
    return _HEADER.pack(len(payload), zlib.crc32(payload)) + payload


class Recording:
    """The file while it is read. `ending` holds once the calls have been gone through."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.ending = Ending.TORN
        if file.read(len(MAGIC)) != MAGIC:
            raise TraceUnreadable("it is no trace, or one of another format")
        started = self._next()
        if not isinstance(started, Started):
            raise TraceUnreadable("it does not say what the node was started with")
        self.started = started

    def calls(self) -> Iterator[Call]:
        while (frame := self._next()) is not None:
            match frame:
                case Call():
                    yield frame
                case Ended(why):
                    self.ending = why
                    return
                case Started():
                    raise TraceUnreadable("it tells of a second start")

    def _next(self) -> _Frame | None:
        """`None` at the end, a torn frame included: one that is cut short, or the last one and damaged."""
        header = self._file.read(_HEADER.size)
        if len(header) < _HEADER.size:
            return None
        length, checksum = _HEADER.unpack(header)
        payload = self._file.read(min(length, _LARGEST_FRAME))
        if len(payload) < length:
            return None
        if zlib.crc32(payload) != checksum:
            if self._file.read(1):
                raise TraceUnreadable("a frame is damaged")
            return None
        try:
            return _decoder.decode(payload)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise TraceUnreadable(f"a frame cannot be understood: {error}") from error
