"""Changes of the document as server-sent events: one event a revision, encoded once for all who hear the same.

    id: 12
    event: change
    data: {"revision":12,"changes":[{"key":"a","value":1},{"key":"b","deleted":true}]}

`{"document": …}` instead of a key: the whole became this.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

import msgspec

from raftq_k8s.api.streams import Listener
from raftq_k8s.raft.types import Index
from raftq_k8s.state.journal import Change

_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")
"""In JSON the ends of lines are white space, and never in a string."""

_encode = msgspec.json.Encoder().encode
_split = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Event(NamedTuple):
    revision: Index
    changes: Sequence[Change]


def events_of(changes: Iterable[Change]) -> list[Event]:
    return [Event(revision, tuple(those)) for revision, those in groupby(changes, key=lambda change: change.revision)]


class News:
    """One round of it."""

    def __init__(self, events: Sequence[Event], reached: Index) -> None:
        """Nothing but `events` changed up to `reached`."""
        self.events = events
        self._reached = reached
        self._told: dict[tuple[int, str], bytes] = {}

    def told_to(self, listener: Listener) -> bytes:
        """What that one has not heard yet, and heard by this."""
        place = listener.position, listener.prefix
        data = self._told.get(place)
        if data is None:
            data = self._told[place] = told(self.events, *place)
        listener.position = max(self._reached, listener.position)
        return data


def told(events: Iterable[Event], position: int, prefix: str) -> bytes:
    """To one who knows everything up to `position`."""
    return b"".join(_encoded(event, prefix) for event in events if event.revision > position)


def place(listener: Listener) -> bytes:
    """That it has missed nothing up to here, as an id without an event."""
    return b":\nid: %d\n\n" % listener.position


def _encoded(event: Event, prefix: str) -> bytes:
    changes = [_change(change, prefix) for change in event.changes if _concerns(change, prefix)]
    if not changes:
        return b""
    data = (b'{"revision":%d,"changes":[%s]}' % (event.revision, b",".join(changes))).translate(_ONE_LINE)
    return b"id: %d\nevent: change\ndata: %s\n\n" % (event.revision, data)


def _concerns(change: Change, prefix: str) -> bool:
    return change.key is None or change.key.startswith(prefix)


def _change(change: Change, prefix: str) -> bytes:
    key, value = change.key, change.value
    if key is None:
        return b'{"document":%s}' % (_reduced(value or b"null", prefix) if prefix else value or b"null")
    if value is None:
        return b'{"key":%s,"deleted":true}' % _encode(key)
    return b'{"key":%s,"value":%s}' % (_encode(key), value)


def _reduced(document: bytes, prefix: str) -> bytes:
    """What a document holds under keys that begin so."""
    if not document.startswith(b"{"):
        return b"{}"
    members = _split(document).items()
    kept = [b"%s:%s" % (_encode(key), bytes(value)) for key, value in members if key.startswith(prefix)]
    return b"{" + b",".join(kept) + b"}"
