"""A node that takes no part any more, and what its agent makes of that.

A process that was removed or rolled back while it served stays as it is, for people to look at; the next one archives
the volume (`before_the_start.py`). One that has learned it at its start, before it took part in anything, has nothing
to show: it begins anew at once, so that a pod that returns with the volume of a former life is taken in without
anybody's help.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from raftq_k8s.agent import before_the_start
from raftq_k8s.agent.before_the_start import FENCING, Fenced, IsLed
from raftq_k8s.node.status import MemberStatus, NodeStatus

_LOOK_EVERY_S = 1.0

log = logging.getLogger(__name__)


class Node(Protocol):
    def status(self) -> NodeStatus: ...

    def members(self) -> Sequence[MemberStatus]: ...


async def watch(
    node: Node, data: Path, is_led: IsLed, begin_anew: Callable[[], object], look_every_s: float = _LOOK_EVERY_S
) -> None:
    """Goes on for as long as the process lives."""
    fenced = await _fenced(node, look_every_s)
    try:
        await asyncio.to_thread(before_the_start.note, data, fenced)
    except OSError as error:  # then the next process hears it again
        log.warning("it cannot be noted that this volume is %s: %s", fenced.kind, error)
    while True:
        if not node.status().caught_up and await before_the_start.may_be_archived(fenced, is_led):
            begin_anew()
            return
        await asyncio.sleep(look_every_s)


async def _fenced(node: Node, look_every_s: float) -> Fenced:
    """As soon as it is."""
    while True:
        status = node.status()
        kind = FENCING.get(status.fenced or "")
        if kind is not None and status.cluster is not None and status.incarnation is not None:
            others = tuple(member.http_address for member in node.members() if member.http_address)
            return Fenced(kind, status.cluster, status.incarnation, others)
        await asyncio.sleep(look_every_s)
