"""`python -m bench [WHAT…] [--json] [--rounds N] [--seconds S]`: all of it, if nothing is named."""

import argparse
import asyncio
import platform
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from bench import core, idle, log, memory, restart, simulator, streams, transfer
from raftq_k8s.cli.bench import failover, puts_and_gets
from raftq_k8s.cli.bench.load import LoadFailed
from raftq_k8s.cli.local_cluster import ClusterFailed

_CLIENTS = (1, 16, 64)
_WIDTH = 140
_WORDS = ("server", "member", "role", "profile", "what", "asked by")
"""Columns that hold words, and no figures."""


class _Measurement:
    """One of them: what it is asked for, and how it is shown."""

    def __init__(self, title: str, columns: tuple[str, ...], measure: Callable[[argparse.Namespace], Awaitable[Any]]):
        self.title, self.columns, self.measure = title, columns, measure


async def _now(found: Any) -> Any:
    return found


_LOADS = ("server", "clients", "a second", "p50 ms", "p99 ms", "failed", "asked by")
_MEASUREMENTS = {
    "core": _Measurement(
        "the core alone, in memory, all members on one core",
        ("voters", "learners", "commands/s, batch 1", "batch 64", "heartbeat µs a peer: leader", "follower"),
        lambda _: _now(core.measure()),
    ),
    "log": _Measurement(
        "the log in memory",
        ("entries", "term µs", "append µs", "truncate µs", "longest compaction ms", "trim ms"),
        lambda _: _now(log.measure()),
    ),
    "simulator": _Measurement(
        "the simulator, all checks on",
        ("what", "seeds", "simulated min", "CPU s", "min per CPU s"),
        lambda _: _now(simulator.measure()),
    ),
    "puts": _Measurement(
        "durable puts of 256 bytes",
        _LOADS,
        lambda asked: puts_and_gets.measure("puts", _CLIENTS, asked.seconds, puts_and_gets.installed(), None),
    ),
    "gets": _Measurement(
        "linearizable gets of 256 bytes",
        _LOADS,
        lambda asked: puts_and_gets.measure("gets", _CLIENTS[-1:], asked.seconds, puts_and_gets.installed(), None),
    ),
    "failover": _Measurement(
        "kill -9 of the leader → first put accepted elsewhere (s)",
        ("rounds", "median", "p90", "slowest"),
        lambda asked: failover.measure(asked.rounds),
    ),
    "transfer": _Measurement(
        "planned transfer under load: the longest time without an answered put (ms)",
        ("transfers", "median", "slowest", "puts", "failed"),
        lambda asked: transfer.measure(max(1, asked.rounds // 5)),
    ),
    "idle": _Measurement(
        "an idle agent",
        ("member", "role", "profile", "RSS MiB", "PSS MiB", "CPU %"),
        lambda asked: idle.measure(asked.idle_seconds),
    ),
    "memory": _Measurement(
        "memory after many puts on a thousand keys",
        ("member", "role", "puts", "RSS MiB", "log begins after", "failed"),
        lambda asked: memory.measure(asked.entries),
    ),
    "restart": _Measurement(
        "start with a long log and no snapshot",
        ("member", "role", "entries", "answers s", "CPU s", "ready s", "RSS MiB", "applied s", "most MiB"),
        lambda asked: restart.measure(asked.entries),
    ),
    "streams": _Measurement(
        "event streams on one agent, while there are puts",
        ("streams", "events", "loop lag p99 ms", "a look p99 ms", "elections"),
        lambda asked: streams.measure(asked.streams, asked.seconds),
    ),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=sys.modules["bench"].__doc__)
    parser.add_argument("what", nargs="*", help=f"of {', '.join(_MEASUREMENTS)} [all]")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    parser.add_argument("--rounds", type=int, default=100, help="kills of the leader [100]")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each load [10]")
    parser.add_argument("--idle-seconds", type=float, default=60.0, help="length of idling [60]")
    parser.add_argument("--entries", type=int, default=1_000_000, help="puts, and entries in a log [1,000,000]")
    parser.add_argument("--streams", type=int, default=1000, help="clients of event streams [1,000]")
    asked = parser.parse_args()
    if unknown := [each for each in asked.what if each not in _MEASUREMENTS]:
        parser.error(f"{unknown[0]} is not measured, only {', '.join(_MEASUREMENTS)}")
    if min(asked.rounds, asked.seconds, asked.idle_seconds, asked.entries, asked.streams) < 1:
        parser.error("all numbers are at least 1")
    try:
        found = asyncio.run(_measure(asked))
    except (ClusterFailed, LoadFailed) as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if asked.json:
        print(msgspec.json.encode(found).decode())
    return 0


async def _measure(asked: argparse.Namespace) -> dict[str, Any]:
    interpreter = f"Python {platform.python_version()}, {platform.python_compiler()}"
    found: dict[str, Any] = {"interpreter": interpreter}
    if not asked.json:
        print(interpreter, end="\n\n")
    for name in asked.what or _MEASUREMENTS:
        measurement = _MEASUREMENTS[name]
        found[name] = await measurement.measure(asked)
        if not asked.json:
            _show(measurement, found[name])
    return found


def _show(measurement: _Measurement, found: Any) -> None:
    rows = found if isinstance(found, list) else [found]
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim")
    for column in measurement.columns:
        table.add_column(column, justify="left" if column in _WORDS else "right")
    for row in rows:
        table.add_row(*map(str, msgspec.structs.astuple(row)[: len(measurement.columns)]))
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
    console.print(measurement.title, style="bold")
    console.print(table, end="\n\n")


if __name__ == "__main__":
    sys.exit(main())
