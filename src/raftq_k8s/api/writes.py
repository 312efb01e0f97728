"""From a command to what came of it: committed and applied, or why not.

With `Idempotency-Key: SESSION/SEQUENCE` (the session is one of `sessions.py`, in quotes or without) the command travels
in that session: however often it comes, on whatever node, it takes effect once, and each time the first answer is
given.
"""

import re

from raftq_k8s.api.problems import Problem, refused_by_document
from raftq_k8s.api.requests import Request
from raftq_k8s.api.views import Node
from raftq_k8s.raft.types import MemberId
from raftq_k8s.state import commands
from raftq_k8s.state.commands import Applied, DocumentCommand, InSession, Transacted

IDEMPOTENCY_KEY = "Idempotency-Key"

_HIGHEST = (1 << 63) - 1
_SESSION_AND_SEQUENCE = re.compile(r'("?)([0-9]{1,19})/([0-9]{1,19})\1')


class Writes:
    def __init__(self, node: Node, timeout_s: float) -> None:
        """`timeout_s`: so long a write waits to be committed."""
        self._node = node
        self._timeout_s = timeout_s
        self._leader: MemberId | None = None
        self._leader_header = b""

    async def carry_out(self, request: Request, command: DocumentCommand) -> Applied | Transacted:
        """Raises `Problem`, and what `Node.submit` raises."""
        carried: DocumentCommand | InSession = command
        if IDEMPOTENCY_KEY in request.headers:  # more than one make none
            carried = _in_session(", ".join(request.headers.getall(IDEMPOTENCY_KEY)), command)
        result = await self._node.submit(carried, self._timeout_s)
        if isinstance(result, Applied | Transacted):
            return result
        raise refused_by_document(result, command)

    def headers_of_leader(self) -> bytes:
        """The header line that names it, where one is known."""
        leader = self._node.standing().leader
        if leader != self._leader:
            self._leader = leader
            self._leader_header = b"" if leader is None else b"X-Raftq-Leader: %s\r\n" % _header_value(leader)
        return self._leader_header


def _in_session(idempotency_key: str, command: DocumentCommand) -> InSession:
    found = _SESSION_AND_SEQUENCE.fullmatch(idempotency_key.strip())
    session, sequence = (int(found[2]), int(found[3])) if found else (_HIGHEST + 1, 0)
    if max(session, sequence) > _HIGHEST:
        detail = f"{IDEMPOTENCY_KEY} is SESSION/SEQUENCE: the session that POST /v1/sessions named, and a number"
        raise Problem(400, "bad-idempotency-key", "Bad idempotency key", detail)
    return InSession(session, sequence, commands.encode(command))


def _header_value(name: str) -> bytes:
    return "".join(character for character in name if character.isprintable()).encode("ascii", "replace")
