"""Sessions over HTTP: what a client opens that wants each of its writes to take effect exactly once.

`POST /v1/sessions` opens one, through the log; its id goes into `Idempotency-Key` (`writes.py`), beside a sequence that
the client counts upwards. A client that lost the answer to a POST opens another one: the first expires by itself.
`DELETE /v1/sessions/ID` closes it, and does no harm when it has been done before.
"""

import re

from raftq_k8s.api.answers import Answer, json_answer
from raftq_k8s.api.problems import Problem
from raftq_k8s.api.redirects import asked_elsewhere
from raftq_k8s.api.requests import Request
from raftq_k8s.api.views import Node
from raftq_k8s.state.commands import CloseSession, OpenSession
from raftq_k8s.state.sessions import IDLE_MS, WINDOW

_NUMBER = re.compile(r"[0-9]{1,19}")
_HIGHEST = (1 << 63) - 1


class Sessions:
    def __init__(self, node: Node, timeout_s: float) -> None:
        self._node = node
        self._timeout_s = timeout_s

    async def open(self, request: Request) -> Answer:
        if (elsewhere := asked_elsewhere(self._node, request)) is not None:
            return elsewhere
        opened = await self._node.submit(OpenSession(), self._timeout_s)
        location = b"Location: /v1/sessions/%d\r\n" % opened.session
        told = {"session": opened.session, "idle_ms": IDLE_MS, "window": WINDOW}
        return json_answer(201, told, location)

    async def close(self, request: Request, session: str) -> Answer:
        if not _NUMBER.fullmatch(session) or int(session) > _HIGHEST:
            raise Problem(404, "no-such-session", "No such session", "a session is a number, as POST named it")
        if (elsewhere := asked_elsewhere(self._node, request)) is not None:
            return elsewhere
        await self._node.submit(CloseSession(int(session)), self._timeout_s)
        return Answer(204, b"")
