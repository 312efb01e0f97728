"""Checksums of records.

Each run of the log continues the checksum of the run before it, so a run that is changed, missing, moved or left over
from another time breaks the chain where it stands. The chain begins at a number of the volume's incarnation: records of
another volume do not fit. CRC-32 is against what disks do, not against people.
"""

from struct import Struct
from typing import NewType
from zlib import crc32

import msgspec

from raftq_k8s.raft.types import Incarnation, Index

Checksum = NewType("Checksum", int)
Batch = NewType("Batch", int)
"""The number of a transaction of this volume, from 1 on. It never goes back."""

_HEADER = Struct("<QQQ")
_encoder = msgspec.msgpack.Encoder()


def origin(incarnation: Incarnation) -> Checksum:
    return Checksum(crc32(incarnation.encode()))


def of_run(first: Index, batch: Batch, run: bytes, previous: Checksum) -> Checksum:
    return Checksum(crc32(run, crc32(_HEADER.pack(first, batch, len(run)), previous)))


def of_row(table: str, *fields: str | int | bytes | None) -> Checksum:
    """Of the one row of a table, which has nothing before it."""
    return Checksum(crc32(_encoder.encode((table, *fields))))
