"""Garbage of many kinds on the raft port of a leader at work: it goes on leading, and counts.

How many conversations there are is in the variable RAFTQ_MALFORMED; by default as many as a test may take.
"""

import asyncio
import os
import random
import struct
import time

import msgspec

from raftq_k8s.cli.local_cluster import LocalCluster
from raftq_k8s.cli.writer import Ledger, write_on
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

CONVERSATIONS = int(os.environ.get("RAFTQ_MALFORMED", "2000"))
AT_ONCE = 32
PATIENCE_S = 0.1
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
        return self.random.choice(kinds)()

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


async def talk(port, said):
    """Until it is hung up on, or that would be waited for in vain: a frame may promise more than ever comes."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(said)
            async with asyncio.timeout(PATIENCE_S):
                while await reader.read(65536):
                    pass
        finally:
            writer.transport.abort()
    except (OSError, TimeoutError):
        pass


async def figures(agent):
    lines = (await agent.get("/metrics")).body.decode().splitlines()
    pairs = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
    bad = sum(float(value) for name, value in pairs if name.startswith("raftq_bad_frames_total"))
    return bad, float(dict(pairs)["process_resident_memory_bytes"])


async def test_garbage_on_the_raft_port_ends_nothing_and_is_counted(tmp_path):
    ledger = Ledger("beside-garbage")
    async with LocalCluster(tmp_path, arguments=("--profile", "steady")) as cluster:
        await cluster.all_ready()
        leader = await cluster.leader()
        before = await leader.status()
        garbage = Garbage(leader.name, before.cluster, before.term, SEED)
        writing = asyncio.create_task(write_on([leader], ledger, 0, 0.005))
        left = CONVERSATIONS

        async def some():
            nonlocal left
            while left > 0:
                left -= 1
                await talk(leader.raft_port, garbage.conversation())

        began = time.monotonic()
        await asyncio.gather(*(some() for _ in range(AT_ONCE)))
        print(f"{CONVERSATIONS} conversations in {time.monotonic() - began:.1f} s")
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        cluster.check()
        after = await leader.status()
        bad, memory = await figures(leader)
        log = leader.log.read_text()
    assert (after.leader, after.term) == (leader.name, before.term)
    assert after.voters == before.voters
    assert ledger.refused == 0
    assert ledger.unknown <= 1  # the last one was given up with its writer
    assert len(ledger.acknowledged) > 0
    assert bad > CONVERSATIONS / 2  # what broke off in the middle is no frame
    assert memory < 150 << 20
    assert "ERROR" not in log, log[-4000:]
