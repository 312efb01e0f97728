"""Files that are replaced while the process runs: read at its start, and again whenever one of them has changed."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

logger = logging.getLogger(__name__)

_Stamp: TypeAlias = tuple[tuple[int, int, int] | None, ...]
_T = TypeVar("_T")


class Unusable(Exception):
    """The files do not hold what they should. The message says which, and why."""


class Files(Generic[_T]):
    """What some files hold together. Files that cannot be used are complained of once, and what was read before goes
    on; from the start there is nothing that could, so `Unusable` is raised when this is made."""

    def __init__(self, what: str, paths: Sequence[Path], read: Callable[[], _T]) -> None:
        """`what` they are, in the plural, for the log. `read` raises `Unusable` or `OSError`."""
        self._what = what
        self._paths = paths
        self._read = read
        self._stamp = self._look()
        try:
            self._value = read()
        except OSError as error:
            raise Unusable(_unreadable(error)) from None

    def current(self) -> _T:
        seen = self._look()
        if seen != self._stamp:
            self._stamp = seen
            try:
                self._value = self._read()
            except (OSError, Unusable) as error:
                reason = _unreadable(error) if isinstance(error, OSError) else error
                logger.error("the %s that there are now cannot be used, those before go on: %s", self._what, reason)
            else:
                logger.info("the %s were replaced, and serve from now on", self._what)
        return self._value

    def _look(self) -> _Stamp:
        return tuple(map(_state, self._paths))


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _unreadable(error: OSError) -> str:
    return f"{error.filename} cannot be read: {error.strerror}"
