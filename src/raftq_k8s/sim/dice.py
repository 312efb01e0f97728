"""The simulator's dice: the core's own generator, split into streams that do not disturb each other."""

from collections.abc import Sequence
from typing import TypeVar

from raftq_k8s.raft import randomness

T = TypeVar("T")

_SCATTER = 0xD1342543DE82EF95


class Dice(randomness.Dice):
    __slots__ = ()

    def __init__(self, seed: int, stream: int = 0) -> None:
        """Streams of one seed have nothing to do with each other: what one of them is asked does not move the rest."""
        super().__init__((seed * _SCATTER) ^ (stream * 0xA0761D6478BD642F))
        self.between(0.0, 1.0)

    def chance(self, probability: float) -> bool:
        return self.between(0.0, 1.0) < probability

    def below(self, bound: int) -> int:
        return int(self.between(0.0, bound))

    def one_of(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def some_of(self, options: Sequence[T], count: int) -> list[T]:
        left = list(options)
        return [left.pop(self.below(len(left))) for _ in range(count)]
