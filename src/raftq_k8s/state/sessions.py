"""Exactly once: what each client's session remembers of the commands that it carried (dissertation §6.3).

A client that loses an answer cannot know whether its command took effect, and a second try may do it twice. So it
registers a session through the log, and numbers its commands. The session keeps the replies to the latest sequences:
who comes again with the same command hears what was answered first, and nothing is done. Another command under the
same sequence is a mistake of the client, and says so. Behind the window of what is kept nothing can be told any more,
and nothing is done either.

Sessions end when their clients close them, or have let them lie for too long. Long is measured by the time that the
log carries (`Elapse`), for replicas must agree on it: no clock is asked. At the bound of their number a new one is
refused; none is taken from a client that counts on it. What a session keeps has a bound, so all of them together have.

Sessions stand in the order of their last use: expiry looks at the first ones only. Each is immutable, and a picture of
all of them is a copy of one small dict.
"""

from collections.abc import Callable
from hashlib import blake2b
from typing import Final

import msgspec

from raftq_k8s.raft.types import Index
from raftq_k8s.state.commands import (
    DocumentResult,
    Elapsed,
    InSession,
    NoSuchSession,
    ReplyForgotten,
    SequenceReused,
    SessionClosed,
    SessionOpened,
    SessionRefusal,
    TooManySessions,
)

WINDOW: Final = 32
"""Replies that a session keeps. Like the bounds below the same on every member, because it decides what a command does:
not a setting."""

SESSIONS_LIMIT: Final = 4096

IDLE_MS: Final = 600_000
"""A session that nobody uses for so long, by the time of the log, expires."""

REPLY_BYTES: Final = 128
"""Of a reply in a snapshot, digest and sequence included, at the most."""

SESSION_BYTES: Final = 64 + WINDOW * REPLY_BYTES
"""Of a session in a snapshot, at the most. So all of them take no more than 16.25 MiB there."""


class Reply(msgspec.Struct, frozen=True, array_like=True, gc=False):
    sequence: int
    digest: bytes
    """Of the command that was answered so."""
    result: DocumentResult


class Session(msgspec.Struct, frozen=True, array_like=True, gc=False):
    session: int
    used_at: int
    """By the time of the log."""
    highest: int = 0
    """The highest sequence that was carried out."""
    replies: tuple[Reply, ...] = ()
    """To sequences above `highest - WINDOW`, in the order in which they were given."""

    def reply_to(self, sequence: int) -> Reply | None:
        if sequence > self.highest:
            return None
        return next((reply for reply in self.replies if reply.sequence == sequence), None)

    def with_reply(self, reply: Reply) -> "Session":
        highest = max(self.highest, reply.sequence)
        kept = [earlier for earlier in self.replies if earlier.sequence > highest - WINDOW]
        return Session(self.session, self.used_at, highest, (*kept, reply))


class SessionsPicture(msgspec.Struct, frozen=True):
    """All sessions as they were at one moment, in order."""

    log_time: int
    sessions: tuple[Session, ...]


class Sessions:
    def __init__(self, limit: int = SESSIONS_LIMIT, idle_ms: int = IDLE_MS) -> None:
        self.limit, self.idle_ms = limit, idle_ms
        self.log_time = 0
        """In milliseconds: the sum of what ever elapsed."""
        self._sessions: dict[int, Session] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def open(self, index: Index) -> SessionOpened | TooManySessions:
        if len(self._sessions) >= self.limit:
            return TooManySessions(self.limit)
        self._sessions[index] = Session(index, self.log_time)
        return SessionOpened(index)

    def close(self, session: int) -> SessionClosed:
        self._sessions.pop(session, None)
        return SessionClosed(session)

    def elapse(self, milliseconds: int) -> Elapsed:
        self.log_time += milliseconds
        expired = 0
        while self._sessions:
            longest_unused = next(iter(self._sessions.values()))
            if self.log_time - longest_unused.used_at < self.idle_ms:
                break
            del self._sessions[longest_unused.session]
            expired += 1
        return Elapsed(self.log_time, expired)

    def once(self, command: InSession, carry_out: Callable[[], DocumentResult]) -> DocumentResult | SessionRefusal:
        """The reply that is kept, or that of carrying the command out now, which is kept from here on."""
        session = self._sessions.get(command.session)
        if session is None:
            return NoSuchSession(command.session)
        if command.sequence <= session.highest - WINDOW:
            self._used(session)
            return ReplyForgotten(session.highest - WINDOW + 1)
        digest = blake2b(command.command, digest_size=16).digest()
        reply = session.reply_to(command.sequence)
        if reply is None:
            reply = Reply(command.sequence, digest, carry_out())
            session = session.with_reply(reply)
        self._used(session)
        return reply.result if reply.digest == digest else SequenceReused(command.sequence)

    def _used(self, session: Session) -> None:
        del self._sessions[session.session]
        used = Session(session.session, self.log_time, session.highest, session.replies)
        self._sessions[session.session] = used

    # ------------------------------------------------------------------------------------------------------ snapshots

    def picture(self) -> SessionsPicture:
        return SessionsPicture(self.log_time, tuple(self._sessions.values()))

    def restore(self, session: Session) -> bool:
        """One more, in their order, into sessions that were blank. False for one that cannot be there."""
        if session.session in self._sessions or len(session.replies) > WINDOW:
            return False
        self._sessions[session.session] = session
        return True
