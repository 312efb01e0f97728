"""The whole state as a file (`node/snapshot_file.py`): `GET /v1/snapshot`, for a backup (`docs/backup.md`).

The state of one moment, as this node has applied it; it is made while it is sent, and whoever reads slowly is cut off.
Its last part is a checksum over all others, and the chunked body has an end of its own: half a snapshot does not pass
for one.
"""

from itertools import chain

from raftq_k8s.api.answers import Answer, Response
from raftq_k8s.api.pieces import Pieces
from raftq_k8s.api.problems import RETRY_AFTER, Problem
from raftq_k8s.api.requests import Request
from raftq_k8s.api.views import Node
from raftq_k8s.node.snapshot_file import Heading

AT_A_TIME = 2
"""So many may be on their way: each holds the state of its moment in memory, as far as it has changed since."""
_PIECE_BYTES = 64 << 10
_TYPE = b"application/octet-stream"


class Snapshots:
    def __init__(self, node: Node) -> None:
        self._node = node
        self._on_their_way = 0

    async def get(self, request: Request) -> Response:
        status = self._node.status()
        if status.cluster is None:
            detail = "this node belongs to no cluster yet, and has nothing to show"
            raise Problem(503, "not-caught-up", "Not caught up", detail, headers=RETRY_AFTER)
        frozen, index = self._node.freeze()
        told = f"X-Raftq-Applied-Index: {index}\r\nX-Raftq-Term: {status.term}\r\nX-Raftq-Cluster: {status.cluster}\r\n"
        headers = told.encode("ascii", "replace")
        if request.method == "HEAD":
            return Answer(200, b"", _TYPE, headers)
        if self._on_their_way >= AT_A_TIME:
            detail = f"{AT_A_TIME} snapshots are on their way already"
            raise Problem(503, "too-many-readers", "Too many readers", detail, headers=RETRY_AFTER)
        self._on_their_way += 1
        try:
            heading = Heading(status.cluster, index, status.term).line()
            sent = Pieces(_TYPE, headers, chain((heading,), frozen.parts(_PIECE_BYTES)))
            await sent.send(request)
        finally:
            self._on_their_way -= 1
        return sent
