"""Is a cluster led, with a quorum, as its members say over HTTP? Asked by a node that they do not listen to."""

import asyncio
import logging

import msgspec
from aiohttp import ClientError, ClientSession, ClientTimeout

from raftq_k8s.raft.types import ClusterId, Milliseconds

_PATIENCE_S = 2.0

log = logging.getLogger(__name__)


class _Status(msgspec.Struct):
    cluster: ClusterId | None
    established: bool
    quorum_left_ms: Milliseconds


async def is_led(cluster: ClusterId, members: tuple[str, ...]) -> bool:
    """`members`: `host:port` of each. One that does not answer is none that leads."""
    async with ClientSession(timeout=ClientTimeout(_PATIENCE_S)) as session:
        return any(await asyncio.gather(*[_leads(session, member, cluster) for member in members]))


async def _leads(session: ClientSession, member: str, cluster: ClusterId) -> bool:
    try:
        async with session.get(f"http://{member}/v1/status") as answer:
            status = msgspec.json.decode(await answer.read(), type=_Status)
    except (ClientError, TimeoutError, OSError, msgspec.DecodeError) as error:
        log.debug("%s does not say whether it leads: %r", member, error)
        return False
    return status.cluster == cluster and status.established and status.quorum_left_ms > 0
