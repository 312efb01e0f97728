"""A hook that is a file: who leads, and until when to rely on it. The application reads it as often as it likes.

The file is replaced as a whole. As long as it says `"role": "leader"`, the application may serve until `valid_until`,
which is written anew all the while; when that has passed, the file says nothing any more, and the application has to
have stopped. So this hook holds when the agent stands still or dies, and it needs no other way back: the application
has ended once the latest `valid_until` that was ever written has passed.
"""

import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from raftq_k8s.agent.application.hooks import HookFailed, Notice, Role
from raftq_k8s.agent.application.lease import Lease
from raftq_k8s.node.runtime import boottime
from raftq_k8s.raft.types import Instant, MemberId, Milliseconds, Term


class Said(msgspec.Struct, frozen=True):
    """What is in the file."""

    role: Role
    term: Term
    member: MemberId
    leader: MemberId | None
    leader_address: str | None
    valid_until: float | None
    """Seconds since the epoch. `None` for a follower."""
    valid_until_boottime: float | None
    """The same moment in seconds of CLOCK_BOOTTIME, which nobody sets: for who can read that clock."""


class FileHook:
    name = "file"

    def __init__(self, path: Path, stop_timeout: Milliseconds) -> None:
        self._path = path
        self._valid_until: Instant = min(self._of_a_former_life(), boottime() + stop_timeout)
        self._writer = ThreadPoolExecutor(1, "file-hook")
        """One thread, so that what is said later is written later, also where a disk is slow."""

    async def start(self, notice: Notice, lease: Lease) -> None:
        await self._say(notice, lease)

    async def stop(self, notice: Notice) -> None:
        await self._say(notice, None)

    async def ended(self) -> None:
        await asyncio.sleep(max(0.0, self._valid_until - boottime()) / 1000)

    async def tell(self, notice: Notice) -> None:
        await self._say(notice, None)

    async def renew(self, notice: Notice, lease: Lease) -> None:
        await self._say(notice, lease)

    async def _say(self, notice: Notice, lease: Lease | None) -> None:
        if lease is not None:
            self._valid_until = max(self._valid_until, lease.kill_at)
        try:
            text = msgspec.json.encode(_said(notice, lease)) + b"\n"
            await asyncio.get_running_loop().run_in_executor(self._writer, self._replace, text)
        except OSError as error:
            raise HookFailed(f"{self._path} cannot be written: {error.strerror}") from error

    def _replace(self, text: bytes) -> None:
        """Whoever reads sees all of the old text or all of the new one. Nothing is synced: what a machine's end leaves
        is no longer valid."""
        beside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        beside.write_bytes(text)
        beside.replace(self._path)

    def _of_a_former_life(self) -> Instant:
        """It may have been one before this machine was started, whose clock said something else."""
        try:
            said = msgspec.json.decode(self._path.read_bytes(), type=Said)
        except (OSError, msgspec.DecodeError):
            return boottime()
        return boottime() if said.valid_until_boottime is None else said.valid_until_boottime * 1000


def _said(notice: Notice, lease: Lease | None) -> Said:
    until = None if lease is None else lease.kill_at / 1000
    return Said(
        notice.role,
        notice.term,
        notice.member,
        notice.leader,
        notice.leader_address,
        None if until is None else round(time.time() + until - boottime() / 1000, 3),
        until,
    )
