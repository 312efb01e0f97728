"""Server-sent events (WHATWG HTML, §9.2), from bytes to events: pure, fed with whatever pieces arrive."""

from typing import NamedTuple


class Event(NamedTuple):
    name: str
    data: bytes


class EventDecoder:
    """Comments, by which a server shows that it is alive, are passed over. Lines end with LF or CRLF."""

    def __init__(self) -> None:
        self._unended: list[bytes] = []
        """The pieces of a line so far: it may be long, and is put together once."""
        self._name = ""
        self._data: list[bytes] = []
        self._id = ""
        self.last_id = ""
        """The latest `id`, of an event or alone: to resume behind it. One that comes before an event counts only with
        the event's end."""

    def feed(self, piece: bytes) -> list[Event]:
        *lines, rest = piece.split(b"\n")
        if not lines:
            self._unended.append(rest)
            return []
        lines[0] = b"".join((*self._unended, lines[0]))
        self._unended = [rest]
        return [event for line in lines if (event := self._line(line.removesuffix(b"\r"))) is not None]

    def _line(self, line: bytes) -> Event | None:
        if not line:
            return self._ended()
        field, _, text = line.partition(b":")
        text = text.removeprefix(b" ")
        match field:
            case b"event":
                self._name = text.decode(errors="replace")
            case b"data":
                self._data.append(text)
            case b"id" if b"\0" not in text:
                self._id = text.decode(errors="replace")
            case _:
                pass
        return None

    def _ended(self) -> Event | None:
        name, data = self._name, self._data
        self._name, self._data = "", []
        self.last_id = self._id
        return Event(name or "message", b"\n".join(data)) if data else None
