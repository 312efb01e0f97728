"""What this agent knows of itself: `/v1/status`, for people and tests, and who led before: `/v1/history`."""

from msgspec import structs

from raftq_k8s.api.answers import Answer, json_answer
from raftq_k8s.api.requests import Request
from raftq_k8s.api.views import LabelView, Node


class Status:
    def __init__(self, node: Node, version: str, label: LabelView | None) -> None:
        self._node = node
        self._version = version
        self._label = label

    async def get(self, request: Request) -> Answer:
        told = structs.asdict(self._node.status())
        told |= {"version": self._version, "paused": self._node.paused, "label": self._label_told()}
        return json_answer(200, told)

    async def history(self, request: Request) -> Answer:
        return json_answer(200, {"failovers": self._node.history()})

    def _label_told(self) -> dict[str, object] | None:
        """`None` where this agent labels no pod."""
        label = self._label
        if label is None:
            return None
        return {"pending": label.pending, "labelled_leaders": label.labelled_leaders}
