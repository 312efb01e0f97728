"""Checksums of records.

Each run of the log continues the checksum of the run before it, so a run that is changed, missing, moved or left over
from another time breaks the chain where it stands. The chain begins at a number of the volume's incarnation: records of
another volume do not fit. CRC-32 is against what disks do, not against people.
"""

from struct import Struct
from typing import NewType
from zlib import crc32

import msgspec

from raftq_k8s.raft.types import Incarnation, Index, Term

Checksum = NewType("Checksum", int)
Batch = NewType("Batch", int)
"""The number of a transaction of this volume, from 1 on. It never goes back."""

_RUN = Struct("<QQQQ")
_PART = Struct("<QQ")
_BASE = Struct("<QQ")
_encoder = msgspec.msgpack.Encoder()


def origin(incarnation: Incarnation) -> Checksum:
    return Checksum(crc32(incarnation.encode()))


def of_run(first: Index, batch: Batch, summary: bytes, run: bytes, previous: Checksum) -> Checksum:
    header = _RUN.pack(first, batch, len(summary), len(run))
    return Checksum(crc32(run, crc32(summary, crc32(header, previous))))


def of_base(base: Index, term: Term, previous: Checksum) -> Checksum:
    """Where a log was given up for a snapshot, the chain goes on from the base of the new one."""
    return Checksum(crc32(_BASE.pack(base, term), previous))


def of_part(number: int, offset: int, data: bytes) -> Checksum:
    """Of a part of a snapshot alone: what they add up to has a checksum in its mark."""
    return Checksum(crc32(data, crc32(_PART.pack(number, offset))))


def of_row(table: str, *fields: str | int | bytes | None) -> Checksum:
    """Of the one row of a table, which has nothing before it."""
    return Checksum(crc32(_encoder.encode((table, *fields))))
