"""The end of an agent that is asked to stop, so that nobody who uses the cluster notices.

In this order, each for a bounded time:

 1. It will not be elected any more, and tells HTTP clients to come back on another connection.
 2. It waits while its end would leave no quorum of connected voters: somebody else is just coming back.
 3. An application beside it stops, and the log is told so: then nobody who leads next has to wait for it.
 4. If it leads, another voter leads instead, and only then is its own label taken off (that of an application, which
    serves nobody any more, went with it).
 5. It goes on forwarding for a while: routes still lead here, for whoever keeps them is told, and then needs its time.

What follows, closing, is the caller's. Whatever asks first (a signal, `POST /v1/drain`, the pod's deletion) begins it;
whoever asks later waits for the same. It cannot be taken back: the next process of this member begins anew.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from raftq_k8s.node.errors import NotLeader, NotStarted, TransferFailed
from raftq_k8s.node.status import NodeStatus
from raftq_k8s.raft.consensus import TransferRefused
from raftq_k8s.raft.quorum import majority
from raftq_k8s.raft.types import MemberId

log = logging.getLogger(__name__)

TRANSFER_PATIENCE = 4
"""So many of the longest election times a leader tries to hand over before it ends."""
QUORUM_WAIT_S, ENDPOINT_SETTLE_S = 10.0, 3.0
"""In a pod. Elsewhere nobody keeps routes, and whoever stops a process wants it to end."""

_LOOK_AGAIN_S = 0.1


class Node(Protocol):
    """`Raftq`, as its end needs it."""

    def status(self) -> NodeStatus: ...

    def set_eligible(self, eligible: bool) -> None: ...

    async def transfer(self, target: MemberId | None, timeout_s: float) -> MemberId: ...


class Patience(msgspec.Struct, frozen=True):
    """How long each step may take, in seconds."""

    quorum: float
    transfer: float
    settle: float
    """Not a bound but a length: so long it forwards what still comes here."""


class Departure:
    def __init__(
        self,
        node: Node,
        patience: Patience,
        *,
        turn_clients_away: Callable[[], None],
        successor: Callable[[], MemberId | None],
        stop_application: Callable[[], Awaitable[None]],
        release: Callable[[], Awaitable[None]],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`successor` says who is to lead, or `None` for whoever Raft thinks best. `stop_application` and `release`,
        which takes the label off, bound themselves."""
        self._node = node
        self._patience = patience
        self._turn_clients_away = turn_clients_away
        self._successor = successor
        self._stop_application = stop_application
        self._release = release
        self._sleep = sleep
        self._work: asyncio.Task[None] | None = None

    def begin(self, reason: str) -> "asyncio.Task[None]":
        """Ends when nothing looks for this process any more."""
        if self._work is None:
            log.info("leaving: %s", reason)
            self._work = asyncio.create_task(self._leave(), name="departure")
        return self._work

    async def carry_out(self, reason: str) -> None:
        """Begin it, and wait for its end. A caller that is cancelled does not end it."""
        await asyncio.shield(self.begin(reason))

    async def abandon(self) -> None:
        """Whatever is left of it is not done any more."""
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)

    async def _leave(self) -> None:
        self._turn_clients_away()
        await self._wait_for_a_quorum_without()
        try:
            await self._stop_application()
        except Exception:  # of a hook, or whatever is wrong with it: the leadership is handed over all the same
            log.exception("the application could not be stopped")
        await self._hand_over()
        try:
            await self._release()
        except Exception:  # then the next leader takes it off; what is asked here is answered all the same
            log.exception("the label could not be taken off")
        await self._sleep(self._patience.settle)

    async def _wait_for_a_quorum_without(self) -> None:
        if not needed(self._node.status()):
            return
        log.warning("waiting: without this member there would be no majority of connected voters")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._patience.quorum):
                while needed(self._node.status()):
                    await self._sleep(_LOOK_AGAIN_S)

    async def _hand_over(self) -> None:
        try:
            self._node.set_eligible(False)
            async with asyncio.timeout(self._patience.transfer):
                wanted = self._successor()
                while True:
                    try:
                        successor = await self._node.transfer(wanted, self._patience.transfer)
                    except (TransferRefused, TransferFailed) as error:
                        log.info("the leadership stays here for now: %s", error)
                        wanted = None
                        if not _others(self._node.status()):
                            return
                        await self._sleep(_LOOK_AGAIN_S)
                    else:
                        log.info("handed over to %s", successor)
                        return
        except (NotLeader, NotStarted):
            return
        except TimeoutError:
            log.warning("nobody took the leadership over in time: the others elect when this process is gone")


def needed(status: NodeStatus) -> bool:
    """Whether there is a majority with this voter and none without it, and somebody who could mend that is away. Where
    there is no majority anyhow, its end changes nothing; where all are there, there is nobody to wait for."""
    others, voters = len(_others(status)), len(status.voters)
    return status.member in status.voters and others + 1 == majority(voters) and others < voters - 1


def _others(status: NodeStatus) -> set[MemberId]:
    return set(status.connected) - {status.member}
