"""How long something took, how often: counts between bounds, as a metrics page shows them.

One observation is a bisection and two additions, cheap enough for every write; whoever shows the counts adds them up.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence


class Distribution:
    """Of times in seconds. `bounds` rise; what is longer than the last of them is counted too."""

    __slots__ = ("_bounds", "_counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self.total += seconds

    def cumulated(self) -> Iterator[tuple[float, int]]:
        """Each bound with how many took so long at most; infinity comes last."""
        count = 0
        for bound, more in zip((*self._bounds, float("inf")), self._counts, strict=True):
            count += more
            yield bound, count
