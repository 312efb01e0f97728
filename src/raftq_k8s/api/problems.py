"""What went wrong, in the form of RFC 9457: a type for programs, a title for the kind, a sentence for this case.

Here a refusal of the node becomes a status code; nothing above catches one. A client may repeat a request after 429
and 503: it did nothing. After a 504 with `"outcome": "unknown"` it may or may not have taken effect: read before you
repeat.
"""

from typing import TypeAlias

import msgspec

from raftq_k8s.api.answers import Answer
from raftq_k8s.node.errors import (
    NoLeader,
    NotLeader,
    OutcomeUnknown,
    Overloaded,
    ReplyForgotten,
    SequenceReused,
    SessionExpired,
    TooLarge,
    TooManySessions,
    VolumeFull,
)
from raftq_k8s.state.commands import (
    DocumentCommand,
    DocumentRefusal,
    NotAnObject,
    NotAsExpected,
    PutIf,
    TooBig,
    TooMuchToMerge,
    Transaction,
)

PROBLEM = b"application/problem+json"
RETRY_AFTER = b"Retry-After: 1\r\n"

SESSION_ERRORS = (TooManySessions, SessionExpired, ReplyForgotten, SequenceReused)
NODE_ERRORS = (NoLeader, NotLeader, Overloaded, TooLarge, VolumeFull, OutcomeUnknown, *SESSION_ERRORS)

NodeError: TypeAlias = (
    NoLeader
    | NotLeader
    | Overloaded
    | TooLarge
    | VolumeFull
    | OutcomeUnknown
    | TooManySessions
    | SessionExpired
    | ReplyForgotten
    | SequenceReused
)

_NOT_THIS_TIME = "this time nothing was done, and of an earlier try nothing is known any more"

_encode = msgspec.json.Encoder().encode


class Problem(Exception):
    """Raised by a handler, answered by the server. `kind` ends the type `urn:raftq:problem:KIND`."""

    def __init__(
        self,
        status: int,
        kind: str,
        title: str,
        detail: str,
        *,
        headers: bytes = b"",
        members: dict[str, object] | None = None,
        close: bool = False,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self._status = status
        self._body = {"type": f"urn:raftq:problem:{kind}", "title": title, "status": status, "detail": detail}
        self._body |= members or {}
        self._headers = headers
        self._close = close

    def answer(self) -> Answer:
        answer = Answer(self._status, _encode(self._body), PROBLEM, self._headers)
        return answer.then_close() if self._close else answer


def body_too_large(limit_bytes: int) -> Problem:
    detail = f"the body is longer than {limit_bytes} bytes"
    return Problem(413, "body-too-large", "Body too large", detail, close=True)


def broken_body() -> Problem:
    return Problem(400, "broken-body", "Broken body", "the body does not end as its headers announce", close=True)


def headers_too_large(detail: str) -> Problem:
    return Problem(431, "headers-too-large", "Headers too large", detail, close=True)


def too_many_bodies() -> Problem:
    detail = "too many other bodies are arriving right now; nothing was done"
    return Problem(503, "too-many-bodies", "Too many bodies", detail, headers=RETRY_AFTER, close=True)


def too_many_connections() -> Problem:
    detail = "this node serves as many connections as it may"
    return Problem(503, "too-many-connections", "Too many connections", detail, headers=RETRY_AFTER, close=True)


def no_such_resource(path: str) -> Problem:
    return Problem(404, "no-such-resource", "No such resource", f"there is nothing at {path[:200]}")


def method_not_allowed(method: str, allowed: str) -> Problem:
    detail = f"{method[:20]} is not possible here, only {allowed}"
    headers = f"Allow: {allowed}\r\n".encode()
    return Problem(405, "method-not-allowed", "Method not allowed", detail, headers=headers)


def no_leader() -> Problem:
    detail = "nobody is known to lead right now; nothing was done"
    return Problem(503, "no-leader", "No leader", detail, headers=RETRY_AFTER)


def internal() -> Problem:
    detail = "this node met an error of its own; its log tells more. Whether a write took effect is not known"
    return Problem(500, "internal", "Internal error", detail, members={"outcome": "unknown"})


def refused_by_node(error: NodeError) -> Problem:
    """What becomes of each of `NODE_ERRORS`."""
    match error:
        case NoLeader() | NotLeader():
            return no_leader()
        case Overloaded():
            detail = "too much waits already; nothing was done"
            return Problem(429, "overloaded", "Overloaded", detail, headers=RETRY_AFTER)
        case TooLarge():
            detail = "the value does not fit a message between nodes; nothing was done"
            return Problem(413, "value-too-large", "Value too large", detail)
        case VolumeFull():
            detail = "the leader's volume is full, and no other voter has room; nothing was done. Deleting is possible"
            return Problem(507, "volume-full", "Volume full", detail)
        case OutcomeUnknown():
            detail = (
                "the write left, and its fate is not known: it may take effect, or never; read before you repeat it"
            )
            return Problem(504, "outcome-unknown", "Outcome unknown", detail, members={"outcome": "unknown"})
        case TooManySessions():
            return Problem(429, "too-many-sessions", "Too many sessions", str(error), headers=RETRY_AFTER)
        case SessionExpired():
            return Problem(409, "no-such-session", "No such session", f"{error}; {_NOT_THIS_TIME}")
        case ReplyForgotten():
            return Problem(409, "reply-forgotten", "Reply forgotten", f"{error}; {_NOT_THIS_TIME}")
        case SequenceReused():
            return Problem(422, "sequence-reused", "Sequence reused", f"{error}; nothing was done")


def refused_by_document(result: DocumentRefusal, command: DocumentCommand) -> Problem:
    match result:
        case NotAnObject(revision):
            return document_is_no_object({"revision": revision})
        case TooBig(revision, limit_bytes):
            detail = f"the document would be longer than {limit_bytes} bytes; nothing changed"
            return Problem(507, "document-full", "Document full", detail, members={"revision": revision})
        case TooMuchToMerge(revision, limit_bytes):
            detail = (
                f"patches reach so deep into so large values that {limit_bytes >> 20} MiB and more would have to be "
                "looked through; put those values whole. Nothing changed"
            )
            return Problem(413, "too-much-to-merge", "Too much to merge", detail, members={"revision": revision})
        case NotAsExpected(revision, found, condition):
            members: dict[str, object] = {"revision": revision, "found": found, "condition": condition}
            detail = f"{_as_found(_condition_key(command, condition), found)}; nothing changed"
            return Problem(412, "not-as-expected", "Not as expected", detail, members=members)


def _condition_key(command: DocumentCommand, condition: int) -> str | None:
    match command:
        case Transaction(conditions):
            return conditions[condition].key
        case PutIf(key):
            return key
        case _:
            return None


def _as_found(key: str | None, found: int) -> str:
    if key is None:
        return f"the document has revision {found} by now"
    return f"{key!r} has revision {found} by now" if found else f"there is no key {key!r}"


def document_is_no_object(members: dict[str, object] | None = None) -> Problem:
    detail = "the document is not an object, so it has no keys; replace it by PUT /v1/data"
    return Problem(409, "not-an-object", "Not an object", detail, members=members)


def not_json(error: Exception) -> Problem:
    return Problem(400, "not-json", "Not JSON", f"the body is no JSON that can be stored: {error}")
