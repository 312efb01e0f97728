"""What an agent finds to do on its volume before it opens it, left there by the process before.

A process that has learned that it is *removed* takes no part any more, and says so here. The next one archives the
volume, and asks to be taken in as another incarnation. So it is with one that was *rolled back*, but only once somebody
leads that cluster with a quorum, and so can take it in: else the old copy may be all that there is.

A person may have said which cluster alone may take this node in (`raftq recover --join`): that stays until another one
is named. And from which one this node's was recovered: that stays, for the witness of births to hear it as soon as it
can be reached.
"""

import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from raftq_k8s.raft.types import ClusterId, Incarnation
from raftq_k8s.storage import archive, schema
from raftq_k8s.storage.inspection import owner_of

_FENCED = "raftq.fenced"
_JOINS = "raftq.joins"
_RECOVERED = "raftq.recovered"

log = logging.getLogger(__name__)


Kind: TypeAlias = Literal["removed", "rolled-back"]

FENCING: Mapping[str, Kind] = {"removed": "removed", "rolled-back": "rolled-back"}
"""Of the kinds of refusals, those after which a volume is of no more use."""


class Fenced(msgspec.Struct, frozen=True):
    """Why the process before took no part any more."""

    kind: Kind
    cluster: ClusterId
    incarnation: Incarnation
    """Of the volume that this is said of."""
    others: tuple[str, ...]
    """Where the members of that cluster answered over HTTP, `host:port`."""


IsLed: TypeAlias = Callable[[ClusterId, tuple[str, ...]], Awaitable[bool]]
"""Whether one of those leads that cluster with a quorum."""


def note(data: Path, fenced: Fenced) -> None:
    _write(data / _FENCED, msgspec.json.encode(fenced))


async def tidy(data: Path, is_led: IsLed) -> None:
    """Raises `VolumeUnusable` where a volume cannot be archived."""
    if (folder := archive.finish(data)) is not None:
        log.warning("the volume that was being given up is in %s", folder)
    fenced = _noted(data)
    if fenced is None:
        return
    owner = owner_of(data)
    if owner is None or owner.incarnation != fenced.incarnation:
        (data / _FENCED).unlink()
        return
    if not await may_be_archived(fenced, is_led):
        log.warning(
            "this volume is an old copy, and is kept until somebody leads cluster %s with a quorum", fenced.cluster
        )
        return
    folder = archive.move(data, f"{fenced.incarnation}-{fenced.kind}")
    (data / _FENCED).unlink()
    log.warning("this volume was %s; it is in %s, and this node asks to be taken in anew", fenced.kind, folder)


async def may_be_archived(fenced: Fenced, is_led: IsLed) -> bool:
    return fenced.kind == "removed" or await is_led(fenced.cluster, fenced.others)


def join_only(data: Path, cluster: ClusterId) -> None:
    _write(data / _JOINS, cluster.encode())


def join_any(data: Path) -> None:
    (data / _JOINS).unlink(missing_ok=True)


def joins_only(data: Path) -> ClusterId | None:
    """Which cluster alone may take this node in; `None`: whichever it meets."""
    try:
        return ClusterId((data / _JOINS).read_text().strip())
    except OSError:
        return None


class Recovered(msgspec.Struct, frozen=True):
    """A cluster that a person made of another one."""

    cluster: ClusterId
    out_of: ClusterId


def note_recovery(data: Path, recovered: Recovered) -> None:
    _write(data / _RECOVERED, msgspec.json.encode(recovered))


def recovery_of(data: Path) -> Recovered | None:
    """The latest that was begun here, whether or not it came to its end."""
    try:
        return msgspec.json.decode((data / _RECOVERED).read_bytes(), type=Recovered)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _noted(data: Path) -> Fenced | None:
    """A note that cannot be read is none: the node hears again what it was told."""
    try:
        return msgspec.json.decode((data / _FENCED).read_bytes(), type=Fenced)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _write(path: Path, content: bytes) -> None:
    fresh = path.with_name(f"{path.name}.new")
    with fresh.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    schema.sync_directory(path.parent)
