"""Is there one order of all operations that explains every answer, and agrees with the clock on the wall?

The checker is Wing and Gong's search ("Testing and verifying concurrent objects", 1993) with Lowe's memory of
configurations already seen (2017): take any operation that began before every other open one returned, see whether the
register answers as the caller heard, go on, and come back from dead ends. Keys are independent of each other, so each
has a history of its own. An operation without an answer may take effect at any time after it began, or never.

The search is exponential where much happens at once. So the order that an observer of the log believes in is tried
first: whether that one explains every answer is seen in one pass, and mostly it does.
"""

from collections.abc import Sequence
from enum import Enum

from raftq_k8s.raft.types import Instant

FOREVER: Instant = float("inf")
MOST_CONFIGURATIONS = 200_000


class Kind(Enum):
    PUT = "put"
    DELETE = "delete"
    GET = "get"
    CAS = "cas"


class Operation:
    """What one caller asked of one key, and heard. `value` is what a put or a successful `CAS` left there, and what a
    get found; `expected` is what a `CAS` found."""

    __slots__ = (
        "command",
        "existed",
        "expected",
        "invoked",
        "kind",
        "likely_place",
        "returned",
        "succeeded",
        "value",
    )

    def __init__(self, kind: Kind, value: bytes | None, invoked: Instant, command: bytes = b"") -> None:
        self.kind, self.value, self.invoked, self.command = kind, value, invoked, command
        self.returned: Instant = FOREVER
        self.existed: bool | None = None
        """Whether a put or delete found the key there; `None` when its caller never heard."""
        self.expected: bytes | None = None
        self.succeeded: bool | None = None
        """Of a `CAS`; `None` when its caller never heard."""
        self.likely_place = 0
        """Where an observer believes that it stands among the others: what is tried first, and proves nothing."""


class Impossible(Exception):
    """The register cannot answer so in this state."""


def _after(state: bytes | None, operation: Operation) -> bytes | None:
    match operation.kind:
        case Kind.GET:
            if operation.value != state:
                raise Impossible
            return state
        case Kind.PUT | Kind.DELETE:
            if operation.existed is not None and operation.existed != (state is not None):
                raise Impossible
            return operation.value if operation.kind is Kind.PUT else None
        case Kind.CAS:
            fits = operation.expected == state
            if operation.succeeded is not None and operation.succeeded != fits:
                raise Impossible
            return operation.value if fits else state


def is_explained_by_likely_places(operations: Sequence[Operation]) -> bool:
    """Whether the order of their likely places is one that explains every answer. Writes stand before the reads that
    follow on them."""
    state: bytes | None = None
    begun_by: Instant = -FOREVER
    for operation in sorted(operations, key=_likely_place):
        if operation.returned < begun_by:
            return False
        begun_by = max(begun_by, operation.invoked)
        try:
            state = _after(state, operation)
        except Impossible:
            return False
    return True


def _likely_place(operation: Operation) -> tuple[int, bool, Instant]:
    return operation.likely_place, operation.kind is Kind.GET, operation.invoked


def is_linearizable(operations: Sequence[Operation]) -> bool | None:
    """`None` when the search was given up: the history has too many operations at once."""
    begun = sorted(operations, key=lambda operation: operation.invoked)
    everything = sum(1 << place for place, operation in enumerate(begun) if operation.returned != FOREVER)
    seen: set[tuple[int, bytes | None]] = set()
    branches: list[tuple[int, int, bytes | None]] = [(0, 0, None)]
    while branches:
        done, first, state = branches.pop()
        while first < len(begun) and done >> first & 1:
            first += 1
        if done & everything == everything:
            return True
        if (done, state) in seen:
            continue
        seen.add((done, state))
        if len(seen) > MOST_CONFIGURATIONS:
            return None
        for place in reversed(_may_be_next(begun, done, first)):
            try:
                after = _after(state, begun[place])
            except Impossible:
                continue
            branches.append((done | 1 << place, first, after))
    return False


def _may_be_next(begun: Sequence[Operation], done: int, first: int) -> list[int]:
    """Whatever began before the earliest return of what is not done yet; the likeliest first."""
    candidates: list[int] = []
    earliest = FOREVER
    for place in range(first, len(begun)):
        operation = begun[place]
        if operation.invoked > earliest:
            break
        if not done >> place & 1:
            candidates.append(place)
            earliest = min(earliest, operation.returned)
    likely = [place for place in candidates if begun[place].invoked <= earliest]
    likely.sort(key=lambda place: (begun[place].likely_place, begun[place].kind is Kind.GET))
    return likely
