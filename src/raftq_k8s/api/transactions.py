"""Several changes at once: `POST /v1/transactions`. Everything in `if` is compared first, then everything in `do` is
applied, or nothing is; all of it has one revision.

    {"if": [{"key": "owner", "revision": 12}, {"key": "next", "exists": false}],
     "do": [{"put": "next", "value": {"by": "me"}}, {"delete": "owner"}, {"patch": {"a": null}}, {"replace": {}}]}

A condition without a `key` is about the whole document: its revision is that of its last change.
"""

from typing import TypeAlias

import msgspec
from msgspec import UNSET, Raw, UnsetType

from raftq_k8s.api.answers import Answer, json_answer
from raftq_k8s.api.bodies import Bodies
from raftq_k8s.api.keys import check_key
from raftq_k8s.api.problems import Problem, not_json
from raftq_k8s.api.redirects import asked_elsewhere
from raftq_k8s.api.requests import Request
from raftq_k8s.api.views import Node
from raftq_k8s.api.writes import Writes
from raftq_k8s.raft.types import NO_INDEX
from raftq_k8s.state.commands import (
    MANY,
    Condition,
    Count,
    Delete,
    Operation,
    Patch,
    Put,
    Replace,
    Transacted,
    Transaction,
)
from raftq_k8s.state.json_text import NotJson, document_text, value_text

_OptionalRaw: TypeAlias = Raw | UnsetType


class _Condition(msgspec.Struct, forbid_unknown_fields=True):
    key: str | None = None
    revision: Count | UnsetType = UNSET
    exists: bool | UnsetType = UNSET


class _Operation(msgspec.Struct, forbid_unknown_fields=True):
    put: str | UnsetType = UNSET
    value: _OptionalRaw = UNSET
    delete: str | UnsetType = UNSET
    patch: _OptionalRaw = UNSET
    replace: _OptionalRaw = UNSET


class _Asked(msgspec.Struct, forbid_unknown_fields=True):
    do: list[_Operation]
    conditions: list[_Condition] = msgspec.field(name="if", default_factory=list)


_decode = msgspec.json.Decoder(_Asked).decode


class Transactions:
    def __init__(self, node: Node, bodies: Bodies, writes: Writes) -> None:
        self._node = node
        self._bodies = bodies
        self._writes = writes

    async def post(self, request: Request) -> Answer:
        if (elsewhere := asked_elsewhere(self._node, request)) is not None:
            return elsewhere
        transaction = _transaction(await self._bodies.read(request))
        result = await self._writes.carry_out(request, transaction)
        assert isinstance(result, Transacted)
        told = {"revision": result.revision, "existed": result.existed}
        return json_answer(200, told, self._writes.headers_of_leader())


def _transaction(body: bytes) -> Transaction:
    try:
        asked = _decode(body)
    except msgspec.ValidationError as error:
        raise _bad(str(error)) from None
    except (ValueError, RecursionError) as error:
        raise not_json(error) from None
    if max(len(asked.conditions), len(asked.do)) > MANY:
        detail = f"a transaction has at most {MANY} conditions and as many operations; nothing was done"
        raise Problem(413, "transaction-too-large", "Transaction too large", detail)
    return Transaction(tuple(map(_condition, asked.conditions)), tuple(map(_operation, asked.do)))


def _condition(asked: _Condition) -> Condition:
    if asked.key is not None:
        check_key(asked.key)
    match asked.revision, asked.exists:
        case int() as revision, UnsetType():
            return Condition(asked.key, (revision,))
        case UnsetType(), True:
            return Condition(asked.key, None)
        case UnsetType(), False if asked.key is not None:
            return Condition(asked.key, (NO_INDEX,))
        case _:
            raise _bad("a condition has a key and either a revision or exists; without a key, a revision")


def _operation(asked: _Operation) -> Operation:
    try:
        match {name: given for name, given in msgspec.structs.asdict(asked).items() if given is not UNSET}:
            case {"put": str(key), "value": Raw() as value, **others} if not others:
                check_key(key)
                return Put(key, value_text(bytes(value)))
            case {"delete": str(key), **others} if not others:
                check_key(key)
                return Delete(key)
            case {"patch": Raw() as patch, **others} if not others:
                return Patch(document_text(bytes(patch)))
            case {"replace": Raw() as document, **others} if not others:
                return Replace(document_text(bytes(document)))
            case _:
                raise _bad("an operation is one of put with a value, delete, patch, replace")
    except NotJson as error:
        raise not_json(error) from None


def _bad(why: str) -> Problem:
    return Problem(422, "bad-transaction", "Bad transaction", f"{why}; nothing was done")
