"""What a hook is: one way of telling the application beside this node what it is to do.

A hook carries out and reports; what is to be done, and when, is the lease's business (`lease.py`). Every hook may be
told to stop when nothing runs, and told the same twice.
"""

from typing import Literal, Protocol

import msgspec

from raftq_k8s.agent.application.lease import Lease
from raftq_k8s.raft.types import MemberId, Term

Role = Literal["leader", "follower"]


class HookFailed(Exception):
    """What was asked for was not done, or nobody knows whether it was. The message says which hook, and why."""


class Notice(msgspec.Struct, frozen=True):
    """What the application is told."""

    role: Role
    """What this node is to be taken for."""
    term: Term
    """The fencing token."""
    member: MemberId
    leader: MemberId | None
    """As this node sees it; `None` while nobody is known to lead."""
    leader_address: str | None
    """Its HTTP face."""


class Hook(Protocol):
    """Each of these coroutines may be cancelled, and then leaves nothing of the hook itself running."""

    name: str

    async def start(self, notice: Notice, lease: Lease) -> None:
        """Returns when the application serves as the leader. Raises `HookFailed`."""

    async def stop(self, notice: Notice) -> None:
        """Returns when the application has been told to stop. Raises `HookFailed`."""

    async def ended(self) -> None:
        """Returns when, by all that this hook can know, the application does not run. Raises `HookFailed`."""

    async def tell(self, notice: Notice) -> None:
        """Another member leads, and nothing runs here. Raises `HookFailed`."""

    async def renew(self, notice: Notice, lease: Lease) -> None:
        """The application may run on. Raises `HookFailed`."""


def environment(notice: Notice) -> dict[str, str]:
    """For a process that is told by its environment."""
    return {
        "RAFTQ_ROLE": notice.role,
        "RAFTQ_TERM": str(notice.term),
        "RAFTQ_MEMBER": notice.member,
        "RAFTQ_LEADER": notice.leader or "",
        "RAFTQ_LEADER_ADDRESS": notice.leader_address or "",
    }
