"""Virtual time: what is to happen, in order. Of two things at one instant the one that was planned first is first."""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

from raftq_k8s.raft.types import Instant, Milliseconds


class Events:
    __slots__ = ("_heap", "_planned", "now", "steps")

    def __init__(self) -> None:
        self.now: Instant = 0.0
        self.steps = 0
        self._planned = 0
        self._heap: list[tuple[Instant, int, Callable[..., None], tuple[Any, ...]]] = []

    def at(self, instant: Instant, do: Callable[..., None], *arguments: Any) -> None:
        self._planned += 1
        heappush(self._heap, (instant, self._planned, do, arguments))

    def after(self, delay: Milliseconds, do: Callable[..., None], *arguments: Any) -> None:
        self._planned += 1
        heappush(self._heap, (self.now + delay, self._planned, do, arguments))

    def run_until(self, end: Instant, enough: Callable[[], bool] | None = None) -> bool:
        """Let everything happen that is due by `end`, or until it is `enough`; says whether it was."""
        heap = self._heap
        while heap and heap[0][0] <= end:
            self.now, _, do, arguments = heappop(heap)
            self.steps += 1
            do(*arguments)
            if enough is not None and enough():
                return True
        self.now = max(self.now, end)
        return False
