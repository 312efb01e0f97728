"""What an omniscient observer knows of every command that was carried by a session, and what must hold of each.

A client may send one command many times. However often it comes to stand in the log, it takes effect at most once, all
its answers are the first one, and once its session is gone it does nothing any more. Tries are told from each other
by a field that no release knows, and every release passes over.
"""

from typing import Final

from raftq_k8s.node.forwarding import Outcome
from raftq_k8s.raft.types import Index, Instant, Milliseconds
from raftq_k8s.sim.events import Events
from raftq_k8s.sim.violation import DURABLE_BEFORE_REPLY, EXACTLY_ONCE, Violation
from raftq_k8s.state.commands import (
    Applied,
    DocumentResult,
    NoSuchSession,
    NotAnObject,
    NotAsExpected,
    ReplyForgotten,
    Result,
    TooBig,
    TooMuchToMerge,
    Transacted,
)

SESSIONS_LIMIT: Final = 3
IDLE_MS: Final = 2_500
TIME_INTERVAL: Final[Milliseconds] = 250.0
"""Sessions as they are simulated: so few, and so short, that clients meet every end of them."""

_SHORTEST: Final[Milliseconds] = (IDLE_MS - 2 * TIME_INTERVAL) / 1.05
"""No session that was used within it has expired, however fast a leader's clock runs."""


class Session:
    __slots__ = ("closed", "gone", "id", "used_at")

    def __init__(self, session: int, now: Instant) -> None:
        self.id = session
        self.used_at = now
        """When the client sent what was applied last: it reached the log later than that."""
        self.closed = False
        """Its client may have closed it."""
        self.gone = False


class Once:
    """One command of one session, however often it is sent."""

    __slots__ = ("answer", "sequence", "session", "took_effect_at")

    def __init__(self, session: Session, sequence: int) -> None:
        self.session, self.sequence = session, sequence
        self.answer: DocumentResult | None = None
        """The first."""
        self.took_effect_at: Index | None = None

    def __str__(self) -> str:
        return f"command {self.sequence} of session {self.session.id}"


class SessionWatch:
    def __init__(self, events: Events) -> None:
        self._events = events
        self._tries: dict[bytes, tuple[Once, Instant]] = {}

    def sent(self, command: bytes, once: Once) -> None:
        self._tries[command] = (once, self._events.now)

    def applied(self, index: Index, command: bytes, result: Result, changed: bool) -> None:
        """By the first replica that did. `changed`: the document is another one now."""
        known = self._tries.get(command)
        if known is None:
            return
        once, sent_at = known
        session = once.session
        match result:
            case Applied() | Transacted() | NotAnObject() | TooBig() | TooMuchToMerge() | NotAsExpected():
                if session.gone:
                    raise Violation(EXACTLY_ONCE, f"{once} is carried out at {index} though its session is gone")
                if once.answer is None:
                    once.answer, once.took_effect_at = result, index
                elif once.answer != result or changed:
                    raise Violation(EXACTLY_ONCE, f"{once} takes effect at {once.took_effect_at} and again at {index}")
                session.used_at = max(session.used_at, sent_at)
            case NoSuchSession() | ReplyForgotten() if changed:
                raise Violation(EXACTLY_ONCE, f"{once} is refused at {index}, and takes effect all the same")
            case NoSuchSession():
                self._is_gone(session)
            case ReplyForgotten():
                session.used_at = max(session.used_at, sent_at)
            case _:
                raise Violation(EXACTLY_ONCE, f"{once} ends as {result} at {index}, though nobody used it otherwise")

    def _is_gone(self, session: Session) -> None:
        idle = self._events.now - session.used_at
        if not (session.gone or session.closed) and idle < _SHORTEST:
            raise Violation(EXACTLY_ONCE, f"session {session.id} expired {idle:.0f} ms after it was used")
        session.gone = True

    def answered(self, command: bytes, place: Index | None, outcome: Outcome) -> None:
        """A caller is told what came of a try."""
        once, _ = self._tries[command]
        match outcome:
            case Applied() | Transacted() | NotAnObject() | TooBig() | TooMuchToMerge() | NotAsExpected() if (
                once.answer != outcome or place is None
            ):
                raise Violation(EXACTLY_ONCE, f"a caller hears {outcome} of {once}; what came of it is {once.answer}")
            case NoSuchSession() | ReplyForgotten() if place is None:
                raise Violation(DURABLE_BEFORE_REPLY, f"a caller hears {outcome} of {once}, which stands in no log")
            case _:
                pass

    def is_watched(self, command: bytes) -> bool:
        return command in self._tries

    def took_effect(self, command: bytes) -> Index | None:
        return self._tries[command][0].took_effect_at
