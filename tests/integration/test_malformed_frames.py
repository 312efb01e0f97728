"""Garbage of many kinds on the raft port of a leader at work: it goes on leading, and counts."""

import random
import struct

import msgspec
from garbage import CONVERSATIONS, leader_at_work, metrics, say

from raftq_k8s.node.forwarding import Forward, Forwarded, Refused
from raftq_k8s.raft.membership import Hello, Identity
from raftq_k8s.raft.messages import (
    AppendEntries,
    AppendResponse,
    Entry,
    EntryKind,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from raftq_k8s.raft.types import BootId, Generation, Incarnation, Index, MemberId, Term, TransferId

SEED = 7
STRANGER = MemberId("raftq-9")
UPGRADE = (
    b"GET /raft HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
)
BINARY, TEXT = 0x82, 0x81


def frame(payload, opcode=BINARY):
    """A websocket frame with the mask that changes nothing."""
    size = len(payload)
    if size < 126:
        head = struct.pack(">BB", opcode, 0x80 | size)
    elif size < 1 << 16:
        head = struct.pack(">BBH", opcode, 0x80 | 126, size)
    else:
        head = struct.pack(">BBQ", opcode, 0x80 | 127, size)
    return head + bytes(4) + payload


def messages(source, target, term):
    return [
        VoteRequest(source, target, term, Incarnation("j"), Index(1 << 40), term, False),
        VoteResponse(source, target, term, True, False, 0.5),
        AppendEntries(
            source,
            target,
            term,
            3,
            Index(0),
            Term(0),
            Index(1 << 40),
            (Entry(Index(1), term, EntryKind.COMMAND, b"\xff"),),
        ),
        AppendResponse(source, target, term, 3, True, Index(1 << 40), Index(0), Term(0), 200.0),
        TimeoutNow(source, target, term, TransferId(1)),
        Forward(source, target, 1, b"no command"),
        Forwarded(source, target, 1, Refused("not-leader")),
    ]


class Garbage:
    """What strangers say to `target`, a member of that cluster, who leads in that term."""

    def __init__(self, target, cluster, term, seed):
        self.random = random.Random(seed)
        identity = Identity(cluster, STRANGER, Incarnation("nobody"), Generation(1), BootId("boot"))
        self.hello = msgspec.msgpack.encode([Hello(1, 1, identity, None, "")])
        self.well_formed = [msgspec.msgpack.encode([each]) for each in messages(STRANGER, target, term)]
        self.misaddressed = msgspec.msgpack.encode(messages(MemberId("raftq-8"), target, term))

    def conversation(self):
        """All that is said, in one piece."""
        kinds = (
            self._no_http,
            self._half_a_request,
            self._no_hello,
            self._spoilt_hello,
            self._spoilt_messages,
            self._impossible_messages,
            self._broken_frames,
        )
        return [self.random.choice(kinds)()]

    def _no_http(self):
        return self.random.randbytes(self.random.randrange(1, 3000)) + b"\r\n\r\n"

    def _half_a_request(self):
        return self._spoilt(UPGRADE) + b"\r\n\r\n"

    def _no_hello(self):
        return UPGRADE + frame(self.random.randbytes(self.random.randrange(3000)), self.random.choice((BINARY, TEXT)))

    def _spoilt_hello(self):
        return UPGRADE + frame(self._spoilt(self.hello)) + self._end()

    def _spoilt_messages(self):
        """And from somebody else than was greeted: what a flipped bit makes of a term is never heard."""
        return UPGRADE + frame(self.hello) + frame(self._spoilt(self.misaddressed)) + self._end()

    def _impossible_messages(self):
        """Well-formed, of this term, from a process that is no member and no leader."""
        return (
            UPGRADE + frame(self.hello) + b"".join(map(frame, self.random.choices(self.well_formed, k=5))) + self._end()
        )

    def _broken_frames(self):
        """With reserved bits, lengths of the moon, masks left out."""
        return UPGRADE + frame(self.hello) + self.random.randbytes(self.random.randrange(2, 300)) + self._end()

    def _spoilt(self, good):
        spoilt = bytearray(good)
        for _ in range(self.random.randrange(1, 4)):
            if not spoilt:
                break
            match self.random.randrange(3):
                case 0:
                    spoilt[self.random.randrange(len(spoilt))] ^= 1 << self.random.randrange(8)
                case 1:
                    del spoilt[self.random.randrange(len(spoilt)) :]
                case _:
                    spoilt[self.random.randrange(len(spoilt)) :] += self.random.randbytes(4)
        return bytes(spoilt)

    def _end(self):
        return frame(b"\xc1")


async def test_garbage_on_the_raft_port_ends_nothing_and_is_counted(tmp_path):
    async with leader_at_work(tmp_path) as (leader, status):
        garbage = Garbage(leader.name, status.cluster, status.term, SEED)
        await say(leader.raft_port, garbage.conversation)
        counted = await metrics(leader)
    bad = sum(value for name, value in counted.items() if name.startswith("raftq_bad_frames_total"))
    assert bad > CONVERSATIONS / 2  # what broke off in the middle is no frame
