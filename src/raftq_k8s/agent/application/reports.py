"""A hook that says nothing and listens: the application asks what it is to do, and reports what it did.

It asks by `GET /v1/application`, where the lease stands too, and reports by `PUT /v1/application`: `promoted` when it
serves as the leader, `stopped` when it does so no more. One that never reports `stopped` has ended when the last lease
that it was shown has passed: until then it may rely on it.
"""

import asyncio

from raftq_k8s.agent.application.hooks import Notice
from raftq_k8s.agent.application.lease import Lease
from raftq_k8s.node.runtime import boottime
from raftq_k8s.raft.types import Instant, Milliseconds, Term


class Reports:
    name = "put"

    def __init__(self, stop_timeout: Milliseconds) -> None:
        self._promoted: asyncio.Future[None] | None = None
        self._stopped = asyncio.Event()
        self._term: Term | None = None
        self._until: Instant = boottime() + stop_timeout
        """A former life may have shown a lease that lasts so long."""

    async def start(self, notice: Notice, lease: Lease) -> None:
        self._term, self._until = notice.term, lease.kill_at
        self._stopped.clear()
        self._promoted = asyncio.get_running_loop().create_future()
        await self._promoted

    async def stop(self, notice: Notice) -> None:
        pass  # it is there to be asked for

    async def ended(self) -> None:
        try:
            async with asyncio.timeout(max(0.0, self._until - boottime()) / 1000):
                await self._stopped.wait()
        except TimeoutError:
            pass

    async def tell(self, notice: Notice) -> None:
        pass

    async def renew(self, notice: Notice, lease: Lease) -> None:
        self._until = lease.kill_at

    def promoted(self, term: Term) -> None:
        if term == self._term and self._promoted is not None and not self._promoted.done():
            self._promoted.set_result(None)

    def stopped(self) -> None:
        """Of the term that was started last, or of a former life."""
        self._stopped.set()


class Promotions(Reports):
    """The application reports when it serves; when it has ended, a watchdog knows better."""

    async def ended(self) -> None:
        pass
