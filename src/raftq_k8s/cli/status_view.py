"""A picture of the cluster for people. Green leads, red is away or has stopped, yellow can bear no further failure;
nothing else is coloured."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from raftq_k8s.cli.spans import milliseconds, seconds
from raftq_k8s.cli.status import MemberPicture, Picture

_REASONS = {
    "transfer": "handed over",
    "connection-lost": "the connection to it was lost",
    "silent": "it was not heard any more",
    "quorum-lost": "it heard no majority any more",
    "deposed": "it heard of a later term",
}


class LiveView:
    """Redrawn in place; what was seen last stays when it is over."""

    def __init__(self) -> None:
        self._live = Live(console=Console(highlight=False), auto_refresh=False)
        self._picture: Picture | None = None
        self._seen_at = time.monotonic()

    def __enter__(self) -> "LiveView":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def see(self, seen: Picture | Exception) -> None:
        if isinstance(seen, Picture):
            self._picture, self._seen_at = seen, time.monotonic()
            self._live.update(drawn(seen, time.time()), refresh=True)
            return
        trouble = Text(f" no answer for {seconds(time.monotonic() - self._seen_at)}: {seen}", style="red")
        last = [] if self._picture is None else [drawn(self._picture, time.time())]
        self._live.update(Group(*last, trouble, Text()), refresh=True)


def drawn(picture: Picture, now_s: float) -> RenderableType:
    """`now_s`: seconds since the epoch."""
    return Padding(Group(*_parts(picture, now_s)), (1, 1), expand=False)


def _parts(picture: Picture, now_s: float) -> Iterable[RenderableType]:
    yield _title(picture)
    if picture.paused is not None:
        why = f": {picture.paused}" if picture.paused else ""
        yield Text(f"paused{why} (raftq resume ends it)", style="yellow")
    if picture.waiting_for is not None:
        yield Text(f"{picture.asked}: {picture.waiting_for}", style="yellow")
    if picture.members:
        yield Text()
        yield _Members(picture.members)
    failover = picture.last_failover
    if failover is not None:
        took = "" if failover.duration_ms is None else f" in {_taken(failover.duration_ms)}"
        reason = _REASONS.get(failover.reason, failover.reason)
        ago = seconds(max(0.0, now_s - failover.at))
        yield Text()
        yield Text(f"last failover {ago} ago: {failover.before} → {failover.after}{took} ({reason})")


def _taken(span_ms: float) -> str:
    return milliseconds(span_ms) if span_ms < 10 else seconds(span_ms / 1000)


def _title(picture: Picture) -> RenderableType:
    if picture.cluster is None:
        return Text.assemble((picture.asked, "bold"), " belongs to no cluster yet")
    return _Facts(
        Text.assemble("cluster ", (picture.cluster, "bold")),
        Text(_count(picture.voters, "voter")),
        Text(f"term {picture.term}"),
        _leader(picture),
        Text(*_tolerance(picture)),
    )


def _leader(picture: Picture) -> Text:
    if picture.leader is None:
        return Text(f"nobody leads for {seconds(picture.leaderless_s)}", "bold red")
    since = "" if picture.leader_for_s is None else f" for {seconds(picture.leader_for_s)}"
    return Text.assemble("leader ", (picture.leader, "bold green"), since)


def _tolerance(picture: Picture) -> tuple[str, str]:
    match picture.tolerates:
        case -1:
            return "no majority is here: writes have stopped", "bold red"
        case 0 if picture.voters > 1:
            return "tolerates no failure", "yellow"
        case 0:
            return "tolerates no failure", ""
        case count:
            return f"tolerates {_count(count, 'failure')}", ""


def _count(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


class _Facts:
    """On one line with dots between them, or on several where the terminal is too narrow: none is torn apart."""

    def __init__(self, *facts: Text) -> None:
        self._facts = facts

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        first, *others = self._facts
        line = first
        for fact in others:
            longer = Text.assemble(line, " · ", fact)
            if longer.cell_len > options.max_width:
                yield line
                line = fact
            else:
                line = longer
        yield line


class _Members:
    """The table, without its last columns where the terminal is too narrow for them."""

    def __init__(self, members: Sequence[MemberPicture]) -> None:
        labelled = any(member.label is not None for member in members)
        self._members = members
        self._columns = [column for column in _COLUMNS if labelled or column is not _LABEL]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns = self._columns
        while len(columns) > _LEAST and console.measure(self._table(columns)).maximum > options.max_width:
            columns = columns[:-1]
        yield self._table(columns)

    def _table(self, columns: Sequence["_Column"]) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for column in columns:
            table.add_column(column.heading, justify=column.justify, no_wrap=True)
        for member in self._members:
            _, style = _MARKS.get(member.role, _NO_MARK)
            table.add_row(*(column.cell(member) for column in columns), style=style)
        return table


_MARKS = {"leader": ("●", "green"), "away": ("✗", "red")}


_NO_MARK = (" ", "")


class _Column(NamedTuple):
    heading: str
    justify: Literal["left", "right"]
    cell: Callable[[MemberPicture], str]


def _log(member: MemberPicture) -> str:
    if member.log_entries is None:
        return "-"
    compacted = f", {member.compacted:.0%} compacted" if member.compacted else ""
    return f"{member.log_entries:,}{compacted}"


_LABEL = _Column("label", "left", lambda member: member.label or "-")
_COLUMNS = (
    _Column(" ", "left", lambda member: _MARKS.get(member.role, _NO_MARK)[0]),
    _Column("member", "left", lambda member: member.name),
    _Column("role", "left", lambda member: member.role),
    _Column("lag", "right", lambda member: "-" if member.lag is None else f"{member.lag:,}"),
    _Column("heard", "right", lambda member: milliseconds(member.heard_ms)),
    _Column("rtt", "right", lambda member: milliseconds(member.rtt_ms)),
    _LABEL,
    _Column("log entries", "left", _log),
)
_LEAST = 3
"""Columns."""
