"""An event loop whose time jumps to the next timer as soon as there is nothing else to do: minutes pass in no time,
and the same test takes the same course each time."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _JumpingSelector(selectors.SelectSelector):
    jump: Callable[[float], None]

    def select(self, timeout: float | None = None) -> Any:
        if timeout is not None and timeout > 0:
            self.jump(timeout)
            timeout = 0
        return super().select(timeout)


class FakeTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        selector = _JumpingSelector()
        selector.jump = self._jump
        self._now_s = 1000.0
        super().__init__(selector)

    def _jump(self, seconds: float) -> None:
        self._now_s += seconds

    def time(self) -> float:
        return self._now_s

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """At once and on this thread, so that no time passes meanwhile."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future


def run(test: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=FakeTimeLoop) as runner:
        return runner.run(test)


def clock() -> float:
    """Milliseconds of the running loop."""
    return asyncio.get_running_loop().time() * 1000.0


async def until(condition: Callable[[], bool], within_ms: float = 20_000) -> None:
    deadline = clock() + within_ms
    while not condition():
        assert clock() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.005)
