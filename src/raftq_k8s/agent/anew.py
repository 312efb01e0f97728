"""The same process from its beginning: the agent ends, something is done to its volume while nothing runs on it, and
the command that started this process is started in its place, under the same process id.
"""

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from typing import NoReturn, TypeAlias

Work: TypeAlias = Callable[[], None]
"""What is done to the volume. It blocks. Where it raises, it has changed nothing."""

log = logging.getLogger(__name__)


class Anew:
    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._work: Work = nothing

    def begin(self, work: Work) -> bool:
        """False where it has begun already, with other work."""
        if self._asked.is_set():
            return False
        self._work = work
        self._asked.set()
        return True

    async def asked(self) -> None:
        """Waits for it."""
        await self._asked.wait()

    @property
    def work(self) -> Work:
        """What is to be done once the agent has ended."""
        return self._work


def nothing() -> None:
    """The volume is as it should be, or the next start knows what to do."""


def carry_out(work: Work) -> None:
    """Blocks. What cannot be done is said, and the next life begins with the volume as it is."""
    try:
        work()
    except Exception:  # supervisor's door: the agent has ended, and its next life must not depend on this
        log.exception("the volume is left as it was")


def begin_again() -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, sys.orig_argv)
