"""When a request is sent again.

Three things can be known of a try: it did not take effect (there was no connection, or the server says that nothing
was done), it did, or nothing is known. The first may be repeated whatever the request was; a try of which nothing is
known only where a second one does no harm: a read, or a write whose session makes it take effect once. An answer of
5xx that is not raftq's own comes from something in between, which may have passed the request on: nothing is known.

All of it is bounded by the time of the call. Where a try may be repeated it gets a part of that time only, so that one
server that is frozen does not use it up. Between two rounds through the servers there is a pause that grows, and is
drawn at random, so that many clients of a leader that has gone do not come back in step.
"""

import random
from enum import Enum, auto
from typing import TypeAlias

import msgspec

from raftq_k8s.client.errors import (
    PROBLEM_TYPE,
    ClientError,
    Compacted,
    Denied,
    Full,
    NotAnObject,
    NotAsExpected,
    OutcomeUnknown,
    Problem,
    Refused,
    Unavailable,
    Unreachable,
)
from raftq_k8s.client.exchange import Answer

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0
_SHORTEST_TRY_S = 0.5
_LARGEST_PART = 0.6
"""Of the time of a call for one try, where there is but one server: as a Service it may lead to another pod next."""

_LEAST_PART = 0.1
"""Of the time of a call: a write is not sent with less than that left, for its answer could hardly come in time."""


class Repeat(Enum):
    """What a second try of a request does, where it is not known what the first did."""

    UNNOTICED = auto()
    """It reads."""
    HARMLESS = auto()
    """It carries a session, or asks for a state that it may ask for twice."""
    HARMFUL = auto()
    """It might undo what another client wrote after the first."""


class Done(msgspec.Struct, frozen=True):
    answer: Answer


class Elsewhere(msgspec.Struct, frozen=True):
    """The leader is the one to ask, for the same."""

    server: str
    path: str
    """Of what is to be asked for there: a member leads on to the same; a page to log in is somewhere else."""


class NothingDone(msgspec.Struct, frozen=True):
    error: ClientError
    pause_s: float = 0.0


class NothingKnown(msgspec.Struct, frozen=True):
    sentence: str


class Final(msgspec.Struct, frozen=True):
    error: Refused


Verdict: TypeAlias = Done | Elsewhere | NothingDone | NothingKnown | Final

_KINDS: dict[str, type[Refused]] = {
    "not-as-expected": NotAsExpected,
    "not-an-object": NotAnObject,
    "compacted": Compacted,
}
_STATUSES: dict[int, type[Refused]] = {401: Denied, 403: Denied, 410: Compacted, 412: NotAsExpected, 507: Full}


def judge(answer: Answer) -> Verdict:
    if 200 <= answer.status < 300:
        return Done(answer)
    if answer.status in (307, 308) and "location" in answer.headers:
        return _elsewhere(answer)
    problem = problem_of(answer)
    sentence = f"{answer.server}: {problem.detail or problem.title}"
    if problem.outcome == "unknown" or (answer.status >= 500 and not problem.kind):
        return NothingKnown(sentence)
    if answer.status in (408, 429, 503) and problem.kind:
        # That nobody leads passes sooner than a server can say.
        pause_s = _seconds(answer.headers.get("retry-after", "")) if answer.status == 429 else 0.0
        return NothingDone(Unavailable(sentence, problem), pause_s)
    return Final(refusal(answer, problem))


def refusal(answer: Answer, problem: Problem) -> Refused:
    kind = _KINDS.get(problem.kind) or _STATUSES.get(answer.status, Refused)
    return kind(f"{answer.server}: {problem.detail or problem.title}", problem)


def problem_of(answer: Answer) -> Problem:
    try:
        problem = msgspec.json.decode(answer.body, type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        problem = Problem()
    if problem.type.startswith(PROBLEM_TYPE):
        return problem
    return Problem(status=answer.status, detail=f"it answered {answer.status}, and not as raftq does")


def _elsewhere(answer: Answer) -> Verdict:
    """A token that was meant for an encrypted connection does not leave on another."""
    location = answer.headers["location"]
    scheme, separator, rest = location.partition("://")
    if not separator or scheme not in ("http", "https"):
        return NothingDone(Unreachable(f"{answer.server} names a leader that is no address: {location[:200]}"))
    if answer.server.startswith("https:") and scheme != "https":
        sentence = f"{answer.server} leads away from https, to {location[:200]}: ask the leader itself over https"
        return Final(Refused(sentence, Problem(status=answer.status)))
    host, slash, path = rest.partition("?")[0].partition("/")
    return Elsewhere(f"{scheme}://{host}", slash + path)


def _seconds(text: str) -> float:
    return float(text) if text.isdecimal() else 0.0


class Effort:
    """What one call has tried so far, and how long it may still go on."""

    def __init__(self, repeat: Repeat, timeout_s: float, servers: int, now: float) -> None:
        self._repeat = repeat
        self._try_s = max(_SHORTEST_TRY_S, timeout_s * min(1 / servers, _LARGEST_PART))
        self._deadline = now + timeout_s
        self._least_s = timeout_s * _LEAST_PART if repeat is Repeat.HARMFUL else 0.0
        self._rounds = 0
        self.in_doubt = False
        """An earlier try may have taken effect."""
        self._last: ClientError = Unreachable("no server was asked: there was no time")

    def patience_s(self, now: float) -> float:
        """How long the next try may take. Raises what the call ends with, where the time is over."""
        left = self._deadline - now
        if left < self._least_s:
            raise self._last
        if self._repeat is Repeat.HARMFUL:
            return left
        return min(left, self._try_s)

    def failed(self, verdict: NothingDone | NothingKnown) -> None:
        """Raises `OutcomeUnknown` where that was the last try."""
        match verdict:
            case NothingDone(error):
                if not self.in_doubt:
                    self._last = error
            case NothingKnown(sentence):
                self._not_known(sentence)

    def _not_known(self, sentence: str) -> None:
        match self._repeat:
            case Repeat.HARMFUL:
                raise OutcomeUnknown(sentence)
            case Repeat.HARMLESS:
                self.in_doubt = True
                self._last = OutcomeUnknown(sentence)
            case Repeat.UNNOTICED:
                if not isinstance(self._last, Unavailable):  # which says why
                    self._last = Unreachable(sentence)

    def pause_s(self, verdict: NothingDone | NothingKnown, *, round_over: bool, took_s: float, now: float) -> float:
        """How long to wait before the next try. Raises what the call ends with, where the time is over; for a write,
        where it would be over before a try as long as this one: that one would leave the outcome unknown."""
        pause_s = 0.0
        if round_over:
            self._rounds += 1
            longest = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(self._rounds, 10))
            pause_s = random.uniform(longest / 2, longest)
        if isinstance(verdict, NothingDone):
            pause_s = max(pause_s, verdict.pause_s)
        needed_s = max(took_s, self._least_s) if self._repeat is Repeat.HARMFUL else 0.0
        if now + pause_s + needed_s >= self._deadline:
            raise self._last
        return pause_s
