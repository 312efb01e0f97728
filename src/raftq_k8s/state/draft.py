"""A document as some operations would leave it, while the document itself stays as it is.

So a transaction takes effect as a whole or not at all: its operations are carried out here, one after the other, each
on what the ones before left. What comes of it is a row of steps, put this key or take that one away, for the document
to repeat when all is well.
"""

from typing import Final

from raftq_k8s.state.commands import Delete, Operation, Patch, Put, Replace
from raftq_k8s.state.keys import Keys
from raftq_k8s.state.merge_patch import Merging, is_object, members_of
from raftq_k8s.state.sizes import BRACES, member_size

MERGED_BYTES: Final = 32 << 20
"""That one command may look through to merge, with `MEMBER_BYTES` for each member among them: what takes longer would
let a leader miss its heartbeats, on all members at once. The same on every member, because it decides what a command
does: not a setting."""


class NoKeys(Exception):
    """An operation names a key, but what the ones before left is no object."""


class Draft:
    def __init__(self, keys: Keys | None, size_bytes: int) -> None:
        """Of a document with those keys (`None`: it is no object), so long."""
        self.size_bytes = size_bytes
        self.replaced = False
        """The document is to be another one: none of its keys stays."""
        self.text: bytes | None = None
        """What it is to be, where it is replaced, and by no object."""
        self.steps: list[tuple[str, bytes | None]] = []
        """On the keys of the document, or on none where it is replaced by an object."""
        self.patched = False
        """By a patch, were it one that changes nothing: that counts as a put of the same value does."""
        self._keys = keys
        self._merging = Merging(MERGED_BYTES)
        self._count = len(keys) if keys is not None else 0
        self._changed: dict[str, bytes | None] = {}

    @property
    def looked_through_bytes(self) -> int:
        return self._merging.looked_through_bytes

    def carry_out(self, operation: Operation) -> bool:
        """Whether what it changes existed. Raises `NoKeys`, `TooMuch`, and `ValueError` or
        `RecursionError` for what is no JSON; the draft is of no use then."""
        match operation:
            case Put(key, value):
                return self._put(key, value)
            case Delete(key):
                return self._delete(key)
            case Replace(text):
                self._replace(text)
            case Patch(patch):
                self._merge(patch)
        return True

    def _get(self, key: str) -> bytes | None:
        if key in self._changed:
            return self._changed[key]
        if self._keys is None:
            raise NoKeys
        held = self._keys.get(key)
        return None if held is None else held[0]

    def _put(self, key: str, value: bytes) -> bool:
        before = self._get(key)
        if before is None:
            self.size_bytes += member_size(key, value) + (self._count > 0)
            self._count += 1
        else:
            self.size_bytes += len(value) - len(before)
        self._step(key, value)
        return before is not None

    def _delete(self, key: str) -> bool:
        before = self._get(key)
        if before is None:
            return False
        self._count -= 1
        self.size_bytes -= member_size(key, before) + (self._count > 0)
        self._step(key, None)
        return True

    def _step(self, key: str, value: bytes | None) -> None:
        self._changed[key] = value
        self.steps.append((key, value))

    def _replace(self, text: bytes) -> None:
        members = members_of(text) if is_object(text) else None
        self.replaced = True
        self._changed, self.steps, self._count = {}, [], 0
        if members is None:
            self._keys, self.text, self.size_bytes = None, text, len(text)
            return
        self._keys, self.text, self.size_bytes = Keys(), None, BRACES
        for key, value in members.items():
            self._put(key, value)

    def _merge(self, patch: bytes) -> None:
        self.patched = True
        if not is_object(patch):
            self._replace(patch)
            return
        members = members_of(patch)
        if self._keys is None:
            self._replace(b"{}")
        for key, value in members.items():
            if value == b"null":
                self._delete(key)
            elif (after := self._merging.merged(self._get(key), value)) is not None:
                self._put(key, after)
