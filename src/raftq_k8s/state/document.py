"""One JSON document, driven by the commands of the log that `machine.py` reads.

Values stay the bytes they came as. A document that is an object is held key by key, each with its encoded value and
the index of its last change; any other JSON value is held as one piece. The whole is put together by concatenation,
so what enters must be JSON: whoever makes a command checks that (`json_text.py`); here nothing is parsed but the
outermost braces.

Everything is decided by the log alone, so that replicas agree to the byte: keys stand in the order of their
insertion, the size that is bounded is the length of the whole as `whole()` returns it, and the bound has to be the
same on every member.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from raftq_k8s.raft.types import NO_INDEX, Index
from raftq_k8s.state.commands import (
    Applied,
    Condition,
    Delete,
    DocumentCommand,
    DocumentRefusal,
    DocumentResult,
    NotAnObject,
    NotAsExpected,
    Operation,
    Patch,
    Put,
    PutIf,
    Replace,
    TooBig,
    TooMuchToMerge,
    Transacted,
    Transaction,
)
from raftq_k8s.state.draft import MERGED_BYTES, Draft, NoKeys
from raftq_k8s.state.journal import Journal
from raftq_k8s.state.keys import Held, Keys
from raftq_k8s.state.merge_patch import TooMuch
from raftq_k8s.state.sizes import BRACES, encode_key, member_size

LIMIT_BYTES: Final = 64 << 20
"""The same on every member, whatever it is configured with, because it decides what a command does: not a setting."""


class DocumentIsNotAnObject(Exception):
    """A key was asked for, but the document is some other JSON value."""


class UnreadableCommand(Exception):
    """The log holds a command that this release cannot read: it must not go on. Upgrade it, or check the volume."""

    def __init__(self, index: Index, reason: str) -> None:
        super().__init__(f"the command at index {index} cannot be read ({reason}): was it written by a newer release?")
        self.index = index


class DocumentPicture(msgspec.Struct, frozen=True):
    """A document as it was at one moment. `segments` are its keys in order; `None` where it is no object but `text`."""

    applied_index: Index
    changed: Index
    segments: tuple[dict[str, Held], ...] | None
    text: bytes


class Document:
    """Begins as the empty object. `limit_bytes` bounds the length of the whole."""

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self.size_bytes = BRACES
        """The length of what `whole()` returns."""
        self.applied_index: Index = NO_INDEX
        """The last command, whether it changed anything or not. Entries without a command do not count."""
        self._keys: Keys | None = Keys()
        self._text = b""  # the document, where it is no object and `_keys` is None
        self._changed: Index = NO_INDEX
        self.journal = Journal()
        """What changed lately."""
        self.looked_through_bytes = 0
        """By all patches since the start: so whoever applies many of them knows when it has worked for long enough."""

    def apply(self, index: Index, command: DocumentCommand) -> DocumentResult:
        """Raises `UnreadableCommand` for what is no JSON though it has to be, and has then changed nothing."""
        match command:
            case Put(key, value):
                return self._put(index, key, value)
            case PutIf(key, value, expected):
                return self._put_if(index, key, value, expected)
            case Delete(key):
                return self._delete(index, key)
            case Replace() | Patch():
                done = self._carry_out(index, (command,))
                return Applied(index, *done) if isinstance(done, tuple) else done
            case Transaction(conditions, operations):
                return self._transact(index, conditions, operations)

    def get(self, key: str) -> Held | None:
        """The encoded value and its revision, or `None`. Raises `DocumentIsNotAnObject`."""
        if self._keys is None:
            raise DocumentIsNotAnObject("the document is not an object, so it has no keys")
        return self._keys.get(key)

    @property
    def revision(self) -> int:
        """That of its last change; 0 before the first."""
        return self._changed

    def items(self) -> Iterator[tuple[str, Held]]:
        """All keys in their order. Raises `DocumentIsNotAnObject`."""
        if self._keys is None:
            raise DocumentIsNotAnObject("the document is not an object, so it has no keys")
        return self._keys.items()

    def whole(self) -> tuple[bytes, int]:
        """The document as JSON, and the revision of its last change (0 before the first)."""
        if self._keys is None:
            return self._text, self._changed
        members = [encode_key(key) + b":" + value for key, (value, _) in self._keys.items()]
        return b"{" + b",".join(members) + b"}", self._changed

    def picture(self) -> DocumentPicture:
        segments = None if self._keys is None else self._keys.freeze()
        return DocumentPicture(self.applied_index, self._changed, segments, self._text)

    # ---------------------------------------------------------------------------------------------- out of a snapshot

    def restore(self, applied_index: Index, changed: Index, text: bytes | None) -> None:
        """A blank document becomes that text, or where there is none an object whose keys `restore_key` brings."""
        self.applied_index, self._changed = applied_index, changed
        self.journal = Journal(changed)
        if text is not None:
            self._keys, self._text, self.size_bytes = None, text, len(text)

    def restore_key(self, key: str, held: Held) -> bool:
        """One more, in their order. False for one that cannot be there."""
        if self._keys is None or self._keys.get(key) is not None:
            return False
        self.size_bytes += self._grown_by(key, held[0])
        self._keys.put(key, held)
        return True

    # ------------------------------------------------------------------------------------------------------- commands

    def _put(self, index: Index, key: str, value: bytes) -> DocumentResult:
        if self._keys is None:
            return NotAnObject(index)
        before = self._keys.get(key)
        growth = self._grown_by(key, value) if before is None else len(value) - len(before[0])
        if self.size_bytes + growth > self.limit_bytes:
            return TooBig(index, self.limit_bytes)
        self._keys.put(key, (value, index))
        self.size_bytes += growth
        self._changed = index
        self.journal.add(index, key, value)
        return Applied(index, existed=before is not None)

    def _put_if(self, index: Index, key: str, value: bytes, expected: int) -> DocumentResult:
        if self._keys is None:
            return NotAnObject(index)
        held = self._keys.get(key)
        found = NO_INDEX if held is None else held[1]
        return self._put(index, key, value) if found == expected else NotAsExpected(index, found)

    def _delete(self, index: Index, key: str) -> DocumentResult:
        if self._keys is None:
            return NotAnObject(index)
        before = self._keys.pop(key)
        if before is None:
            return Applied(index, existed=False)
        self.size_bytes -= self._grown_by(key, before[0])
        self._changed = index
        self.journal.add(index, key, None)
        return Applied(index, existed=True)

    def _grown_by(self, key: str, value: bytes) -> int:
        """What a key that is not there adds to the whole: itself, and a comma beside others."""
        return member_size(key, value) + bool(self._keys)

    # ------------------------------------------------------------------------------------------- of several steps each

    def _transact(
        self, index: Index, conditions: tuple[Condition, ...], operations: tuple[Operation, ...]
    ) -> DocumentResult:
        for number, condition in enumerate(conditions):
            if condition.key is None:
                found = self._changed
            elif self._keys is None:
                return NotAnObject(index)
            else:
                held = self._keys.get(condition.key)
                found = NO_INDEX if held is None else Index(held[1])
            if not condition.holds(found):
                return NotAsExpected(index, found, number)
        done = self._carry_out(index, operations)
        return Transacted(index, done) if isinstance(done, tuple) else done

    def _carry_out(self, index: Index, operations: tuple[Operation, ...]) -> tuple[bool, ...] | DocumentRefusal:
        """Whether each found there what it changes."""
        draft = Draft(self._keys, self.size_bytes)
        try:
            existed = tuple([draft.carry_out(operation) for operation in operations])
        except NoKeys:
            return NotAnObject(index)
        except TooMuch:
            return TooMuchToMerge(index, MERGED_BYTES)
        except (ValueError, RecursionError) as error:
            raise UnreadableCommand(index, str(error)) from error
        finally:
            self.looked_through_bytes += draft.looked_through_bytes
        if draft.size_bytes > self.limit_bytes:
            return TooBig(index, self.limit_bytes)
        self._become(index, draft)
        return existed

    def _become(self, index: Index, draft: Draft) -> None:
        if draft.replaced:
            self._keys, self._text = (Keys(), b"") if draft.text is None else (None, draft.text)
        for key, value in draft.steps:
            assert self._keys is not None  # a document that is no object has no steps
            if value is None:
                self._keys.pop(key)
            else:
                self._keys.put(key, (value, index))
        self.size_bytes = draft.size_bytes
        if draft.replaced:
            self._changed = index
            self.journal.add(index, None, self.whole()[0])
        elif draft.steps or draft.patched:
            self._changed = index
            for key, value in draft.steps:
                self.journal.add(index, key, value)
