"""The bus as a transport: messages become events that the application carries, and come back as events that it
dispatches.

There are no connections here, so a greeting takes their place: this node says hello to everybody whom it knows of
until it is answered, and again now and then while it hears nothing. A peer counts as connected while each listens to
the other and it is heard; when it falls silent that is told as a lost connection, and the hellos begin again. Whether
a process is listened to is not decided here. A verdict names the process that it is said of: a late one, of a former
process under this node's name, must not fence the present one.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import msgspec

from raftq_k8s.node.bus_greetings import Greeting, Verdict
from raftq_k8s.node.bus_messages import Spoken, decode, encode
from raftq_k8s.node.events import RaftEvent, RaftNode
from raftq_k8s.node.options import RaftqOptions
from raftq_k8s.node.transport import Receiver, Wire
from raftq_k8s.raft.membership import Identity, Refusal
from raftq_k8s.raft.messages import AppendEntries, SnapshotChunk
from raftq_k8s.raft.types import Instant, MemberId, Milliseconds, Term

_MOST_PEERS = 256
"""Whoever invents more names than a cluster has members is not answered."""


class Emit(Protocol):
    def __call__(
        self, event: RaftEvent, message: object, destination: MemberId | None, timeout_ms: Milliseconds | None
    ) -> None: ...


class _Peer:
    __slots__ = ("accepted", "accepts_us", "heard_at", "node", "present", "refusal")

    def __init__(self, node: RaftNode) -> None:
        self.node = node
        self.present = True
        self.heard_at: Instant = 0.0
        self.accepted: Identity | None = None
        """The process of it that this node listens to."""
        self.accepts_us = False
        self.refusal: Refusal | None = None

    @property
    def connected(self) -> bool:
        return self.present and self.accepts_us and self.accepted is not None


class BusTransport:
    def __init__(
        self,
        options: RaftqOptions,
        emit: Emit,
        term: Callable[[], Term],
        note: Callable[[str], None],
        clock: Callable[[], Instant],
    ) -> None:
        self._emit = emit
        self._term = term
        self._note = note
        self._clock = clock
        self._max_message_bytes = options.max_message_bytes
        self._timeout_ms = options.minimum_election_time
        self._silence_ms = 2 * options.maximum_election_time
        """Whoever is unheard for longer is not connected."""
        self._peers: dict[MemberId, _Peer] = {}
        self._receiver: Receiver | None = None
        self._greeter: asyncio.Task[None] | None = None

    # ------------------------------------------------------------------------------------------- from the application

    def sighted(self, node: RaftNode) -> None:
        """That node is there: say hello to it."""
        peer = self._peers.get(node.id)
        if peer is None:
            peer = self._peers[node.id] = _Peer(node)
        peer.node = node
        peer.present = True
        if not peer.connected:
            self._greet(peer)

    def away(self, member: MemberId) -> None:
        peer = self._peers.get(member)
        if peer is not None:
            peer.present = False
            self._lost(peer)

    def receive(self, event: RaftEvent, message: object) -> None:
        """A message that the application received. Raises `BadMessage` for what is none."""
        sender, destination, spoken = decode(event, message)
        receiver = self._receiver
        if receiver is None or destination != receiver.hello().identity.member:
            return
        if sender.member not in self._peers and len(self._peers) >= _MOST_PEERS:
            return
        match spoken:
            case Greeting(hello):
                self._meet(sender)
                receiver.greet(hello).add_done_callback(partial(self._judged, sender, True))
            case Verdict(hello, judged, refusal):
                judge = self._meet(sender)
                if judged.is_process(receiver.hello().identity):
                    self._heed_verdict(judge, hello.identity, refusal)
                receiver.greet(hello).add_done_callback(partial(self._judged, sender, False))
            case _:
                peer = self._peers.get(sender.member)
                if peer is not None and peer.accepted == sender:
                    peer.heard_at = self._clock()
                receiver.receive(sender, (spoken,))

    # ------------------------------------------------------------------------------------------------------ Transport

    async def start(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._sight_members()
        self._greeter = asyncio.create_task(self._keep_greeting(), name="raftq hello")
        self._greeter.add_done_callback(self._ended)

    def send(self, destination: MemberId, messages: Sequence[Wire]) -> None:
        """A member that joined later may not have been named by the application: the first message for it is a hello,
        in place of what it would not listen to yet."""
        peer = self._peers.get(destination)
        if peer is None:
            self.sighted(_node_now(destination))
        elif peer.connected:
            for message in messages:
                self._say(peer, message)

    def connected(self, peer: MemberId) -> bool:
        known = self._peers.get(peer)
        return known is not None and known.connected

    def dismiss(self, process: Identity, refusal: Refusal) -> None:
        peer = self._peers.get(process.member)
        if self._receiver is None or peer is None or peer.accepted is None:
            return
        if peer.accepted.is_process(process):
            self._say(peer, Verdict(self._receiver.hello(), process, refusal))
            self._lost(peer)

    def announce(self) -> None:
        self._sight_members()
        for peer in self._peers.values():
            peer.accepts_us = False
            self._greet(peer)

    async def close(self) -> None:
        self._receiver = None
        if self._greeter is not None:
            self._greeter.cancel()

    # ------------------------------------------------------------------------------------------------------ greetings

    async def _keep_greeting(self) -> None:
        while True:
            now = self._clock()
            for peer in list(self._peers.values()):
                silent_ms = now - peer.heard_at
                if peer.connected and silent_ms > self._silence_ms:
                    self._lost(peer)
                if not peer.connected or silent_ms > self._silence_ms / 3:
                    self._greet(peer)
            await asyncio.sleep(self._timeout_ms / 1000.0)

    def _ended(self, greeter: "asyncio.Task[None]") -> None:
        if self._receiver is not None and not greeter.cancelled() and (error := greeter.exception()) is not None:
            self._receiver.failed(error)

    def _sight_members(self) -> None:
        """Members are known from the birth record, whether the application has named them or not."""
        if self._receiver is None or (record := self._receiver.hello().birth) is None:
            return
        me = self._receiver.hello().identity.member
        for member in record.members:
            if member.name != me and member.name not in self._peers:
                self._peers[member.name] = _Peer(_node_now(member.name))

    def _greet(self, peer: _Peer) -> None:
        if self._receiver is not None and peer.present:
            self._say(peer, Greeting(self._receiver.hello()))

    def _meet(self, process: Identity) -> _Peer:
        """Whoever speaks is there, however it was announced. A namesake says nothing of the one that is listened to."""
        peer = self._peers.get(process.member)
        if peer is None:
            peer = self._peers[process.member] = _Peer(_node_now(process.member))
        peer.present = True
        if peer.accepted is None or peer.accepted.is_process(process):
            peer.heard_at = self._clock()
        return peer

    def _heed_verdict(self, peer: _Peer, judge: Identity, refusal: Refusal | None) -> None:
        if refusal is not None and self._receiver is not None:
            self._receiver.refused(judge, refusal)
        if refusal is not None and refusal != peer.refusal:
            self._note(f"{peer.node.id} does not listen to this node: {refusal.reason}")
        peer.refusal = refusal
        peer.accepts_us = refusal is None

    def _judged(self, sender: Identity, asked: bool, verdict: "asyncio.Future[Refusal | None]") -> None:
        """This node's verdict on a process: returned where it was asked for."""
        if self._receiver is None or verdict.cancelled():
            return
        peer = self._peers[sender.member]
        refusal = verdict.result()
        if refusal is None and peer.accepted != sender:
            peer.accepted = sender
            peer.heard_at = self._clock()
            if asked:
                peer.accepts_us = False  # what its earlier process thought of us is over
        if asked:
            self._say(peer, Verdict(self._receiver.hello(), sender, refusal))
            if refusal is None and not peer.accepts_us:
                self._greet(peer)

    def _lost(self, peer: _Peer) -> None:
        was_connected = peer.accepted is not None
        peer.accepted, peer.accepts_us = None, False
        if was_connected and self._receiver is not None:
            self._receiver.lost(peer.node.id)

    # ------------------------------------------------------------------------------------------------------- speaking

    def _say(self, peer: _Peer, spoken: Spoken) -> None:
        assert self._receiver is not None
        sender = self._receiver.hello().identity
        event, message = encode(sender, spoken, self._term(), peer.node, self._timeout_ms)
        while (shorter := _shorter(spoken)) is not None and self._is_too_long(message):
            spoken = shorter
            event, message = encode(sender, spoken, self._term(), peer.node, self._timeout_ms)
        self._emit(event, message, peer.node.id, self._timeout_ms)

    def _is_too_long(self, message: object) -> bool:
        return len(msgspec.json.encode(message)) > self._max_message_bytes


def _shorter(spoken: Spoken) -> Spoken | None:
    """Half of what may be said in halves. The core counts the bytes of commands and of pieces, not what stands around
    them, and that grows with the number of entries and of members; a part of either is a valid message, too."""
    match spoken:
        case AppendEntries(entries=entries) if len(entries) > 1:
            return msgspec.structs.replace(spoken, entries=entries[: len(entries) // 2])
        case SnapshotChunk(data=data) if len(data) > 1:
            return msgspec.structs.replace(spoken, data=data[: len(data) // 2])
        case _:
            return None


def _node_now(member: MemberId) -> RaftNode:
    return RaftNode(member, int(time.time() * 1000))
