"""What may be stored: JSON as its author wrote it, checked once, before it enters the log.

The text is kept, not a parsed and rewritten form: a number of forty digits, `1.10` or `1e2` come back as they were
sent. So whoever makes a command from a stranger's bytes passes them through here, and behind this door nobody parses
a value again. Refused are bytes that are not UTF-8, what RFC 8259 does not allow (NaN, a trailing comma, a byte order
mark), numbers that no reader could hold (`1e400`, integers of thousands of digits), half of a surrogate pair, and
nesting so deep that a replica might fail where another did not. A name that occurs twice in an object is legal: at
the top of a document the last one counts; deeper down the text stays as sent, and readers take the last one too.
"""

import re
from itertools import accumulate

import msgspec

VALUE_DEPTH = 100
"""Arrays and objects within each other in the value of a key."""

DOCUMENT_DEPTH = VALUE_DEPTH + 1
"""A document of such values, read and put back whole, is accepted."""

_WHITESPACE = b" \t\r\n"
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"')
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_OTHERS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_decoder = msgspec.json.Decoder()


class NotJson(ValueError):
    """The bytes are no JSON that can be stored. The message says why."""


def value_text(body: bytes) -> bytes:
    """The body without white space around it, fit to be the value of a key. Raises `NotJson`."""
    return _checked(body, VALUE_DEPTH)


def document_text(body: bytes) -> bytes:
    """The body without white space around it, fit to be the whole document. Raises `NotJson`."""
    return _checked(body, DOCUMENT_DEPTH)


def _checked(body: bytes, allowed_depth: int) -> bytes:
    try:
        _decoder.decode(body)
    except RecursionError:
        raise NotJson(f"nested deeper than {allowed_depth} levels") from None
    except UnicodeError:
        raise NotJson("a string is not valid UTF-8, or holds half of a surrogate pair") from None
    except ValueError as error:
        raise NotJson(str(error)) from None
    if body.count(b"[") + body.count(b"{") > allowed_depth and _depth(body) > allowed_depth:
        raise NotJson(f"nested deeper than {allowed_depth} levels")
    return body.strip(_WHITESPACE)


def _depth(text: bytes) -> int:
    """Of JSON: each bracket is a step of one, up or down."""
    return max(accumulate(memoryview(_STRINGS.sub(b"", text).translate(_STEPS, _OTHERS)).cast("b")), default=0)
