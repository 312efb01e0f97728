"""The event bus: who listens to what, and how it is delivered without ever holding up the node.

Each listener has lanes of its own, one for each destination where an event has one: a lane delivers one message after
the other, and is bounded. Where a listener is slower than what happens, the oldest in its lane are dropped; of
`roleChanged` only the latest is kept, so a listener that was busy hears what is, not what was. A delivery to a
destination that takes several times the message's time-out is given up. What a listener raises is logged.

An ordinary function is called on the event loop and must not block; a coroutine function may take its time.
"""

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from raftq_k8s.node.events import RaftEvent
from raftq_k8s.raft.types import MemberId, Milliseconds

Listener: TypeAlias = Callable[..., Awaitable[None] | None]
Unsubscribe: TypeAlias = Callable[[], None]

_PATIENCE = 5
"""So many times its time-out a message may take to be delivered: by then its receiver has long given up on it."""

_LANE_BOUNDS = {RaftEvent.ROLE_CHANGED: 1, RaftEvent.LOG: 1000}
_MESSAGE_LANE_BOUND = 64

_log = logging.getLogger(__name__)


class _Lane:
    """Delivers to one listener, in order, from a task that lives as long as the subscription."""

    def __init__(self, event: RaftEvent, listener: Listener) -> None:
        self._event = event
        self._listener = listener
        self._queue: deque[tuple[object, Milliseconds | None]] = deque(
            maxlen=_LANE_BOUNDS.get(event, _MESSAGE_LANE_BOUND)
        )
        self._filled = asyncio.Event()
        self._task = asyncio.create_task(self._deliver_all(), name=f"raftq {event}")

    def put(self, message: object, timeout_ms: Milliseconds | None) -> None:
        self._queue.append((message, timeout_ms))
        self._filled.set()

    def close(self) -> None:
        self._task.cancel()

    async def _deliver_all(self) -> None:
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._queue:
                await self._deliver(*self._queue.popleft())

    async def _deliver(self, message: object, timeout_ms: Milliseconds | None) -> None:
        limit_s = None if timeout_ms is None else _PATIENCE * timeout_ms / 1000.0
        try:
            async with asyncio.timeout(limit_s):
                await call(self._listener, message)
        except Exception as error:  # it is the application's; the node goes on
            _log.warning("a listener of %s failed: %r", self._event, error)


async def call(listener: Listener, message: object) -> None:
    answer = listener(message)
    if inspect.isawaitable(answer):
        await answer


class _Subscription:
    def __init__(self, event: RaftEvent, listener: Listener) -> None:
        self._event = event
        self.listener = listener
        self._lanes: dict[MemberId | None, _Lane] = {}

    def put(self, message: object, destination: MemberId | None, timeout_ms: Milliseconds | None) -> None:
        lane = self._lanes.get(destination)
        if lane is None:
            lane = self._lanes[destination] = _Lane(self._event, self.listener)
        lane.put(message, timeout_ms)

    def close(self) -> None:
        for lane in self._lanes.values():
            lane.close()
        self._lanes.clear()


class Bus:
    def __init__(self) -> None:
        self._subscriptions: dict[RaftEvent, list[_Subscription]] = {event: [] for event in RaftEvent}

    def subscribe(self, event: RaftEvent, listener: Listener) -> Unsubscribe:
        subscription = _Subscription(event, listener)
        self._subscriptions[event].append(subscription)

        def unsubscribe() -> None:
            if subscription in self._subscriptions[event]:
                self._subscriptions[event].remove(subscription)
                subscription.close()

        return unsubscribe

    def emit(
        self,
        event: RaftEvent,
        message: object,
        destination: MemberId | None = None,
        timeout_ms: Milliseconds | None = None,
    ) -> None:
        """Put it on the lanes of whoever listens, and return at once."""
        for subscription in self._subscriptions[event]:
            subscription.put(message, destination, timeout_ms)

    async def dispatch(self, event: RaftEvent, message: object) -> None:
        """The application's own dispatch: every listener is awaited, and what one raises comes back to the application
        once all were called."""
        subscriptions = tuple(self._subscriptions[event])
        outcomes = await asyncio.gather(
            *(call(subscription.listener, message) for subscription in subscriptions), return_exceptions=True
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    def close(self) -> None:
        """End all lanes; who is in the middle of a delivery is cancelled."""
        for subscriptions in self._subscriptions.values():
            for subscription in subscriptions:
                subscription.close()
            subscriptions.clear()
