"""Client sessions: what makes a repeated command take effect once."""

from collections.abc import Callable
from typing import Any

from raftq_k8s.sim.mutations.mutation import Mutation
from raftq_k8s.state.commands import InSession, NoSuchSession, Result
from raftq_k8s.state.sessions import Reply, Session, Sessions


def _no_reply(self: Session, sequence: int) -> Reply | None:
    return None


def _no_use(self: Sessions, session: Session) -> None:
    self._sessions[session.session] = session


_once = Sessions.once


def _carried_out_without_session(self: Sessions, command: InSession, carry_out: Callable[[], Any]) -> Result:
    result = _once(self, command, carry_out)
    return carry_out() if isinstance(result, NoSuchSession) else result


MUTATIONS = (
    Mutation(
        "reply-not-kept",
        "9",
        "a session carries a repeated command out again",
        ((Session, "reply_to", _no_reply),),
        ("break", "lossy", "crash"),
    ),
    Mutation(
        "use-does-not-count",
        "9",
        "a session expires though it is used",
        ((Sessions, "_used", _no_use),),
        ("pause",),
    ),
    Mutation(
        "expired-is-carried-out",
        "9",
        "a command of a session that is gone is carried out",
        ((Sessions, "once", _carried_out_without_session),),
        ("break", "freeze", "crash"),
    ),
)
