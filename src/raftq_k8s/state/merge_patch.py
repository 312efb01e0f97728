"""JSON merge patch (RFC 7396) on texts: what a patch does not touch stays as its author wrote it.

A patch that is an object says what becomes of the members that it names: `null` takes one away, an object is merged
into what is there, anything else takes its place. Any other patch is the new value itself. Only an object that gains,
loses or changes a member is put together anew, of its members' names and texts; so numbers keep their digits, and every
replica comes to the same bytes.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from raftq_k8s.state.sizes import encode_key

MEMBER_BYTES: Final = 128
"""A member takes as long to look at as so many bytes of a string. What is counted is colons, for that is quick."""

_split = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def is_object(text: bytes) -> bool:
    """Whether a JSON text without white space around it is an object."""
    return text.startswith(b"{")


def members_of(text: bytes) -> dict[str, bytes]:
    """The members of an object, each as it is written. Of a name that occurs twice the last one counts. Raises
    `ValueError` (or `RecursionError`) for what is no JSON."""
    return {name: bytes(value) for name, value in _split(text).items()}


class TooMuch(Exception):
    """The merge would look through more bytes than it may."""


class Merging:
    """Merges of one command. Every object that a patch reaches into is looked through, and so is each one within it: of
    a deep value all of it, again and again. `most_bytes` bounds the sum, members included, for all else waits
    meanwhile."""

    def __init__(self, most_bytes: int) -> None:
        self._left = self._most = most_bytes

    @property
    def looked_through_bytes(self) -> int:
        return self._most - self._left

    def merged(self, target: bytes | None, patch: bytes) -> bytes | None:
        """What comes of `target` (`None`: there is nothing yet), or `None` where the patch changes nothing of it.

        Raises `TooMuch`, and what `members_of` does.
        """
        if not is_object(patch):
            return patch
        had = target if target is not None and is_object(target) else None
        if had is None and b"null" not in patch:
            return patch
        members = self._members_of(had) if had is not None else {}
        changed = had is None
        for name, value in self._members_of(patch).items():
            if value == b"null":
                changed |= members.pop(name, None) is not None
            elif (after := self.merged(members.get(name), value)) is not None:
                members[name] = after
                changed = True
        return _joined(members) if changed else None

    def _members_of(self, text: bytes) -> dict[str, bytes]:
        self._left -= len(text) + MEMBER_BYTES * text.count(b":")
        if self._left < 0:
            raise TooMuch
        return members_of(text)


def _joined(members: Mapping[str, bytes]) -> bytes:
    return b"{" + b",".join([encode_key(name) + b":" + value for name, value in members.items()]) + b"}"
