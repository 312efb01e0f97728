"""What the members have agreed on besides the document: whether the cluster is paused, and who runs the application.

The application lease (`docs/application.md`) rests on the log: a leader that is about to start its application says so
first, and says so again when it has stopped. Whoever leads next sees whether somebody may be running yet. Of terms the
latest counts: what a leader of an earlier one says too late changes nothing.
"""

import msgspec

from raftq_k8s.raft.types import Index
from raftq_k8s.state.commands import Agreement, Noted, Pause, Resume, Starting, Stopped


class Holding(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """That one said that it starts the application, and not yet that it has stopped."""

    term: int
    holder: str
    within_ms: int
    """What it promised: so soon after the election of another leader it will have stopped."""


class AgreementsPicture(msgspec.Struct, frozen=True, array_like=True, gc=False):
    paused: str | None = None
    application: Holding | None = None
    latest_term: int = 0
    """In which an application was started, whether it runs or not."""


class Agreements:
    def __init__(self) -> None:
        self._now = AgreementsPicture()

    @property
    def paused(self) -> str | None:
        """The reason, while the cluster is paused."""
        return self._now.paused

    @property
    def application(self) -> Holding | None:
        return self._now.application

    def apply(self, index: Index, agreement: Agreement) -> Noted:
        now = self._now
        match agreement:
            case Pause(reason):
                self._now = msgspec.structs.replace(now, paused=reason)
            case Resume():
                self._now = msgspec.structs.replace(now, paused=None)
            case Starting(term, holder, within_ms) if term >= now.latest_term:
                self._now = AgreementsPicture(now.paused, Holding(term, holder, within_ms), term)
            case Stopped(term) if now.application is not None and now.application.term == term:
                self._now = msgspec.structs.replace(now, application=None)
            case Starting() | Stopped():
                pass  # of an earlier term
        return Noted(index)

    def picture(self) -> AgreementsPicture:
        return self._now

    def restore(self, picture: AgreementsPicture) -> None:
        self._now = picture
