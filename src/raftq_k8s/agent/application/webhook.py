"""A hook that is a URL: the notice is posted to it as JSON, and any answer of the 200s says that it was done."""

import asyncio

import aiohttp
import msgspec

from raftq_k8s.agent.application.hooks import HookFailed, Notice
from raftq_k8s.agent.application.lease import Lease
from raftq_k8s.sockets import to_dial


class Webhook:
    name = "webhook"

    def __init__(self, url: str) -> None:
        self._url = url

    async def start(self, notice: Notice, lease: Lease) -> None:
        await self._post(notice)

    async def stop(self, notice: Notice) -> None:
        await self._post(notice)

    async def ended(self) -> None:
        pass  # the answer said so

    async def tell(self, notice: Notice) -> None:
        await self._post(notice)

    async def renew(self, notice: Notice, lease: Lease) -> None:
        pass

    async def _post(self, notice: Notice) -> None:
        """The caller says how long it may take. A connection of its own each time: one that idles may be dead."""
        headers = {"Content-Type": "application/json"}
        without_end = aiohttp.ClientTimeout(total=None)
        try:
            async with (
                aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(socket_factory=to_dial), timeout=without_end
                ) as session,
                session.post(
                    self._url, data=msgspec.json.encode(notice), headers=headers, allow_redirects=False
                ) as answer,
            ):
                if not 200 <= answer.status < 300:
                    raise HookFailed(f"{self._url} answered {answer.status} as {notice.role}")
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as error:
            raise HookFailed(f"{self._url} cannot be reached: {error}") from error
