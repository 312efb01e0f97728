"""The keys of a document in the order of their insertion, held so that taking a picture of them costs next to nothing.

A copy of one dict of 500,000 keys stalls a node for as long as the kernel takes to find the memory, and so does its
growth past a power of two. So the keys stand in segments, each a dict of its own. Freezing hands out the segments as
they are; from then on whoever changes one copies it first, and puts the copy in its place. A key that is changed stays
where it is, one that is removed and put again goes to the end: the order is that of a single dict. Where a key stands
is looked up in one of many small dicts.
"""

from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

Held: TypeAlias = tuple[bytes, int]
"""A value, encoded, and the revision of its last change."""

SEGMENT: Final = 512
"""Keys, at the most: a copy of so many takes some microseconds."""

SHELVES: Final = 256
"""Which one a key stands in is by its hash, another one in each process: nothing that is said depends on it."""


class Keys:
    __slots__ = ("_last", "_length", "_segments", "_shared", "_where")

    def __init__(self, items: Iterable[tuple[str, Held]] = ()) -> None:
        self._where: tuple[dict[str, int], ...] = tuple({} for _ in range(SHELVES))
        """The number of each key's segment. A later segment has a higher number, and no segment is empty."""
        self._length = 0
        self._segments: dict[int, dict[str, Held]] = {}
        self._shared: set[int] = set()
        """The segments that a frozen picture holds too."""
        self._last = 0
        for key, held in items:
            self.put(key, held)

    def __len__(self) -> int:
        return self._length

    def get(self, key: str) -> Held | None:
        number = self._where[hash(key) % SHELVES].get(key)
        return None if number is None else self._segments[number][key]

    def put(self, key: str, held: Held) -> None:
        shelf = self._where[hash(key) % SHELVES]
        number = shelf.get(key)
        if number is None:
            number = shelf[key] = self._with_room()
            self._length += 1
        self._own(number)[key] = held

    def pop(self, key: str) -> Held | None:
        number = self._where[hash(key) % SHELVES].pop(key, None)
        if number is None:
            return None
        self._length -= 1
        segment = self._own(number)
        held = segment.pop(key)
        if not segment:
            del self._segments[number]
        return held

    def items(self) -> Iterator[tuple[str, Held]]:
        for segment in self._segments.values():
            yield from segment.items()

    def freeze(self) -> tuple[dict[str, Held], ...]:
        """All there is now, in order. These dicts never change again."""
        self._shared.update(self._segments)
        return tuple(self._segments.values())

    def _with_room(self) -> int:
        last = self._segments.get(self._last)
        if last is None or len(last) >= SEGMENT:
            self._last += 1
            self._segments[self._last] = {}
        return self._last

    def _own(self, number: int) -> dict[str, Held]:
        segment = self._segments[number]
        if number in self._shared:
            self._shared.discard(number)
            segment = self._segments[number] = segment.copy()
        return segment
