"""Waiting for a condition, for a bounded time: how every test here waits."""

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


class Unanswered(Exception):
    """Nobody answered in time, or said "not now": while something is being moved that is to be expected."""


def eventually(what: str, condition: Callable[[], Found | None], within_s: float, every_s: float = 0.05) -> Found:
    """What `condition` returns, as soon as that is something; `Unanswered` counts as nothing."""
    start = time.monotonic()
    last: object = None
    while True:
        try:
            found = condition()
            if found:
                return found
            last = found
        except Unanswered as error:
            last = error
        if time.monotonic() > start + within_s:
            raise AssertionError(f"not within {within_s:g} s: {what} (last: {last!r})")
        time.sleep(every_s)
