"""The state machine that the log drives: the document, the sessions of those who change it exactly once, and what the
members agreed on beside it.

Every replica applies the same commands in the same order and comes to the same state and the same answers, to the byte;
nothing but the log has a say: no clock, no chance, no setting. What decides has to be the same on every member.

A command that cannot be read was written by a newer release, or the log is damaged. To skip it would let replicas of
different releases drift apart without a sound, so `apply` raises `UnreadableCommand`, and the process has to end.
Nothing of the command was carried out. The door to the log is where such bytes are stopped, by decoding them before
they are proposed.
"""

from functools import partial

import msgspec

from raftq_k8s.raft.types import Index
from raftq_k8s.state import commands
from raftq_k8s.state.agreements import Agreements, Holding
from raftq_k8s.state.commands import (
    CloseSession,
    Delete,
    Elapse,
    InSession,
    OpenSession,
    Patch,
    Pause,
    Put,
    PutIf,
    Replace,
    Result,
    Resume,
    Starting,
    Stopped,
    Transaction,
)
from raftq_k8s.state.document import LIMIT_BYTES, Document, UnreadableCommand
from raftq_k8s.state.journal import Journal
from raftq_k8s.state.sessions import IDLE_MS, SESSIONS_LIMIT, Sessions
from raftq_k8s.state.snapshot import Frozen, Restoring


class StateMachine:
    def __init__(
        self, limit_bytes: int = LIMIT_BYTES, sessions_limit: int = SESSIONS_LIMIT, idle_ms: int = IDLE_MS
    ) -> None:
        """`limit_bytes` bounds the document alone."""
        self.document = Document(limit_bytes)
        self.sessions = Sessions(sessions_limit, idle_ms)
        self._agreements = Agreements()

    @property
    def paused(self) -> str | None:
        """The reason, while the cluster is to change nothing by itself."""
        return self._agreements.paused

    @property
    def application(self) -> Holding | None:
        """Who said last that it starts the application, if not that it has stopped."""
        return self._agreements.application

    @property
    def journal(self) -> Journal:
        """The latest changes of the document. It begins anew with an installed snapshot."""
        return self.document.journal

    def apply(self, index: Index, command: bytes) -> Result:
        """Carry out one command of the log. Raises `UnreadableCommand`, and has then changed nothing."""
        try:
            result = self._apply(index, commands.decode(command))
        except msgspec.DecodeError as error:
            raise UnreadableCommand(index, str(error)) from error
        self.document.applied_index = index
        return result

    def _apply(self, index: Index, command: commands.Command) -> Result:
        match command:
            case Put() | PutIf() | Delete() | Transaction() | Patch() | Replace():
                return self.document.apply(index, command)
            case InSession():
                return self._apply_once(index, command)
            case OpenSession():
                return self.sessions.open(index)
            case CloseSession(session):
                return self.sessions.close(session)
            case Elapse(milliseconds):
                return self.sessions.elapse(milliseconds)
            case Pause() | Resume() | Starting() | Stopped():
                return self._agreements.apply(index, command)

    def _apply_once(self, index: Index, command: InSession) -> Result:
        nested = commands.decode_nested(command)
        return self.sessions.once(command, partial(self.document.apply, index, nested))

    # ------------------------------------------------------------------------------------------------------ snapshots

    def freeze(self) -> Frozen:
        """What is now, to be written down while this goes on. Takes no time to speak of."""
        return Frozen(self.document.picture(), self.sessions.picture(), self._agreements.picture())

    def restoring(self) -> Restoring:
        """To be fed the bytes of a snapshot, and then installed. Until then nothing changes here."""
        document, sessions = self.document, self.sessions
        return Restoring(Document(document.limit_bytes), Sessions(sessions.limit, sessions.idle_ms), Agreements())

    def install(self, restoring: Restoring) -> None:
        """The state becomes that of the snapshot. Raises `SnapshotDamaged`, and has then changed nothing."""
        self.document, self.sessions, self._agreements = restoring.finish()
