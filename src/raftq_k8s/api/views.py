"""What the HTTP face needs of the layers below: the node, and whoever else has something for the metrics page."""

import asyncio
from collections.abc import Mapping
from typing import Protocol

from raftq_k8s.node.status import NodeStatus
from raftq_k8s.raft.output import Standing
from raftq_k8s.state.commands import DocumentCommand, DocumentResult
from raftq_k8s.state.document import Document


class Node(Protocol):
    """`Raftq`, as this face uses it."""

    @property
    def document(self) -> Document: ...

    @property
    def failure(self) -> "asyncio.Future[None]": ...

    def status(self) -> NodeStatus: ...

    def standing(self) -> Standing: ...

    async def submit(self, command: DocumentCommand, timeout_s: float) -> DocumentResult: ...


class LabelView(Protocol):
    """What the keeper of the label knows of it."""

    @property
    def writes(self) -> Mapping[str, int]:
        """Writes to the API by outcome."""

    @property
    def pending(self) -> bool:
        """What the API shows is not known to be what Raft wants."""

    @property
    def labelled_leaders(self) -> int | None:
        """How many pods wear the label; `None` before the API first answered."""

    @property
    def api_last_success(self) -> float | None:
        """Seconds since the epoch; `None` before the API first answered."""


class FrameView(Protocol):
    """What the transport counts."""

    @property
    def bad_frames(self) -> Mapping[str, int]:
        """Frames that no peer of ours sends, by kind."""
