"""Writes as requests, and what came of them. Whether one may be sent twice is not decided here.

A value is anything that JSON can say. `msgspec.Raw(text)` is JSON text already, and is sent as it is.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import Enum
from typing import Any, TypeAlias

import msgspec

from raftq_k8s.client import paths
from raftq_k8s.client.answers import Transacted, Written, decoded
from raftq_k8s.client.errors import NotUnderstood, Refused
from raftq_k8s.client.exchange import Answer, Request

_TAG = re.compile(r'(?:W/)?"([0-9]{1,19})"')
"""Weak where somebody on the way has changed the encoding."""

_encode = msgspec.json.Encoder().encode


class Presence(Enum):
    ABSENT = "absent"
    """Only if there is no such key yet."""
    PRESENT = "present"
    """Only if there is one, whatever its revision."""


Expected: TypeAlias = int | Presence | None
"""What has to hold of the key when the write is applied: its revision (0: there is no such key), its presence, or
nothing."""


class Condition(msgspec.Struct, frozen=True):
    key: str | None
    """`None`: the whole document."""
    expected: int | Presence


class Put(msgspec.Struct, frozen=True):
    key: str
    value: Any


class Delete(msgspec.Struct, frozen=True):
    key: str


class Patch(msgspec.Struct, frozen=True):
    """A merge patch (RFC 7396) of the whole document."""

    patch: Any


class Replace(msgspec.Struct, frozen=True):
    """Of the whole document."""

    document: Any


Operation: TypeAlias = Put | Delete | Patch | Replace


class Writer(ABC):
    """The writes of a client, and of a session. All raise `ClientError`; an `if_revision` that does not hold when the
    write is applied raises `NotAsExpected`."""

    @abstractmethod
    async def send(self, request: Request) -> Answer:
        """Have it carried out. Raises `ClientError`."""

    async def put(self, key: str, value: Any, *, if_revision: Expected = None) -> Written:
        body = _encode(value)
        return _written(await self.send(Request("PUT", paths.of_key(key), headers=_of_key(if_revision), body=body)))

    async def delete(self, key: str, *, if_revision: Expected = None) -> bool:
        """Whether it was there."""
        try:
            await self.send(Request("DELETE", paths.of_key(key), headers=_of_key(if_revision)))
        except Refused as error:
            if error.problem.kind == "no-such-key":
                return False
            raise
        return True

    async def patch(self, change: Any, *, if_revision: int | None = None) -> int:
        """Merge into the whole document (RFC 7396), and return the revision."""
        headers = _of_whole(if_revision)
        return _written(await self.send(Request("PATCH", paths.DATA, headers=headers, body=_encode(change)))).revision

    async def replace(self, document: Any, *, if_revision: int | None = None) -> int:
        """The whole document, and return the revision."""
        headers = _of_whole(if_revision)
        return _written(await self.send(Request("PUT", paths.DATA, headers=headers, body=_encode(document)))).revision

    async def transact(self, operations: Sequence[Operation], conditions: Sequence[Condition] = ()) -> Transacted:
        """Compare all, then apply all, or nothing; all of it has one revision."""
        body = {"if": [_condition(each) for each in conditions], "do": [_operation(each) for each in operations]}
        return await self.transact_text(_encode(body))

    async def transact_text(self, text: bytes) -> Transacted:
        """The same, in the form of `POST /v1/transactions`."""
        answer = await self.send(Request("POST", "/v1/transactions", body=text))
        return decoded(answer.body, Transacted)


class _Revision(msgspec.Struct):
    revision: int


def _written(answer: Answer) -> Written:
    return Written(decoded(answer.body, _Revision).revision, answer.status != 201)


def revision(answer: Answer) -> int:
    """Of what was read. Raises `NotUnderstood`."""
    found = _TAG.fullmatch(answer.headers.get("etag", ""))
    if found is None:
        raise NotUnderstood(f"{answer.server}: the answer does not say its revision")
    return int(found[1])


def _of_key(expected: Expected) -> dict[str, str]:
    match expected:
        case None:
            return {}
        case Presence.PRESENT:
            return {"If-Match": "*"}
        case Presence.ABSENT | 0:
            return {"If-None-Match": "*"}
        case int():
            return _of_whole(expected)


def _of_whole(expected: int | None) -> dict[str, str]:
    return {} if expected is None else {"If-Match": f'"{expected}"'}


def _condition(condition: Condition) -> dict[str, Any]:
    about: dict[str, Any] = {} if condition.key is None else {"key": condition.key}
    if isinstance(condition.expected, Presence):
        return about | {"exists": condition.expected is Presence.PRESENT}
    return about | {"revision": condition.expected}


def _operation(operation: Operation) -> dict[str, Any]:
    match operation:
        case Put(key, value):
            return {"put": key, "value": value}
        case Delete(key):
            return {"delete": key}
        case Patch(change):
            return {"patch": change}
        case Replace(document):
            return {"replace": document}
