"""How long a document is as JSON, counted without putting it together."""

from typing import Final

import msgspec

BRACES: Final = len(b"{}")

encode_key = msgspec.json.Encoder().encode


def member_size(key: str, value: bytes) -> int:
    """Without the comma that it may need."""
    return len(encode_key(key)) + len(b":") + len(value)
