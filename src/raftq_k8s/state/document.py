"""The state machine: one JSON document, driven by the commands of the log.

Values stay the bytes they came as. A document that is an object is held key by key, each with its encoded value and
the index of its last change; any other JSON value is held as one piece. The whole is put together by concatenation,
so what enters must be JSON: whoever makes a command checks that (`json_text.py`); here nothing is parsed but the
outermost braces.

Everything is decided by the log alone, so that replicas agree to the byte: keys stand in the order of their
insertion, the size that is bounded is the length of the whole as `whole()` returns it, and the bound has to be the
same on every member.

A command that cannot be read was written by a newer release, or the log is damaged. To skip it would let replicas of
different releases drift apart without a sound, so `apply` raises `UnreadableCommand`, and the process has to end.
Nothing of the command was carried out. The door to the log is where such bytes are stopped, by decoding them before
they are proposed.
"""

from typing import Final

import msgspec

from raftq_k8s.raft.types import NO_INDEX, Index
from raftq_k8s.state import commands
from raftq_k8s.state.commands import Applied, Delete, NotAnObject, Put, Replace, Result, TooBig

_BRACES = len(b"{}")
_split = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode_key = msgspec.json.Encoder().encode

LIMIT_BYTES: Final = 64 << 20
"""The same on every member, whatever it is configured with, because it decides what a command does: not a setting."""


class DocumentIsNotAnObject(Exception):
    """A key was asked for, but the document is some other JSON value."""


class UnreadableCommand(Exception):
    """The log holds a command that this release cannot read: it must not go on. Upgrade it, or check the volume."""

    def __init__(self, index: Index, reason: str) -> None:
        super().__init__(f"the command at index {index} cannot be read ({reason}): was it written by a newer release?")
        self.index = index


class Document:
    """Begins as the empty object. `limit_bytes` bounds the length of the whole."""

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self.size_bytes = _BRACES
        """The length of what `whole()` returns."""
        self.applied_index: Index = NO_INDEX
        """The last command, whether it changed anything or not. Entries without a command do not count."""
        self._keys: dict[str, tuple[bytes, int]] | None = {}
        self._text = b""  # the document, where it is no object and `_keys` is None
        self._changed: Index = NO_INDEX

    def apply(self, index: Index, command: bytes) -> Result:
        """Carry out one command of the log. Raises `UnreadableCommand`, and has then changed nothing."""
        try:
            decoded = commands.decode(command)
        except msgspec.DecodeError as error:
            raise UnreadableCommand(index, str(error)) from error
        match decoded:
            case Put(key, value):
                result = self._put(index, key, value)
            case Delete(key):
                result = self._delete(index, key)
            case Replace(text):
                result = self._replace(index, text)
        self.applied_index = index
        return result

    def get(self, key: str) -> tuple[bytes, int] | None:
        """The encoded value and its revision, or `None`. Raises `DocumentIsNotAnObject`."""
        if self._keys is None:
            raise DocumentIsNotAnObject("the document is not an object, so it has no keys")
        return self._keys.get(key)

    def whole(self) -> tuple[bytes, int]:
        """The document as JSON, and the revision of its last change (0 before the first)."""
        if self._keys is None:
            return self._text, self._changed
        members = [_encode_key(key) + b":" + value for key, (value, _) in self._keys.items()]
        return b"{" + b",".join(members) + b"}", self._changed

    def _put(self, index: Index, key: str, value: bytes) -> Result:
        if self._keys is None:
            return NotAnObject(index)
        before = self._keys.get(key)
        growth = self._grown_by(key, value) if before is None else len(value) - len(before[0])
        if self.size_bytes + growth > self.limit_bytes:
            return TooBig(index, self.limit_bytes)
        self._keys[key] = (value, index)
        self.size_bytes += growth
        self._changed = index
        return Applied(index, existed=before is not None)

    def _delete(self, index: Index, key: str) -> Result:
        if self._keys is None:
            return NotAnObject(index)
        before = self._keys.pop(key, None)
        if before is None:
            return Applied(index, existed=False)
        self.size_bytes -= self._grown_by(key, before[0])
        self._changed = index
        return Applied(index, existed=True)

    def _replace(self, index: Index, text: bytes) -> Result:
        if text.startswith(b"{"):
            try:
                keys = {key: (bytes(value), int(index)) for key, value in _split(text).items()}
            except (ValueError, RecursionError) as error:
                raise UnreadableCommand(index, str(error)) from error
            size = _BRACES + sum(_member_size(key, value) for key, (value, _) in keys.items()) + max(0, len(keys) - 1)
            if size > self.limit_bytes:
                return TooBig(index, self.limit_bytes)
            self._keys, self._text = keys, b""
        else:
            size = len(text)
            if size > self.limit_bytes:
                return TooBig(index, self.limit_bytes)
            self._keys, self._text = None, text
        self.size_bytes = size
        self._changed = index
        return Applied(index, existed=True)  # there always is a document

    def _grown_by(self, key: str, value: bytes) -> int:
        """What a key that is not there adds to the whole: itself, and a comma beside others."""
        return _member_size(key, value) + bool(self._keys)


def _member_size(key: str, value: bytes) -> int:
    return len(_encode_key(key)) + len(b":") + len(value)
