"""The three rows that a volume has one each of: whose it is, its term and vote, and where its log begins.

Each has the number of the batch that wrote it and a checksum; whatever is wrong with one of them raises `Damaged`.
"""

import sqlite3
from collections.abc import Callable
from typing import TypeVar

import msgspec

from raftq_k8s.raft.membership import BirthRecord
from raftq_k8s.raft.persistence import HardState, Restored
from raftq_k8s.raft.types import Generation, Incarnation, MemberId
from raftq_k8s.storage import checksum, runs, schema
from raftq_k8s.storage.checksum import Batch
from raftq_k8s.storage.parts import Sealed
from raftq_k8s.storage.schema import Damaged, Statement

_T = TypeVar("_T")

_encode = msgspec.msgpack.Encoder().encode


class Owner(msgspec.Struct, frozen=True):
    """What the row of `identity` says."""

    member: MemberId
    incarnation: Incarnation
    generation: Generation
    birth: BirthRecord | None


class Base(msgspec.Struct, frozen=True, array_like=True):
    """What the row of `base` says."""

    start: runs.Start
    sealed: Sealed | None


_decode_hard_state = msgspec.msgpack.Decoder(HardState).decode
_decode_birth = msgspec.msgpack.Decoder(BirthRecord).decode
_decode_base = msgspec.msgpack.Decoder(Base).decode


def owner_row(owner: Owner, batch: Batch) -> Statement:
    birth = None if owner.birth is None else _encode(owner.birth)
    fields = (owner.member, owner.incarnation, owner.generation, birth, batch)
    check = checksum.of_row("identity", schema.FORMAT, *fields)
    return "INSERT OR REPLACE INTO identity VALUES (1, ?, ?, ?, ?, ?, ?)", (*fields, check)


def hard_state_row(hard_state: HardState, batch: Batch) -> Statement:
    fields = (_encode(hard_state), batch)
    check = checksum.of_row("hard_state", *fields)
    return "INSERT OR REPLACE INTO hard_state VALUES (1, ?, ?, ?)", (*fields, check)


def base_row(base: Base, batch: Batch) -> Statement:
    fields = (_encode(base), batch)
    check = checksum.of_row("base", *fields)
    return "INSERT OR REPLACE INTO base VALUES (1, ?, ?, ?)", (*fields, check)


def read_owner(connection: sqlite3.Connection) -> tuple[Owner, Batch]:
    query = "SELECT member, incarnation, generation, birth, batch, checksum FROM identity"
    return _read(connection, query, _owner, "its identity", "identity", schema.FORMAT)


def read_hard_state(connection: sqlite3.Connection) -> tuple[HardState, Batch]:
    query = "SELECT state, batch, checksum FROM hard_state"
    return _read(connection, query, _decode_hard_state, "its term and vote", "hard_state")


def read_base(connection: sqlite3.Connection) -> tuple[Base, Batch]:
    query = "SELECT state, batch, checksum FROM base"
    return _read(connection, query, _decode_base, "where its log begins", "base")


def _read(
    connection: sqlite3.Connection, query: str, decode: Callable[..., _T], what: str, table: str, *before: int
) -> tuple[_T, Batch]:
    """The only row: what its fields say, and its batch. The checksum is also of what stands `before` the fields."""
    rows = connection.execute(query).fetchall()
    if len(rows) != 1:
        raise Damaged(what)
    *fields, batch, found = rows[0]
    try:
        if found != checksum.of_row(table, *before, *fields, batch):
            raise Damaged(what)
        return decode(*fields), batch
    except (TypeError, msgspec.MsgspecError):
        raise Damaged(what) from None


def _owner(member: MemberId, incarnation: Incarnation, generation: Generation, birth: bytes | None) -> Owner:
    return Owner(member, incarnation, generation, None if birth is None else _decode_birth(birth))


def restored(owner: Owner, hard_state: HardState, base: Base, log: runs.Found) -> Restored:
    """What the three rows and the log add up to."""
    return Restored(
        owner.member,
        owner.incarnation,
        owner.generation,
        owner.birth,
        hard_state,
        log.tail,
        base.start.base,
        base.start.base_term,
        log.term_starts,
        log.configurations,
        base.sealed.mark if base.sealed is not None else None,
    )
