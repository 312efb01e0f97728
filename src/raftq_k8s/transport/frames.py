"""What stands in a frame: a msgpack list of messages, in the order sent.

A conversation opens with a hello each way, alone in its frame. An empty frame follows once the other side has greeted
it: from there on both know that the connection is good. A hello may come again, alone again, when its sender's identity
changed. Both ends of the list format are here, and the bounds that hold on either side; who may say what is decided
elsewhere.
"""

import struct
from collections import deque
from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from raftq_k8s.node.transport import Wire
from raftq_k8s.raft.membership import Hello, Refusal

MAX_MESSAGE_BYTES = 4 << 20
FULL_FRAME_BYTES = 256 << 10
"""A frame takes no further message once it is that long: a long one would hold up the peer's loop while it is
decoded."""
MAX_FRAME_BYTES = MAX_MESSAGE_BYTES + FULL_FRAME_BYTES + 1024

MAX_QUEUE_BYTES = 16 << 20
MAX_QUEUE_MESSAGES = 1 << 14

Frame: TypeAlias = list[Hello | Wire]

_HEADER = struct.Struct(">BI")
_ARRAY_32 = 0xDD

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Frame] = msgspec.msgpack.Decoder(Frame)


class BadFrame(Exception):
    """A frame that no peer of ours sends. `kind` is a metric label."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def decode(frame: bytes) -> Frame:
    try:
        return _decoder.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadFrame("undecodable", f"not a list of messages: {error}") from error


def incompatible(theirs: Hello, mine: Hello) -> Refusal | None:
    """Whether there is no protocol version that both sides speak."""
    if theirs.protocol_min <= mine.protocol_max and mine.protocol_min <= theirs.protocol_max:
        return None
    return Refusal(
        "version",
        f"you speak protocol {theirs.protocol_min} to {theirs.protocol_max}, I speak {mine.protocol_min} to "
        f"{mine.protocol_max}: upgrade one release at a time",
    )


class Outgoing:
    """Frames that wait to be written, within bounds: a message that does not fit is dropped.

    Messages are encoded as they come, straight into the last frame, so that the bound counts what is really held.
    """

    def __init__(self, max_bytes: int = MAX_QUEUE_BYTES, max_messages: int = MAX_QUEUE_MESSAGES) -> None:
        self._max_bytes = max_bytes
        self._max_messages = max_messages
        self._sealed: deque[tuple[bytes | bytearray, int]] = deque()
        self._open = _empty_frame()
        self._open_messages = 0
        self._bytes = 0
        self._messages = 0

    def put(self, messages: Sequence[Wire]) -> int:
        """Append what fits; returns how many messages were dropped."""
        return sum(not self._put(message) for message in messages)

    def put_alone(self, messages: Sequence[Hello]) -> None:
        """Append a frame of just these. Few and small, so they always fit."""
        self._seal()
        self._append_sealed(_encoder.encode(messages), len(messages))

    def take(self) -> bytes | bytearray | None:
        """The oldest frame, or `None` when all is taken."""
        if not self._sealed:
            self._seal()
        if not self._sealed:
            return None
        frame, count = self._sealed.popleft()
        self._bytes -= len(frame)
        self._messages -= count
        return frame

    def _put(self, message: Wire) -> bool:
        if self._messages + self._open_messages >= self._max_messages or self._bytes >= self._max_bytes:
            return False
        start = len(self._open)
        _encoder.encode_into(message, self._open, -1)
        size = len(self._open) - start
        if size > MAX_MESSAGE_BYTES or self._bytes + len(self._open) > self._max_bytes:
            del self._open[start:]
            return False
        self._open_messages += 1
        if len(self._open) >= FULL_FRAME_BYTES:
            self._seal()
        return True

    def _seal(self) -> None:
        if not self._open_messages:
            return
        _HEADER.pack_into(self._open, 0, _ARRAY_32, self._open_messages)
        self._append_sealed(self._open, self._open_messages)
        self._open = _empty_frame()
        self._open_messages = 0

    def _append_sealed(self, frame: bytes | bytearray, count: int) -> None:
        self._sealed.append((frame, count))
        self._bytes += len(frame)
        self._messages += count


def _empty_frame() -> bytearray:
    return bytearray(_HEADER.size)
