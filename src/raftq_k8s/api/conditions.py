"""`If-Match` and `If-None-Match` (RFC 9110 §13): a write that happens only if nobody was quicker, and a read that is
sent only if there is something new.

An entity tag is a revision in quotes: of a key, or of the last change of the whole. For a write they become conditions
that the state machine compares when the command is applied, so that it is a compare-and-set: to look here, before it
enters the log, would prove nothing. A weak tag never matches `If-Match`, and neither does one that no answer of ours
carried.
"""

import re
from collections.abc import Iterator

from raftq_k8s.api.problems import Problem
from raftq_k8s.api.requests import Request
from raftq_k8s.raft.types import NO_INDEX
from raftq_k8s.state.commands import MANY, Condition

MATCH, NONE_MATCH = "If-Match", "If-None-Match"

_TAG = re.compile(r'[ \t,]*(?:(W/)?"([^"\x00-\x20\x7f]*)"[ \t]*(?:,|$)|$)')
_HIGHEST = (1 << 63) - 1
_REVISION = re.compile(r"0|[1-9][0-9]{0,18}")


def of_write(request: Request, key: str | None) -> tuple[Condition, ...]:
    """What has to hold of that key, or of the whole, when the write is applied. Raises `Problem`."""
    headers = request.headers
    conditions: tuple[Condition, ...] = ()
    if MATCH in headers:
        conditions += (_match(request, key),)
    if NONE_MATCH in headers:
        conditions += (_none_match(request, key),)
    return conditions


def is_known(request: Request, revision: int) -> bool:
    """Whether the reader has that revision already. Raises `Problem` where it wants another one."""
    headers = request.headers
    if MATCH in headers and not _names(request, MATCH, revision, weak=False):
        detail = f"the revision is {revision} by now"
        raise Problem(412, "not-as-expected", "Not as expected", detail, members={"found": revision})
    return NONE_MATCH in headers and _names(request, NONE_MATCH, revision, weak=True)


def _match(request: Request, key: str | None) -> Condition:
    if _value(request, MATCH) == "*":
        return Condition(key, None)
    revisions = tuple(dict.fromkeys(revision for is_weak, revision in _tags(request, MATCH) if not is_weak))
    if key is not None:
        revisions = tuple(revision for revision in revisions if revision != NO_INDEX)
    if len(revisions) > MANY:
        raise Problem(400, "bad-condition", "Bad condition", f"{MATCH} names at most {MANY} revisions")
    if not revisions:
        raise _cannot_hold("no answer carried such an entity tag")
    return Condition(key, revisions)


def _none_match(request: Request, key: str | None) -> Condition:
    if _value(request, NONE_MATCH) != "*":
        detail = "a write takes no other If-None-Match than *: only if there is no such key yet; nothing was done"
        raise Problem(400, "bad-condition", "Bad condition", detail)
    if key is None:
        raise _cannot_hold("there always is a document")
    return Condition(key, (NO_INDEX,))


def _names(request: Request, header: str, revision: int, *, weak: bool) -> bool:
    if _value(request, header) == "*":
        return True
    return any(named == revision and (weak or not is_weak) for is_weak, named in _tags(request, header))


def _tags(request: Request, header: str) -> Iterator[tuple[bool, int]]:
    """Whether it is weak, and its revision, of each tag that could be one of ours."""
    text, at = _value(request, header), 0
    while at < len(text):
        found = _TAG.match(text, at)
        if found is None:
            detail = f'{header} is * or entity tags in double quotes, such as "12"'
            raise Problem(400, "bad-condition", "Bad condition", detail)
        at = found.end()
        if found[2] is not None and _REVISION.fullmatch(found[2]) and int(found[2]) <= _HIGHEST:
            yield found[1] is not None, int(found[2])


def _value(request: Request, header: str) -> str:
    return ",".join(request.headers.getall(header)).strip()


def _cannot_hold(why: str) -> Problem:
    return Problem(412, "not-as-expected", "Not as expected", f"{why}; nothing changed")
