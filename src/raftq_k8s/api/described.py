"""What there is to say of each route, for `openapi.py`."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import msgspec

from raftq_k8s.api.leader import Leader
from raftq_k8s.api.members import MemberList
from raftq_k8s.api.pause import PauseAsked
from raftq_k8s.api.transfer import TransferAsked
from raftq_k8s.api.views import ApplicationReport, ApplicationState
from raftq_k8s.node.leadership import Failover
from raftq_k8s.node.status import NodeStatus
from raftq_k8s.state.commands import MANY

Json: TypeAlias = dict[str, Any]


class Described(NamedTuple):
    summary: str
    answers: Mapping[int, Json]
    problems: Mapping[int, str] = MappingProxyType({})
    """What may go wrong beside what may go wrong everywhere."""
    parameters: tuple[Json, ...] = ()
    body: Json | None = None


def _of(schema: Json, description: str = "done", content_type: str = "application/json", **headers: str) -> Json:
    told: Json = {"description": description, "content": {content_type: {"schema": schema}}}
    if headers:
        told["headers"] = {
            name.replace("_", "-"): {"description": meaning, "schema": {"type": "string"}}
            for name, meaning in headers.items()
        }
    return told


def _struct(shape: type[msgspec.Struct]) -> Json:
    return {"$ref": f"#/components/schemas/{shape.__name__}"}


def _object(**members: Json) -> Json:
    return {"type": "object", "properties": members, "required": list(members)}


def _only(**members: Json) -> Json:
    return _object(**members) | {"additionalProperties": False}


def _body(schema: Json, *content_types: str, required: bool = True) -> Json:
    content = {content_type: {"schema": schema} for content_type in content_types or ("application/json",)}
    return {"required": required, "content": content}


def _query(name: str, schema: Json, description: str) -> Json:
    return {"name": name, "in": "query", "schema": schema, "description": description}


def _header(name: str, description: str, pattern: str = "^[ -~]+$") -> Json:
    schema = {"type": "string", "pattern": pattern}
    return {"name": name, "in": "header", "schema": schema, "description": description}


def _path(name: str, schema: Json, description: str) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": schema, "description": description}


STRUCTS: tuple[type[msgspec.Struct], ...] = (
    ApplicationReport,
    ApplicationState,
    Failover,
    Leader,
    MemberList,
    NodeStatus,
    PauseAsked,
    TransferAsked,
)
_ANY: Json = {}
_TEXT: Json = {"type": "string"}
_NUMBER: Json = {"type": "integer", "minimum": 0, "maximum": (1 << 63) - 1}
_NAME_OR_NULL: Json = {"type": ["string", "null"]}
_REVISION = _object(revision=_NUMBER)

_ONE_OF_THE_KEYS: Json = {"type": "string", "minLength": 1, "maxLength": 512}
_TRANSACTION: Json = {
    "type": "object",
    "properties": {
        "if": {
            "type": "array",
            "maxItems": MANY,
            "items": {
                "type": "object",
                "properties": {"key": _ONE_OF_THE_KEYS, "revision": _NUMBER, "exists": {"type": "boolean"}},
                "oneOf": [{"required": ["revision"]}, {"required": ["key", "exists"]}],
                "additionalProperties": False,
            },
        },
        "do": {
            "type": "array",
            "maxItems": MANY,
            "items": {
                "oneOf": [
                    _only(put=_ONE_OF_THE_KEYS, value=_ANY),
                    _only(delete=_ONE_OF_THE_KEYS),
                    _only(patch=_ANY),
                    _only(replace=_ANY),
                ]
            },
        },
    },
    "required": ["do"],
    "additionalProperties": False,
}
_ONE_KEY = _path("key", _ONE_OF_THE_KEYS, "all that follows, slashes included")
_MEMBER = _path("name", {"type": "string", "minLength": 1}, "the member's name")
_SESSION = _path("session", _NUMBER, "as POST /v1/sessions named it")
_CONSISTENCY = _query(
    "consistency", {"enum": ["linearizable", "lease", "local"], "default": "linearizable"}, "how much the answer knows"
)
_REDIRECT = _query("redirect", {"enum": ["0", "1"], "default": "0"}, "1: be sent to the leader instead of through it")
_PREFIX = _query("prefix", _TEXT, "only keys that begin so")
_TAGS = r'^(\*|"[0-9]{1,18}")$'
_IF_MATCH = _header("If-Match", "only if it has this revision", _TAGS)
_IF_OTHER = _header("If-None-Match", "only if it has another revision", _TAGS)
_IF_NONE = _header("If-None-Match", "only if there is no such key", r"^\*$")
_ONCE = _header("Idempotency-Key", "SESSION/SEQUENCE: takes effect once", "^[0-9]{1,18}/[0-9]{1,18}$")
_ELSEWHERE: Json = {
    "description": "ask the leader",
    "headers": {"Location": {"description": "the same at the leader", "schema": _TEXT}},
}
_UNCHANGED: Json = {"description": "it has that revision"}

_READ = (_CONSISTENCY, _REDIRECT, _IF_MATCH, _IF_OTHER)
_WRITE = (_REDIRECT, _IF_MATCH, _IF_NONE, _ONCE)
_VALUE = _of(_ANY, "the value as it was sent", ETag="its revision", X_Raftq_Applied_Index="how far it reaches")
_WRITTEN = {
    200: _of(_REVISION, "committed, and applied", ETag="the revision"),
    201: _of(_REVISION, "as 200, and the key is new", ETag="the revision"),
    307: _ELSEWHERE,
}
_WRITE_PROBLEMS = {
    404: "there is no such key",
    409: "the document has no keys, or the session has ended",
    412: "a condition does not hold; nothing changed",
    422: "another write had that Idempotency-Key",
    507: "the document, or the volume, is full; nothing changed",
}
_READ_PROBLEMS = {409: "the document has no keys", 412: "it has another revision", 429: "too much waits already"}
_LED = {307: _ELSEWHERE}
_STREAM = "text/event-stream"
_NOT_AGAIN = {409: "refused; nothing was done"}

DESCRIBED: Mapping[tuple[str, str], Described] = {
    ("GET", "/livez"): Described("Whether the process turns", {200: _of(_TEXT, content_type="text/plain")}),
    ("GET", "/startupz"): Described("Whether the volume is open", {200: _of(_TEXT, content_type="text/plain")}),
    ("GET", "/readyz"): Described(
        "Whether it is a member that has caught up",
        {200: _of(_TEXT, content_type="text/plain")},
        {503: "not yet; `detail` says what it waits for"},
    ),
    ("GET", "/metrics"): Described("For Prometheus", {200: _of(_TEXT, content_type="text/plain")}),
    ("GET", "/leader"): Described("Who leads", {200: _of(_struct(Leader))}),
    ("GET", "/v1/leader"): Described("Who leads", {200: _of(_struct(Leader))}),
    ("GET", "/v1/leader/events"): Described(
        "Who leads, at once and whenever it changes: events `leader`", {200: _of(_TEXT, content_type=_STREAM)}
    ),
    ("GET", "/v1/events"): Described(
        "What changes in the document, a revision an event: events `change`",
        {200: _of(_TEXT, content_type=_STREAM, X_Raftq_Applied_Index="where it begins")},
        {410: "from there on the changes are not kept any more: read the document, and go on from its revision"},
        (
            _query("after", _NUMBER, "the last revision that is known; without it: from now on"),
            _PREFIX,
            _header("Last-Event-ID", "as after, and wins", "^[0-9]{1,18}$"),
        ),
    ),
    ("GET", "/v1/status"): Described(
        "All that this agent knows of itself",
        {
            200: _of(
                {
                    "allOf": [
                        _struct(NodeStatus),
                        _object(version=_TEXT, paused=_NAME_OR_NULL, label={"type": ["object", "null"]}),
                    ]
                }
            )
        },
    ),
    ("GET", "/v1/history"): Described(
        "Who led, as this process saw it: the last 50 changes",
        {200: _of(_object(failovers={"type": "array", "items": _struct(Failover)}))},
    ),
    ("GET", "/v1/snapshot"): Described(
        "The whole state of one moment, for a backup",
        {
            200: _of(
                {"type": "string", "format": "binary"},
                content_type="application/octet-stream",
                X_Raftq_Applied_Index="its moment",
                X_Raftq_Term="the term of that moment",
                X_Raftq_Cluster="the id of the cluster",
            )
        },
    ),
    ("GET", "/v1/openapi.json"): Described("This document", {200: _of({"type": "object"})}),
    ("GET", "/v1/data"): Described(
        "The whole document, or the keys that begin with a prefix",
        {200: _VALUE, 304: _UNCHANGED, 307: _ELSEWHERE},
        _READ_PROBLEMS,
        (*_READ, _PREFIX),
    ),
    ("PUT", "/v1/data"): Described("Replace the whole document", _WRITTEN, _WRITE_PROBLEMS, _WRITE, _body(_ANY)),
    ("PATCH", "/v1/data"): Described(
        "Merge into the document (RFC 7396)",
        _WRITTEN,
        _WRITE_PROBLEMS | {415: "a JSON patch: only merge patches are taken"},
        _WRITE,
        _body(_ANY, "application/merge-patch+json", "application/json"),
    ),
    ("GET", "/v1/data/{key}"): Described(
        "One key",
        {200: _VALUE, 304: _UNCHANGED, 307: _ELSEWHERE},
        _READ_PROBLEMS | {404: "there is no such key", 414: "the key is too long"},
        (_ONE_KEY, *_READ),
    ),
    ("PUT", "/v1/data/{key}"): Described(
        "Set one key",
        _WRITTEN,
        _WRITE_PROBLEMS | {414: "the key is too long"},
        (_ONE_KEY, *_WRITE),
        _body(_ANY),
    ),
    ("DELETE", "/v1/data/{key}"): Described(
        "Take one key away", _WRITTEN, _WRITE_PROBLEMS | {414: "the key is too long"}, (_ONE_KEY, *_WRITE)
    ),
    ("POST", "/v1/transactions"): Described(
        "Several changes at once, if several conditions hold",
        {200: _of(_object(revision=_NUMBER, existed={"type": "array", "items": {"type": "boolean"}})), **_LED},
        _WRITE_PROBLEMS,
        (_REDIRECT, _ONCE),
        _body(_TRANSACTION),
    ),
    ("POST", "/v1/sessions"): Described(
        "Open a session, for writes that take effect exactly once",
        {201: _of(_object(session=_NUMBER, idle_ms=_NUMBER, window=_NUMBER), Location="the session"), **_LED},
        parameters=(_REDIRECT,),
    ),
    ("DELETE", "/v1/sessions/{session}"): Described(
        "End a session", {204: {"description": "it has ended"}, **_LED}, {404: "no session"}, (_SESSION, _REDIRECT)
    ),
    ("GET", "/v1/members"): Described(
        "Who belongs to the cluster, and how each is doing", {200: _of(_struct(MemberList))}
    ),
    ("DELETE", "/v1/members/{name}"): Described(
        "Remove a member for good",
        {200: _of(_object(name=_TEXT, incarnation=_TEXT)), **_LED},
        {404: "no such member", **_NOT_AGAIN},
        (_MEMBER, _query("incarnation", _TEXT, "only if it is this one")),
    ),
    ("POST", "/v1/members/{name}/promote"): Described(
        "Make a learner a voter",
        {200: _of(_object(name=_TEXT, incarnation=_TEXT)), **_LED},
        {404: "no such member", **_NOT_AGAIN},
        (_MEMBER, _query("incarnation", _TEXT, "only if it is this one")),
    ),
    ("POST", "/v1/transfer"): Described(
        "Hand the leadership over",
        {200: _of(_object(leader=_TEXT, term=_NUMBER)), **_LED},
        _NOT_AGAIN,
        body=_body(_struct(TransferAsked), required=False),
    ),
    ("GET", "/v1/pause"): Described(
        "Whether the cluster is paused, and why", {200: _of(_object(paused=_NAME_OR_NULL))}
    ),
    ("POST", "/v1/pause"): Described(
        "Let the cluster change nothing by itself",
        {200: _of(_object(paused=_TEXT, revision=_NUMBER))},
        body=_body(_struct(PauseAsked), required=False),
    ),
    ("DELETE", "/v1/pause"): Described("End the pause", {200: _of(_object(paused={"type": "null"}, revision=_NUMBER))}),
    ("POST", "/v1/drain"): Described(
        "Have this agent hand over, and answer until its process is ended",
        {202: _of(_object(draining={"const": True}), "it has begun")},
        _NOT_AGAIN,
    ),
    ("POST", "/v1/recover"): Described(
        "After a majority was lost for good: give the cluster up, or join the one that goes on",
        {202: _of(_object(cluster=_TEXT), "it has begun")},
        _NOT_AGAIN,
        body=_body({"oneOf": [_only(cluster=_TEXT), _only(join=_TEXT)]}),
    ),
    ("GET", "/v1/application"): Described("What the application is to do here", {200: _of(_struct(ApplicationState))}),
    ("PUT", "/v1/application"): Described(
        "What the application says of itself",
        {200: _of(_struct(ApplicationState))},
        _NOT_AGAIN,
        body=_body(_struct(ApplicationReport), required=False),
    ),
}
