"""What a caller of a node can be told instead of a result."""


class NoLeader(Exception):
    """Nobody leads right now, as far as this node sees: nothing was done, try again in a moment."""


class NotLeader(Exception):
    """This node does not lead; `leader` does, where one is known. Nothing was done."""

    def __init__(self, leader: str | None) -> None:
        whom = f"ask {leader}" if leader else "nobody is known to lead right now"
        super().__init__(f"this node does not lead; {whom}")
        self.leader = leader


class Overloaded(Exception):
    """Too much is waiting already. Nothing was done: try again later, or send less at a time."""


class TooLarge(Exception):
    """The command does not fit a message. Nothing was done: send less at a time."""


class VolumeFull(Exception):
    """The leader's volume is full, and no other voter has room. Nothing was done: make room, or delete something."""


class OutcomeUnknown(Exception):
    """The command left, and its fate is not known: it may take effect, or never. Read before you repeat it."""


class TooManySessions(Exception):
    """As many sessions are open as the state keeps. Nothing was done: close one, or try again when one has expired."""


class SessionExpired(Exception):
    """The session was closed, or lay idle for too long, or never was. This time nothing was done; whether an earlier
    try of the command did something is not known any more: read, then open a session anew."""


class ReplyForgotten(Exception):
    """The session has answered too many later sequences. This time nothing was done; whether an earlier try of the
    command did something is not known any more: read before you go on."""


class SequenceReused(Exception):
    """Another command had this sequence in this session. Nothing was done: number commands upwards."""


class TransferFailed(Exception):
    """The leadership was to be handed over, and nobody took it: this node leads on, or nobody is known to lead yet."""


class NotStarted(Exception):
    """`serviceStarted` was not dispatched yet, or this node was stopped. Nothing was done."""


class UnknownEvent(ValueError):
    """No event of that name exists."""

    def __init__(self, event: str) -> None:
        super().__init__(f"there is no event {event!r}; see RaftEvent for those that exist")


class BadMessage(ValueError):
    """An event was dispatched with a message that does not have the shape of that event. Nothing was done."""
