"""Bytes, for people."""

_UNITS = ("KiB", "MiB", "GiB", "TiB")


def in_words(size_bytes: int) -> str:
    """`1.2 MiB`."""
    if size_bytes < 1024:
        return f"{size_bytes} B"
    size = float(size_bytes)
    for unit in _UNITS:
        size /= 1024
        if size < 1023.95 or unit == _UNITS[-1]:
            break
    return f"{size:.1f} {unit}"
