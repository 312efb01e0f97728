"""Where things are at a server, percent-encoded."""

from urllib.parse import quote

DATA = "/v1/data"


def of_key(key: str) -> str:
    """Raises `ValueError` for what is no key."""
    if not key:
        raise ValueError("a key has at least one character")
    try:
        return f"{DATA}/{segment(key)}"
    except UnicodeEncodeError:
        raise ValueError(f"the key {key!r} is not Unicode text") from None


def segment(text: str) -> str:
    """As one part of a path. What consists of dots would be taken for a way upwards."""
    return quote(text, safe="").replace(".", "%2E") if text in (".", "..") else quote(text, safe="")
