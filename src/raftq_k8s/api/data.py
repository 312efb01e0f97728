"""The document over HTTP: `/v1/data` is the whole, `/v1/data/KEY` one key of it.

A key is everything behind `/v1/data/`, percent-decoded as UTF-8: `/v1/data/a/b` and `/v1/data/a%2Fb` are the same key
`a/b`, and dots mean nothing. It has at least one byte and at most 512. Values are JSON of any kind, kept as they were
sent.

A write is answered when it is committed and applied: 201 for a new key, else 200, with the revision in the body and
as ETag. Reads show what this node has applied (`consistency=local`, in this release the default): they may lag behind
the leader, never show what is not committed, and wait for the first catching up after a start.
`X-Raftq-Applied-Index` says how far they reach: at or above the revision of a write, they show it. A header that asks
for what a later release does is refused, not ignored.
"""

from urllib.parse import unquote_to_bytes

from aiohttp.web import BaseRequest

from raftq_k8s.api.answers import JSON, LARGE_BYTES, Answer
from raftq_k8s.api.bodies import Bodies
from raftq_k8s.api.problems import RETRY_AFTER, Problem, document_is_no_object, refused_by_document
from raftq_k8s.api.views import Node
from raftq_k8s.raft.types import MemberId
from raftq_k8s.state.commands import Applied, Delete, Operation, Put, Replace
from raftq_k8s.state.document import DocumentIsNotAnObject
from raftq_k8s.state.json_text import NotJson, document_text, value_text

MAX_KEY_BYTES = 512
LARGE_READS = 4
"""So many copies of a large document may be on their way at a time."""

_LATER_RELEASE = ("If-Match", "If-None-Match", "Idempotency-Key")


class Data:
    def __init__(self, node: Node, body_limit_bytes: int, write_timeout_s: float) -> None:
        self._node = node
        self._bodies = Bodies(body_limit_bytes)
        self._write_timeout_s = write_timeout_s
        self._caught_up = False
        self._large_reads = 0
        self._leader: MemberId | None = None
        self._leader_header = b""

    async def get_whole(self, request: BaseRequest) -> Answer:
        self._check_readable(request)
        if self._node.document.size_bytes <= LARGE_BYTES:
            return self._shown(*self._node.document.whole())
        if self._large_reads >= LARGE_READS:
            detail = f"{LARGE_READS} others are reading the whole document right now"
            raise Problem(503, "too-many-readers", "Too many readers", detail, headers=RETRY_AFTER)
        self._large_reads += 1
        try:
            answer = self._shown(*self._node.document.whole())
            await answer.prepare(request)
            await answer.write_eof()
        finally:
            self._large_reads -= 1
        return answer

    async def put_whole(self, request: BaseRequest) -> Answer:
        body = await self._read(request)
        try:
            text = document_text(body)
        except NotJson as error:
            raise _not_json(error) from None
        return await self._written(Replace(text))

    async def get(self, request: BaseRequest, raw: str) -> Answer:
        key = key_of(raw)
        self._check_readable(request)
        try:
            found = self._node.document.get(key)
        except DocumentIsNotAnObject:
            raise document_is_no_object() from None
        if found is None:
            headers = b"X-Raftq-Applied-Index: %d\r\n" % self._node.document.applied_index
            raise _no_such_key(headers, {})
        return self._shown(*found)

    async def put(self, request: BaseRequest, raw: str) -> Answer:
        key = key_of(raw)
        body = await self._read(request)
        try:
            value = value_text(body)
        except NotJson as error:
            raise _not_json(error) from None
        return await self._written(Put(key, value))

    async def delete(self, request: BaseRequest, raw: str) -> Answer:
        """A key that is not there is 404, also for whoever repeats a delete whose answer was lost: it is gone."""
        key = key_of(raw)
        _check_conditions(request)
        return await self._written(Delete(key))

    async def _read(self, request: BaseRequest) -> bytes:
        _check_conditions(request)
        return await self._bodies.read(request)

    async def _written(self, command: Operation) -> Answer:
        result = await self._node.submit(command, self._write_timeout_s)
        if not isinstance(result, Applied):
            raise refused_by_document(result)
        if isinstance(command, Delete) and not result.existed:
            raise _no_such_key(self._headers_of_leader(), {"revision": result.revision})
        revision = result.revision
        headers = b'ETag: "%d"\r\n%s' % (revision, self._headers_of_leader())
        return Answer(200 if result.existed else 201, b'{"revision":%d}' % revision, JSON, headers)

    def _shown(self, text: bytes, revision: int) -> Answer:
        reach = self._node.document.applied_index
        return Answer(200, text, JSON, b'ETag: "%d"\r\nX-Raftq-Applied-Index: %d\r\n' % (revision, reach))

    def _check_readable(self, request: BaseRequest) -> None:
        if request.rel_url.query_string:
            _check_consistency(request.rel_url.query.get("consistency", "local"))
        if not self._caught_up:
            self._caught_up = self._node.status().caught_up
            if not self._caught_up:
                detail = "this node has not caught up since its start, and would show you the past"
                raise Problem(503, "not-caught-up", "Not caught up", detail, headers=RETRY_AFTER)

    def _headers_of_leader(self) -> bytes:
        leader = self._node.standing().leader
        if leader != self._leader:
            self._leader = leader
            self._leader_header = b"" if leader is None else b"X-Raftq-Leader: %s\r\n" % _header_value(leader)
        return self._leader_header


def key_of(raw: str) -> str:
    """The key that a raw path names behind `/v1/data/`. Raises `Problem`."""
    if not raw:
        raise Problem(400, "bad-key", "Bad key", "a key has at least one character; the whole document is /v1/data")
    encoded = unquote_to_bytes(raw.encode("utf-8", "surrogateescape"))
    if len(encoded) > MAX_KEY_BYTES:
        raise Problem(414, "key-too-long", "Key too long", f"a key has at most {MAX_KEY_BYTES} bytes")
    try:
        return encoded.decode()
    except UnicodeDecodeError:
        raise Problem(400, "bad-key", "Bad key", "a key is percent-encoded UTF-8, and this is not") from None


def _check_consistency(asked: str) -> None:
    if asked in ("linearizable", "lease"):
        detail = f"reads with consistency={asked} come with a later release; this one reads with consistency=local"
        raise Problem(501, "not-yet", "Not yet", detail)
    if asked != "local":
        raise Problem(400, "bad-consistency", "Bad consistency", "consistency is one of local, linearizable, lease")


def _check_conditions(request: BaseRequest) -> None:
    headers = request.headers
    for name in _LATER_RELEASE:
        if name in headers:
            detail = f"{name} comes with a later release; nothing was done"
            raise Problem(501, "not-yet", "Not yet", detail)


def _not_json(error: NotJson) -> Problem:
    return Problem(400, "not-json", "Not JSON", f"the body is no JSON that can be stored: {error}")


def _no_such_key(headers: bytes, members: dict[str, object]) -> Problem:
    return Problem(404, "no-such-key", "No such key", "the document has no such key", headers=headers, members=members)


def _header_value(name: str) -> bytes:
    return "".join(character for character in name if character.isprintable()).encode("ascii", "replace")
