"""How much an answer knows: `?consistency=`.

`linearizable`, the default: everything that was acknowledged anywhere before the read came in. Any node can say so: it
asks the leader for a read index, and answers from its own state once that has come so far (dissertation §6.4). `lease`:
the same as long as no clock in the cluster runs much faster than others; the leader then answers without asking around,
and another node as above. `local`: what this node has applied, whoever leads; the past perhaps, never what is not
committed. It waits for the first catching up after a start, and asks nobody.
"""

from raftq_k8s.api.problems import RETRY_AFTER, Problem
from raftq_k8s.api.requests import Request
from raftq_k8s.api.views import Node
from raftq_k8s.node.errors import NoLeader


class Reads:
    def __init__(self, node: Node, timeout_s: float) -> None:
        """`timeout_s`: so long a read waits for somebody who leads."""
        self._node = node
        self._timeout_s = timeout_s
        self._caught_up = False

    async def begin(self, request: Request) -> None:
        """When this returns the document may be read, before anything else is awaited. Raises `Problem` or
        `Overloaded`."""
        try:
            await self._begin(request)
        except NoLeader:
            detail = "nobody leads, or whoever leads cannot be reached; ?consistency=local shows what this node has"
            raise Problem(503, "no-leader", "No leader", detail, headers=RETRY_AFTER) from None

    async def _begin(self, request: Request) -> None:
        asks = bool(request.query_string)
        match request.query.get("consistency", "linearizable") if asks else "linearizable":
            case "linearizable":
                await self._node.read(self._timeout_s)
            case "lease":
                await self._node.leased_read(self._timeout_s)
            case "local":
                self._check_caught_up()
            case _:
                detail = "consistency is one of linearizable, lease, local"
                raise Problem(400, "bad-consistency", "Bad consistency", detail)

    def _check_caught_up(self) -> None:
        self._caught_up = self._caught_up or self._node.status().caught_up
        if not self._caught_up:
            detail = "this node has not caught up since its start, and would show you the past"
            raise Problem(503, "not-caught-up", "Not caught up", detail, headers=RETRY_AFTER)
