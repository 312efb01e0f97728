"""Who belongs to the cluster, and how each is doing; and by hand what a leader otherwise does by itself: remove a
member for good, make a learner a voter.

Any node says who the members are. How far each has come, and when it was last heard, only a leader knows; elsewhere
those are null. A change is for the leader: others send the client there.
"""

from urllib.parse import unquote

import msgspec

from raftq_k8s.api.answers import Answer, json_answer
from raftq_k8s.api.problems import Problem
from raftq_k8s.api.redirects import led_elsewhere
from raftq_k8s.api.requests import Request
from raftq_k8s.api.views import Node
from raftq_k8s.node.status import MemberStatus
from raftq_k8s.raft.membership import ChangeRefused, Member, Promote, Remove
from raftq_k8s.raft.types import Incarnation, MemberId, Term


class MemberList(msgspec.Struct, frozen=True):
    term: Term
    leader: MemberId | None
    members: tuple[MemberStatus, ...]


class Members:
    def __init__(self, node: Node, timeout_s: float) -> None:
        """`timeout_s`: so long a change waits to be committed."""
        self._node = node
        self._timeout_s = timeout_s

    async def list(self, request: Request) -> Answer:
        standing = self._node.standing()
        return json_answer(200, MemberList(standing.term, standing.leader, self._node.members()))

    async def remove(self, request: Request, raw: str) -> Answer:
        """That incarnation never comes back. A member that is to be taken in again needs an empty volume."""
        return led_elsewhere(self._node, request) or await self._changed(Remove(self._member(request, raw)))

    async def promote(self, request: Request, raw: str) -> Answer:
        return led_elsewhere(self._node, request) or await self._changed(Promote(self._member(request, raw)))

    def _member(self, request: Request, raw: str) -> Member:
        name = MemberId(unquote(raw, errors="replace"))
        asked = request.query.get("incarnation")
        for member in self._node.members():
            if member.name == name and asked in (None, member.incarnation):
                return Member(name, Incarnation(member.incarnation))
        named = f"{name} ({asked})" if asked is not None else name
        raise Problem(404, "no-such-member", "No such member", f"{named[:300]} is no member of this cluster")

    async def _changed(self, change: Remove | Promote) -> Answer:
        try:
            await self._node.change(change, self._timeout_s)
        except ChangeRefused as error:
            raise Problem(409, "change-refused", "Change refused", f"{error}; nothing was done") from None
        return json_answer(200, {"name": change.member.name, "incarnation": change.member.incarnation})
