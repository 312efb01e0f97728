"""What servers answer, as far as a client uses it. Fields that a later release adds are passed over."""

from enum import IntEnum
from typing import Any, TypeVar

import msgspec

from raftq_k8s.client.errors import NotUnderstood

_Kind = TypeVar("_Kind")


class Value(msgspec.Struct, frozen=True):
    """A JSON value, and the revision of its last change."""

    text: bytes
    """As it was sent: numbers keep all their digits here."""
    revision: int

    @property
    def value(self) -> Any:
        return msgspec.json.decode(self.text)


class Keys(msgspec.Struct, frozen=True):
    """Keys of the document, as all of them stood at one moment."""

    revision: int
    """Of the last change of the whole: to watch from."""
    keys: dict[str, Value]


class Written(msgspec.Struct, frozen=True):
    revision: int
    existed: bool
    """The key was there before."""


class Transacted(msgspec.Struct, frozen=True):
    revision: int
    existed: tuple[bool, ...]
    """For each operation, whether its key was there."""


class Change(msgspec.Struct, frozen=True):
    key: str | None
    """`None`: the whole document became this."""
    text: bytes | None
    """JSON; `None`: the key was deleted."""

    @property
    def value(self) -> Any:
        """`None` also for a deleted key; `text` tells the two apart."""
        return None if self.text is None else msgspec.json.decode(self.text)


class Changed(msgspec.Struct, frozen=True):
    """All that one write changed: more than one key where it was a transaction or a patch."""

    revision: int
    changes: tuple[Change, ...]


class Leader(msgspec.Struct, frozen=True):
    id: str
    address: str | None
    """`host:port` of its HTTP face, where the server knows it."""
    term: int
    """The fencing token: it only grows, and no two leaders share one."""
    is_me: bool = False
    """The server that answered is the leader."""
    established: bool = False
    lease_left_ms: float = 0.0
    """For how long nobody else can have been elected, when the answer left; 0 where another server answered."""


class Role(IntEnum):
    CANDIDATE = 1
    FOLLOWER = 2
    LEADER = 3


class Label(msgspec.Struct, frozen=True):
    pending: bool
    """What the Kubernetes API shows is not known to be what Raft wants."""
    labelled_leaders: int | None
    """How many pods it shows with the leader's label; `None` before it first answered."""


class Status(msgspec.Struct, frozen=True):
    """What one server knows of itself and of its cluster."""

    member: str
    cluster: str | None
    waiting_for: str | None
    role: Role
    term: int
    leader: str | None
    leader_http: str | None
    established: bool
    caught_up: bool
    leaderless_ms: float
    commit_index: int
    applied_index: int
    last_index: int
    voters: tuple[str, ...]
    learners: tuple[str, ...]
    connected: tuple[str, ...]
    base_index: int = 0
    snapshot_index: int = 0
    volume_full: bool = False
    version: str | None = None
    paused: str | None = None
    """The reason of a pause."""
    label: Label | None = None
    """`None` where it labels no pod."""


class Member(msgspec.Struct, frozen=True):
    name: str
    kind: str
    """`voter` or `learner`."""
    connected: bool
    incarnation: str | None = None
    match_index: int | None = None
    lag: int | None = None
    """Entries that it has not acknowledged; known to the leader alone, as the three after it."""
    rtt_ms: float | None = None
    heard_ms: float | None = None
    http_address: str | None = None


class Failover(msgspec.Struct, frozen=True, rename={"before": "from", "after": "to"}):
    """A change of the leader, as the server saw it."""

    at: float
    """Seconds since the epoch."""
    before: str | None
    after: str | None
    term: int
    reason: str
    duration_ms: float | None = None


def decoded(text: bytes, kind: type[_Kind]) -> _Kind:
    """Raises `NotUnderstood`."""
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotUnderstood(f"the answer is not as this release of raftq gives it: {error}") from error
