"""What the log tells the state machine to do, as bytes in an entry, and what comes of it."""

from typing import Annotated, Final, TypeAlias

import msgspec

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]

MANY: Final = 64
"""Of anything in a transaction, at the most: what a session keeps of its answer has a bound as well."""

LONGEST_REASON: Final = 1024
"""Characters of a reason, or of a name."""

LONGEST_ELAPSE = 1 << 32
"""Milliseconds in one `Elapse`: no sum of them outgrows what an entry can hold."""


class Replace(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="replace"):
    """The whole document becomes this JSON value (encoded)."""

    document: bytes


class Put(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="put"):
    """One key of the document becomes this JSON value (encoded)."""

    key: str
    value: bytes


class PutIf(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="put-if"):
    """As `Put`, if the key's revision is that one when the command is applied; 0: if there is no such key."""

    key: str
    value: bytes
    expected: Count


class Delete(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="delete"):
    key: str


class Patch(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="patch"):
    """The whole document is merged with this JSON merge patch (RFC 7396, encoded), see `merge_patch.py`."""

    patch: bytes


Operation: TypeAlias = Replace | Put | Delete | Patch


class Condition(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a transaction rests on."""

    key: str | None
    """`None`: the whole document. Its revision is that of its last change; it always exists."""
    revisions: Annotated[tuple[Count, ...], msgspec.Meta(max_length=MANY)] | None
    """It has one of these; 0 is that of a key that is not there. `None`: it exists, whatever its revision."""

    def holds(self, found: int) -> bool:
        """Where `found` is the revision now."""
        if self.revisions is None:
            return self.key is None or found > 0
        return found in self.revisions


class Transaction(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="transaction"):
    """All conditions are compared first, then all operations carried out, one after the other, or none of them. What
    has a bound is the document that comes of all of them; on the way there it may be larger."""

    conditions: Annotated[tuple[Condition, ...], msgspec.Meta(max_length=MANY)]
    operations: Annotated[tuple[Operation, ...], msgspec.Meta(max_length=MANY)]


class OpenSession(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="open-session"):
    """The session's id is the index of this command."""


class InSession(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="in-session"):
    """The encoded `DocumentCommand` takes effect once, however often it comes under that sequence. A client numbers its
    commands upwards, and from the first that is unanswered to the last that has left there are never more than the
    session keeps replies: else one that comes first pushes another out of the window."""

    session: Count
    sequence: Count
    command: bytes


class CloseSession(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="close-session"):
    """Its client will repeat nothing any more."""

    session: Count


class Elapse(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="elapse"):
    """So many milliseconds have passed on the leader's clock: the only time that the state machine knows. Proposed by
    leaders themselves, for nobody else."""

    milliseconds: Annotated[int, msgspec.Meta(ge=0, le=LONGEST_ELAPSE)]


class Pause(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="pause"):
    """From here on the cluster changes nothing by itself: nobody is promoted, removed, or handed the leadership."""

    reason: Annotated[str, msgspec.Meta(max_length=LONGEST_REASON)]


class Resume(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="resume"):
    """The end of a pause, if there is one."""


class Starting(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="starting"):
    """The leader of that term is about to start the application beside it."""

    term: Count
    holder: Annotated[str, msgspec.Meta(max_length=LONGEST_REASON)]
    within_ms: Count
    """So soon after the election of another leader it will have stopped, whatever happens to the holder."""


class Stopped(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="stopped"):
    """The application that was started in that term runs no more."""

    term: Count


DocumentCommand: TypeAlias = Replace | Put | PutIf | Delete | Patch | Transaction
Agreement: TypeAlias = Pause | Resume | Starting | Stopped
Command: TypeAlias = DocumentCommand | Agreement | OpenSession | InSession | CloseSession | Elapse

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
_document_decoder: msgspec.msgpack.Decoder[DocumentCommand] = msgspec.msgpack.Decoder(DocumentCommand)


def encode(command: Command) -> bytes:
    return _encoder.encode(command)


def decode(command: bytes) -> Command:
    """Raises `msgspec.DecodeError` (or its subclass `ValidationError`) for what no release of ours wrote. What is in an
    `InSession` is not looked at."""
    try:
        return _decoder.decode(command)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error


def decode_nested(command: InSession) -> DocumentCommand:
    """Raises as `decode` does."""
    try:
        return _document_decoder.decode(command.command)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error


class Applied(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="applied"):
    """The command took effect; `revision` is its index in the log. `existed`: a put or delete found the key there. To
    replace or patch the document finds it always."""

    revision: int
    existed: bool


class Transacted(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="transacted"):
    """All of it took effect. `existed`: as in `Applied`, of each operation."""

    revision: int
    existed: tuple[bool, ...]


class NotAnObject(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="not-an-object"):
    """A key was addressed, but the document is some other JSON value. Nothing changed."""

    revision: int


class TooBig(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="too-big"):
    """The document would pass its bound of so many bytes. Nothing changed."""

    revision: int
    limit_bytes: int


class TooMuchToMerge(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="too-much-to-merge"):
    """Patches reach so deep into so large values that more than so many bytes would have to be looked through. Nothing
    changed."""

    revision: int
    limit_bytes: int


class NotAsExpected(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="not-as-expected"):
    """The revision was `found` (0: no such key), not one that is expected. Nothing changed."""

    revision: int
    found: int
    condition: int = 0
    """Which one of a transaction failed, the first of them counted."""


class Noted(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="noted"):
    """The agreement stands in the log at `revision`; what came of it, the state says."""

    revision: int


class SessionOpened(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="session-opened"):
    session: int


class SessionClosed(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="session-closed"):
    """Closed now, or gone before."""

    session: int


class TooManySessions(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="too-many-sessions"):
    """None was opened: there are so many, and none of them has expired."""

    limit: int


class NoSuchSession(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="no-such-session"):
    """Never opened, closed, or expired. This time nothing was done; whether an earlier try of the command did something
    is not known any more."""

    session: int


class ReplyForgotten(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="reply-forgotten"):
    """Replies are kept from sequence `oldest` on. This time nothing was done; whether an earlier try of the command did
    something is not known any more."""

    oldest: int


class SequenceReused(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="sequence-reused"):
    """Another command had that sequence before. Nothing was done."""

    sequence: int


class Elapsed(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="elapsed"):
    """The time of the log, in milliseconds, and how many sessions expired by it."""

    log_time: int
    expired: int


DocumentRefusal: TypeAlias = NotAnObject | TooBig | TooMuchToMerge | NotAsExpected
DocumentResult: TypeAlias = Applied | Transacted | DocumentRefusal
SessionRefusal: TypeAlias = TooManySessions | NoSuchSession | ReplyForgotten | SequenceReused
Result: TypeAlias = DocumentResult | Noted | SessionOpened | SessionClosed | SessionRefusal | Elapsed
