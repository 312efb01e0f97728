"""A client of a cluster of agents over HTTP, for programs on asyncio."""

from raftq_k8s.client.answers import (
    Change,
    Changed,
    Failover,
    Keys,
    Leader,
    Member,
    Role,
    Status,
    Transacted,
    Value,
    Written,
)
from raftq_k8s.client.client import Client
from raftq_k8s.client.errors import (
    ClientError,
    Compacted,
    Denied,
    Full,
    NotAnObject,
    NotAsExpected,
    NotUnderstood,
    OutcomeUnknown,
    Problem,
    Refused,
    Unavailable,
    Unreachable,
)
from raftq_k8s.client.exchange import TokenUnreadable
from raftq_k8s.client.sessions import Session
from raftq_k8s.client.writes import Condition, Delete, Patch, Presence, Put, Replace

__all__ = [
    "Change",
    "Changed",
    "Client",
    "ClientError",
    "Compacted",
    "Condition",
    "Delete",
    "Denied",
    "Failover",
    "Full",
    "Keys",
    "Leader",
    "Member",
    "NotAnObject",
    "NotAsExpected",
    "NotUnderstood",
    "OutcomeUnknown",
    "Patch",
    "Presence",
    "Problem",
    "Put",
    "Refused",
    "Replace",
    "Role",
    "Session",
    "Status",
    "TokenUnreadable",
    "Transacted",
    "Unavailable",
    "Unreachable",
    "Value",
    "Written",
]
