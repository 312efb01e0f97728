"""What is a key, in a path and elsewhere: 1 to 512 bytes of UTF-8.

In a path it is everything behind `/v1/data/`, percent-decoded: `/v1/data/a/b` and `/v1/data/a%2Fb` are the same key
`a/b`, and dots mean nothing.
"""

from urllib.parse import unquote_to_bytes

from raftq_k8s.api.problems import Problem

MAX_KEY_BYTES = 512


def key_of(raw: str) -> str:
    """The key that a raw path names behind `/v1/data/`. Raises `Problem`."""
    if not raw:
        raise Problem(400, "bad-key", "Bad key", "a key has at least one character; the whole document is /v1/data")
    if raw.isascii() and raw.isalnum() and len(raw) <= MAX_KEY_BYTES:
        return raw
    encoded = unquote_to_bytes(raw.encode("utf-8", "surrogateescape"))
    if len(encoded) > MAX_KEY_BYTES:
        raise _too_long(414)
    try:
        return encoded.decode()
    except UnicodeDecodeError:
        raise Problem(400, "bad-key", "Bad key", "a key is percent-encoded UTF-8, and this is not") from None


def check_key(key: str) -> None:
    """One that came as a JSON string. Raises `Problem`."""
    if not key:
        raise Problem(422, "bad-key", "Bad key", "a key has at least one character")
    if len(key.encode()) > MAX_KEY_BYTES:
        raise _too_long(422)


def _too_long(status: int) -> Problem:
    return Problem(status, "key-too-long", "Key too long", f"a key has at most {MAX_KEY_BYTES} bytes")
