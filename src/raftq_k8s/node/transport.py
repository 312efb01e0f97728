"""The doors between a node and whatever carries its messages."""

import asyncio
from collections.abc import Sequence
from typing import Protocol, TypeAlias

from raftq_k8s.node.forwarding import Forward, Forwarded
from raftq_k8s.raft.membership import Hello, Identity, Refusal
from raftq_k8s.raft.messages import Message
from raftq_k8s.raft.types import MemberId

Wire: TypeAlias = Message | Forward | Forwarded
"""What travels between two nodes that have greeted each other."""


class Receiver(Protocol):
    """The node, as the transport sees it. Everything here is called on the event loop's thread and returns at once."""

    def hello(self) -> Hello:
        """What this node says of itself now."""

    def greet(self, hello: Hello) -> "asyncio.Future[Refusal | None]":
        """A peer said hello. Ends with `None` when it may talk to us (what must be remembered of it is then synced)."""

    def receive(self, sender: Identity, messages: Sequence[Wire]) -> None:
        """Messages of a peer, in the order sent, from the process that greeted as `sender`."""

    def lost(self, peer: MemberId) -> None:
        """The connection to that peer is gone: a hint, never a proof."""

    def refused(self, by: Identity, refusal: Refusal) -> None:
        """A peer does not listen to this node."""

    def failed(self, error: BaseException) -> None:
        """The transport cannot go on, and so neither can the node. Never for what somebody else sent, or has done."""


class Transport(Protocol):
    async def start(self, receiver: Receiver) -> None:
        """Listen, and dial whoever is known."""

    def send(self, destination: MemberId, messages: Sequence[Wire]) -> None:
        """Hand over one loop turn's messages for one peer. Never blocks; drops what does not fit its bounded queue."""

    def connected(self, peer: MemberId) -> bool:
        """Whether a greeted connection to that peer is open right now."""

    def dismiss(self, process: Identity, refusal: Refusal) -> None:
        """That process is not listened to any more, though it was: tell it, and hang up."""

    def announce(self) -> None:
        """This node's hello changed: say it again to everybody connected."""

    async def close(self) -> None:
        """Close all connections and stop listening."""
