"""The document as text, put together a piece at a time: what a reader of the whole is sent, and, with their revisions,
the keys that begin with a prefix; the only way to the revisions of many keys at once.

    {"revision": 21, "keys": {"locks/a": {"revision": 12, "value": {"by": "me"}}}}

Put together by concatenation: values stay as they were sent. The `revision` is that of the last change of the whole, so
that `GET /v1/events?after=` goes on from there.

To put together 64 MiB takes longer than a leader may be silent. So both work on a picture of the document, and no piece
takes long to make; one that holds nothing is empty, so that whoever takes the pieces can let others go first.
"""

from collections.abc import Iterator, Sequence

import msgspec

from raftq_k8s.state.keys import Held

PIECE_BYTES = 64 << 10
"""As soon as its members are so many bytes, a piece ends; and after the keys of one segment anyway."""

_encode_key = msgspec.json.Encoder().encode

Segments = Sequence[dict[str, Held]]


def whole(segments: Segments) -> Iterator[bytes]:
    yield b"{"
    yield from _joined(
        (b"%s:%s" % (_encode_key(key), value) for key, (value, _) in segment.items()) for segment in segments
    )
    yield b"}"


def listing(segments: Segments, prefix: str, revision: int) -> Iterator[bytes]:
    """`revision`: of the whole."""
    yield b'{"revision":%d,"keys":{' % revision
    yield from _joined(
        (
            b'%s:{"revision":%d,"value":%s}' % (_encode_key(key), its_revision, value)
            for key, (value, its_revision) in segment.items()
            if key.startswith(prefix)
        )
        for segment in segments
    )
    yield b"}}"


def _joined(segments: Iterator[Iterator[bytes]]) -> Iterator[bytes]:
    before = b""
    for members in segments:
        waiting: list[bytes] = []
        size = 0
        for member in members:
            waiting.append(member)
            size += len(member)
            if size >= PIECE_BYTES:
                yield before + b",".join(waiting)
                waiting, size, before = [], 0, b","
        if waiting:
            yield before + b",".join(waiting)
            before = b","
        else:
            yield b""
