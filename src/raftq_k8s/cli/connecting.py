"""How the commands that speak to running agents reach them, and how such a command ends.

0: it was done. 1: it was answered, and the answer is no (there is no such key, a condition did not hold, something is
wrong). 2: the command line makes no sense. 3: nobody could be reached, or nobody leads; nothing was done, and it may be
tried again. 4: it is not known whether it was done. What went wrong is one line on standard error that says what to do.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeAlias

import typer

if TYPE_CHECKING:
    from raftq_k8s.client import Client

NO, USAGE, TRY_AGAIN, UNKNOWN, INTERRUPTED = 1, 2, 3, 4, 130

PATIENCE_S = 9.0
"""Longer than a server waits for a leader, so that what it says in the end is heard."""

HERE = "http://127.0.0.1:7480"

Servers: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--server",
        metavar="URL",
        envvar="RAFTQ_SERVER",
        show_default=HERE,
        help="Whom to ask: an agent, or a Service of them. May be given several times.",
    ),
]
TokenFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--token-file", metavar="FILE", envvar="RAFTQ_TOKEN_FILE", help="The file that holds the bearer token."
    ),
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


class Reach(NamedTuple):
    servers: list[str] | None
    """None: the agent on this machine."""
    token_file: Path | None


def ask(reach: Reach, work: "Callable[[Client], Awaitable[int]]", timeout_s: float | None = None) -> int:
    """Run it with a client, and return the exit code. `timeout_s`: of each of its calls, where `PATIENCE_S` is not
    right."""
    from raftq_k8s.client import Client, ClientError

    try:
        client = Client(reach.servers or [HERE], token=reach.token_file, timeout_s=timeout_s or PATIENCE_S)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="'--server'") from error
    try:
        return asyncio.run(_with(client, work))
    except ClientError as error:
        return said(error)
    except UnicodeEncodeError as error:
        return complain(f"{error.object!r} is not Unicode text", USAGE)
    except (KeyboardInterrupt, asyncio.CancelledError):
        return INTERRUPTED
    except BrokenPipeError:
        return unread()


async def _with(client: "Client", work: "Callable[[Client], Awaitable[int]]") -> int:
    this = asyncio.current_task()
    assert this is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    async with client:
        code = await work(client)
        sys.stdout.flush()
        return code


def unread() -> int:
    """The exit code where nobody reads the output any more: what is left of it, or comes yet, goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + signal.SIGPIPE


def said(error: Exception) -> int:
    """Say it in one line that tells what to do, and return the exit code."""
    from raftq_k8s.client import Denied, OutcomeUnknown, TokenUnreadable, Unavailable, Unreachable

    match error:
        case Unreachable():
            if str(error).endswith("in time"):
                return complain(f"{error}: does somebody lead? See raftq status", TRY_AGAIN)
            return complain(f"{error} (who is asked: --server URL, or RAFTQ_SERVER)", TRY_AGAIN)
        case Unavailable():
            return complain(f"{error}: try again", TRY_AGAIN)
        case OutcomeUnknown():
            return complain(f"{error}; it may have been done: look before you repeat it", UNKNOWN)
        case TokenUnreadable():
            return complain(str(error), USAGE)
        case Denied():
            return complain(f"{error} (--token-file FILE, or RAFTQ_TOKEN_FILE)", NO)
        case _:
            return complain(str(error), NO)


def complain(sentence: str, code: int) -> int:
    print(f"raftq: {' '.join(sentence.split())}", file=sys.stderr)
    return code
