"""How many files this process may have open: its sockets are among them.

Many systems begin a process with 1024 and let it have far more if it asks; the low one is for programs that use
`select`, and nothing here does.
"""

import contextlib
import resource

WANTED_FILES = 65536


def raise_open_files() -> None:
    """As far as the hard limit allows. Where even that is refused, the HTTP face makes do with what there is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, WANTED_FILES)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
