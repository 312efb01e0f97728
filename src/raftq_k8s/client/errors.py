"""What a call of the client may end with, if not with its answer. Each says whether something was done.

`Unreachable` and `Unavailable`: nothing was done, and the time of the call is over. `Refused` and its kinds: a final
no, and nothing was done. `OutcomeUnknown`: it may have been done, or may still be.
"""

import msgspec


class Problem(msgspec.Struct, frozen=True):
    """What a server says of an error (RFC 9457)."""

    type: str = ""
    title: str = ""
    status: int = 0
    detail: str = ""
    outcome: str | None = None
    revision: int | None = None
    found: int | None = None
    condition: int = 0
    oldest: int | None = None

    @property
    def kind(self) -> str:
        """For programs: `no-leader`, `not-as-expected`, …; empty for an answer that is not raftq's."""
        return self.type.removeprefix(PROBLEM_TYPE) if self.type.startswith(PROBLEM_TYPE) else ""


PROBLEM_TYPE = "urn:raftq:problem:"


class ClientError(Exception):
    """The call was not carried out, or may not have been."""


class Unreachable(ClientError):
    """No server could be asked, or none answered what may be asked again. Nothing was done."""


class Unavailable(ClientError):
    """Servers answer, but cannot do it now: nobody leads, or there is too much to do. Nothing was done."""

    def __init__(self, message: str, problem: Problem) -> None:
        super().__init__(message)
        self.problem = problem


class OutcomeUnknown(ClientError):
    """The request left, and its fate is not known: it may have taken effect, may still, or never. Read before you
    repeat it; in a session it is repeated for you."""


class Refused(ClientError):
    """A final no: the same request would be refused again. Nothing was done."""

    def __init__(self, message: str, problem: Problem) -> None:
        super().__init__(message)
        self.problem = problem


class Denied(Refused):
    """The token is missing or not the right one, or this is answered to clients of the same machine alone."""


class NotAsExpected(Refused):
    """A condition did not hold when the command was applied."""

    @property
    def found(self) -> int | None:
        """The revision that the key has instead; 0 where there is no such key, `None` where the server does not say."""
        return self.problem.found

    @property
    def condition(self) -> int:
        """Which condition of a transaction it was, the first being 0."""
        return self.problem.condition


class NotAnObject(Refused):
    """The document is some other JSON value, and has no keys: replace it whole first."""


class Full(Refused):
    """The document, or the volume, takes no more."""


class NotUnderstood(ClientError):
    """It was answered that it was done, but not in the form that this release knows."""


class Compacted(Refused):
    """The changes after that revision are not kept any more: read the document anew, and watch from its revision."""

    @property
    def oldest(self) -> int | None:
        """Changes after this revision can still be had, where the server says so."""
        return self.problem.oldest
