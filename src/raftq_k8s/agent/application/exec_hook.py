"""A hook that is a command: run with the role and the term in its environment, done when it ends with exit code 0.

It is the first of a process group of its own. When it takes too long, the whole group is killed, and so it is when this
process dies (the kernel does the latter, to the command itself).
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from typing import Final

from raftq_k8s.agent.application.hooks import HookFailed, Notice, environment
from raftq_k8s.agent.application.lease import Lease
from raftq_k8s.agent.application.watchdog import end_with

_BURIAL_S: Final = 1.0
"""A killed process is gone sooner, unless the kernel holds it: then nobody can wait for it."""


class ExecHook:
    name = "exec"

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command

    async def start(self, notice: Notice, lease: Lease) -> None:
        await self._run(notice)

    async def stop(self, notice: Notice) -> None:
        await self._run(notice)

    async def ended(self) -> None:
        pass  # the command said so

    async def tell(self, notice: Notice) -> None:
        await self._run(notice)

    async def renew(self, notice: Notice, lease: Lease) -> None:
        pass

    async def _run(self, notice: Notice) -> None:
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                env=os.environ | environment(notice),
                start_new_session=True,
                preexec_fn=end_with(os.getpid()),
            )
        except OSError as error:
            raise HookFailed(f"{self._command[0]} cannot be run: {error.strerror}") from error
        try:
            code = await process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_BURIAL_S):
                    await process.wait()
        if code:
            ending = f"exit code {code}" if code > 0 else f"signal {-code}"
            raise HookFailed(f"{self._command[0]} ended with {ending} as {notice.role}")
