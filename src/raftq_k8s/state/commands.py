"""What the log tells the document to do, as bytes in an entry."""

from typing import TypeAlias

import msgspec


class Replace(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="replace"):
    """The whole document becomes this JSON value (encoded)."""

    document: bytes


class Put(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="put"):
    """One key of the document becomes this JSON value (encoded)."""

    key: str
    value: bytes


class Delete(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="delete"):
    key: str


Command: TypeAlias = Replace | Put | Delete

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)


def encode(command: Command) -> bytes:
    return _encoder.encode(command)


def decode(command: bytes) -> Command:
    """Raises `msgspec.DecodeError` (or its subclass `ValidationError`) for what no release of ours wrote."""
    try:
        return _decoder.decode(command)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error


class Applied(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="applied"):
    """The command took effect; `revision` is its index in the log. `existed`: a put or delete found the key there."""

    revision: int
    existed: bool


class NotAnObject(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="not-an-object"):
    """A key was addressed, but the document is some other JSON value. Nothing changed."""

    revision: int


class TooBig(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="too-big"):
    """The document would pass its bound of so many bytes. Nothing changed."""

    revision: int
    limit_bytes: int


Result: TypeAlias = Applied | NotAnObject | TooBig
