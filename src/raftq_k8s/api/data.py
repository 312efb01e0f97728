"""The document over HTTP: `/v1/data` is the whole, `/v1/data/KEY` one key of it (`keys.py`). Values are JSON of any
kind, kept as they were sent.

A write is answered when it is committed and applied: 201 for a new key, else 200, with the revision in the body and as
ETag. What has to hold for it to happen is said by `conditions.py`, and how it happens once by `writes.py`. How much a
read knows is said by `reads.py`; `X-Raftq-Applied-Index` says how far the answer reaches: at or above the revision of a
write, it shows it.
"""

import asyncio
from collections.abc import Callable, Iterator
from functools import partial

from raftq_k8s.api import conditions
from raftq_k8s.api.answers import JSON, LARGE_BYTES, Answer, Response
from raftq_k8s.api.bodies import Bodies
from raftq_k8s.api.keys import key_of
from raftq_k8s.api.listings import listing, whole
from raftq_k8s.api.pieces import Pieces
from raftq_k8s.api.problems import RETRY_AFTER, Problem, document_is_no_object, not_json
from raftq_k8s.api.reads import Reads
from raftq_k8s.api.redirects import asked_elsewhere
from raftq_k8s.api.requests import Request
from raftq_k8s.api.views import Node
from raftq_k8s.api.writes import Writes
from raftq_k8s.state.commands import Applied, Delete, Operation, Patch, Put, Replace, Transaction
from raftq_k8s.state.document import DocumentIsNotAnObject
from raftq_k8s.state.json_text import NotJson, document_text, value_text

LARGE_READS = 4
"""So many copies of a large document may be on their way at a time."""

_ACCEPT_PATCH = b"Accept-Patch: application/merge-patch+json\r\n"


class Data:
    def __init__(self, node: Node, bodies: Bodies, reads: Reads, writes: Writes) -> None:
        self._node = node
        self._bodies = bodies
        self._reads = reads
        self._writes = writes
        self._large_reads = 0

    # ------------------------------------------------------------------------------------------------------ the whole

    async def get_whole(self, request: Request) -> Response:
        """All of it; or with `?prefix=` the keys that begin so, each with its revision."""
        if (elsewhere := asked_elsewhere(self._node, request)) is not None:
            return elsewhere
        await self._reads.begin(request)
        document = self._node.document
        if conditions.is_known(request, document.revision):
            return self._unchanged(document.revision)
        text, reach, size_bytes = self._text(request), self._reach(document.revision), document.size_bytes
        if size_bytes <= LARGE_BYTES:
            return Answer(200, b"".join(text()), JSON, reach)
        if self._large_reads >= LARGE_READS:
            detail = f"{LARGE_READS} others are reading the whole document right now"
            raise Problem(503, "too-many-readers", "Too many readers", detail, headers=RETRY_AFTER)
        self._large_reads += 1
        try:
            if "prefix" in request.query:
                size_bytes = await _counted(text())
            sent = Pieces(JSON, reach, text(), size_bytes)
            await sent.send(request)
        finally:
            self._large_reads -= 1
        return sent

    def _text(self, request: Request) -> Callable[[], Iterator[bytes]]:
        """In pieces, anew each time it is called; always as the document is now. Raises `Problem`."""
        picture, prefix = self._node.document.picture(), request.query.get("prefix")
        if picture.segments is not None:
            if prefix is None:
                return partial(whole, picture.segments)
            return partial(listing, picture.segments, prefix, picture.changed)
        if prefix is not None:
            raise document_is_no_object()
        return partial(iter, (picture.text,))

    async def put_whole(self, request: Request) -> Answer:
        if (elsewhere := asked_elsewhere(self._node, request)) is not None:
            return elsewhere
        return await self._written(request, None, Replace(await self._document(request)))

    async def patch_whole(self, request: Request) -> Answer:
        """A merge patch (RFC 7396)."""
        if request.content_type == "application/json-patch+json":
            detail = "a patch is a merge patch (RFC 7396), not a JSON patch; nothing was done"
            raise Problem(415, "not-a-merge-patch", "Not a merge patch", detail, headers=_ACCEPT_PATCH)
        if (elsewhere := asked_elsewhere(self._node, request)) is not None:
            return elsewhere
        return await self._written(request, None, Patch(await self._document(request)))

    async def _document(self, request: Request) -> bytes:
        body = await self._bodies.read(request)
        try:
            return document_text(body)
        except NotJson as error:
            raise not_json(error) from None

    # -------------------------------------------------------------------------------------------------------- one key

    async def get(self, request: Request, raw_key: str) -> Answer:
        key = key_of(raw_key)
        if (elsewhere := asked_elsewhere(self._node, request)) is not None:
            return elsewhere
        await self._reads.begin(request)
        try:
            found = self._node.document.get(key)
        except DocumentIsNotAnObject:
            raise document_is_no_object() from None
        if found is None:
            raise _no_such_key(b"X-Raftq-Applied-Index: %d\r\n" % self._node.document.applied_index, {})
        text, revision = found
        return self._unchanged(revision) if conditions.is_known(request, revision) else self._shown(text, revision)

    async def put(self, request: Request, raw_key: str) -> Answer:
        key = key_of(raw_key)
        if (elsewhere := asked_elsewhere(self._node, request)) is not None:
            return elsewhere
        body = await self._bodies.read(request)
        try:
            value = value_text(body)
        except NotJson as error:
            raise not_json(error) from None
        return await self._written(request, key, Put(key, value))

    async def delete(self, request: Request, raw_key: str) -> Answer:
        """A key that is not there is 404, also for whoever repeats a delete whose answer was lost: it is gone."""
        key = key_of(raw_key)
        if (elsewhere := asked_elsewhere(self._node, request)) is not None:
            return elsewhere
        return await self._written(request, key, Delete(key))

    # -------------------------------------------------------------------------------------------------------- answers

    async def _written(self, request: Request, key: str | None, operation: Operation) -> Answer:
        expected = conditions.of_write(request, key)
        command = Transaction(expected, (operation,)) if expected else operation
        result = await self._writes.carry_out(request, command)
        existed = result.existed if isinstance(result, Applied) else result.existed[0]
        revision = result.revision
        if not existed and isinstance(operation, Delete):
            raise _no_such_key(self._writes.headers_of_leader(), {"revision": revision})
        headers = b'ETag: "%d"\r\n%s' % (revision, self._writes.headers_of_leader())
        return Answer(200 if existed else 201, b'{"revision":%d}' % revision, JSON, headers)

    def _shown(self, text: bytes, revision: int) -> Answer:
        return Answer(200, text, JSON, self._reach(revision))

    def _unchanged(self, revision: int) -> Answer:
        return Answer(304, b"", JSON, self._reach(revision))

    def _reach(self, revision: int) -> bytes:
        return b'ETag: "%d"\r\nX-Raftq-Applied-Index: %d\r\n' % (revision, self._node.document.applied_index)


async def _counted(pieces: Iterator[bytes]) -> int:
    size_bytes = 0
    for piece in pieces:
        size_bytes += len(piece)
        await asyncio.sleep(0)
    return size_bytes


def _no_such_key(headers: bytes, members: dict[str, object]) -> Problem:
    return Problem(404, "no-such-key", "No such key", "the document has no such key", headers=headers, members=members)
