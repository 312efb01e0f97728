"""Spans of time, as people read them: two units at the most, and no more digits than mean something."""


def milliseconds(span_ms: float | None) -> str:
    """`-` where it is not known."""
    if span_ms is None:
        return "-"
    if span_ms < 10:
        return f"{span_ms:.1f} ms"
    return f"{span_ms:.0f} ms" if span_ms < 1000 else seconds(span_ms / 1000)


def seconds(span_s: float) -> str:
    if span_s < 10:
        return f"{span_s:.2g} s" if span_s >= 0.01 else "0 s"
    whole = round(span_s)
    for unit, length, smaller, smaller_length in _UNITS:
        if whole >= length:
            count, rest = divmod(whole, length)
            rest //= smaller_length
            return f"{count} {unit} {rest} {smaller}" if rest else f"{count} {unit}"
    return f"{whole} s"


_UNITS = (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60), ("min", 60, "s", 1))
