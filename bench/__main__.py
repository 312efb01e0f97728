"""`python -m bench [core|log|simulator|failover|puts|idle|all] [--json] [--rounds N] [--seconds S]`."""

import argparse
import asyncio
import sys
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from bench import core, failover, idle, log, puts, simulator
from raftq_k8s.cli.local_cluster import ClusterFailed

_MEASUREMENTS = ("core", "log", "simulator", "failover", "puts", "idle")
_WORDS = ("server", "member", "role", "profile", "what")
"""Columns that hold words, and no figures."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=sys.modules["bench"].__doc__)
    parser.add_argument("what", nargs="?", choices=[*_MEASUREMENTS, "all"], default="all")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    parser.add_argument("--rounds", type=int, default=50, help="kills of the leader [50]")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each load, and of idling [10]")
    asked = parser.parse_args()
    if asked.rounds < 1 or asked.seconds < 1:
        parser.error("rounds and seconds are at least 1")
    try:
        found = asyncio.run(_measure(asked))
    except (ClusterFailed, puts.MissingTool) as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if asked.json:
        print(msgspec.json.encode(found).decode())
    else:
        _show(found)
    return 0


async def _measure(asked: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if asked.what in ("core", "all"):
        found["core"] = core.measure()
    if asked.what in ("log", "all"):
        found["log"] = log.measure()
    if asked.what in ("simulator", "all"):
        found["simulator"] = simulator.measure()
    if asked.what in ("failover", "all"):
        found["failover"] = await failover.measure(asked.rounds)
    if asked.what in ("puts", "all"):
        found["puts"] = await puts.measure(asked.seconds)
    if asked.what in ("idle", "all"):
        found["idle"] = await idle.measure(asked.seconds)
    return found


def _show(found: dict[str, Any]) -> None:
    if rows := found.get("core"):
        columns = ["voters", "learners", "commands/s, batch 1", "batch 64", "heartbeat µs a peer: leader", "follower"]
        _table("the core alone, in memory, all members on one core", columns, [*map(msgspec.structs.astuple, rows)])
    if rows := found.get("log"):
        columns = ["entries", "term µs", "append µs", "truncate µs", "longest compaction ms", "trim ms"]
        _table("the log in memory", columns, [*map(msgspec.structs.astuple, rows)])
    if rows := found.get("simulator"):
        columns = ["what", "seeds", "simulated min", "CPU s", "min per CPU s"]
        _table("the simulator, all checks on", columns, [*map(msgspec.structs.astuple, rows)])
    if one := found.get("failover"):
        title = "kill -9 of the leader → first put accepted elsewhere (s)"
        _table(title, ["rounds", "median", "p90", "slowest"], [[one.rounds, one.median_s, one.p90_s, one.slowest_s]])
    if rows := found.get("puts"):
        title = "durable puts of 256 B over HTTP to the leader"
        columns = ["server", "clients", "puts/s", "p50 ms", "p99 ms", "failed"]
        _table(title, columns, [msgspec.structs.astuple(row) for row in rows])
    if rows := found.get("idle"):
        columns = ["member", "role", "profile", "RSS MiB", "PSS MiB", "CPU %"]
        _table("an idle agent", columns, [msgspec.structs.astuple(row) for row in rows])


def _table(title: str, columns: list[str], rows: list[Any]) -> None:
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim")
    for column in columns:
        table.add_column(column, justify="left" if column in _WORDS else "right")
    for row in rows:
        table.add_row(*map(str, row))
    console = Console(highlight=False)
    console.print(title, style="bold")
    console.print(table, end="\n\n")


if __name__ == "__main__":
    sys.exit(main())
