"""`raftq bench`: what is measured for whom, and how it is shown."""

import asyncio
import sys
from collections.abc import Sequence
from typing import NamedTuple, get_args
from urllib.parse import urlsplit

import msgspec
from rich.console import Group
from rich.table import Table
from rich.text import Text

from raftq_k8s.cli import showing
from raftq_k8s.cli.bench import failover, puts_and_gets
from raftq_k8s.cli.bench.failover import Failovers
from raftq_k8s.cli.bench.load import LoadFailed, NobodyToAsk, Server
from raftq_k8s.cli.bench.puts_and_gets import Row, What
from raftq_k8s.cli.connecting import NO, TRY_AGAIN, complain
from raftq_k8s.cli.local_cluster import ClusterFailed

MEASUREMENTS = ("puts", "gets", "failover")


class BadArgument(Exception):
    """The message says which, and what would be right."""


class Asked(NamedTuple):
    measurements: Sequence[str]
    clients: Sequence[int]
    seconds: float
    rounds: int
    beside: Sequence[str]
    server: Server | None


class Found(msgspec.Struct, omit_defaults=True):
    puts: list[Row] | None = None
    gets: list[Row] | None = None
    failover: Failovers | None = None


def asked(
    measurements: Sequence[str], clients: str, seconds: float, rounds: int, beside: str, url: str, token: str
) -> Asked:
    """Raises `BadArgument`."""
    unknown = [each for each in measurements if each not in MEASUREMENTS]
    if unknown:
        raise BadArgument(f"{unknown[0]} is not measured, only {', '.join(MEASUREMENTS)}")
    wanted = tuple(measurements) or (("puts", "gets") if url else MEASUREMENTS)
    if url and "failover" in wanted:
        raise BadArgument(
            "failover kills leaders, and does so only to agents that it started itself: leave out --server"
        )
    server = _server(url, token) if url else None
    others = () if server is not None and beside == "all" else _contenders(beside)
    return Asked(wanted, _counts(clients), seconds, rounds, others, server)


def run(asked: Asked, as_json: bool) -> int:
    """The exit code."""
    try:
        found = asyncio.run(_measure(asked))
    except NobodyToAsk as failure:
        return complain(f"{failure} (who is asked: --server URL)", TRY_AGAIN)
    except (ClusterFailed, LoadFailed) as failure:
        print(f"raftq bench: {failure}", file=sys.stderr)
        return NO
    except KeyboardInterrupt:
        return 130
    if as_json:
        print(msgspec.json.encode(found).decode())
    else:
        show(found, asked.server)
    return 0


def show(found: Found, server: Server | None) -> None:
    where = "three processes on this machine" if server is None else f"asked at {server.host}:{server.port}"
    if found.puts:
        _table(f"durable puts of 256 bytes, {where}", found.puts)
    if found.gets:
        _table(f"linearizable gets of 256 bytes, {where}", found.gets)
    if one := found.failover:
        title = Text("kill -9 of the leader → first put accepted elsewhere", "bold")
        rounds = "1 round" if one.rounds == 1 else f"{one.rounds} rounds"
        said = f"{rounds}: median {one.median_s} s, p90 {one.p90_s} s, slowest {one.slowest_s} s"
        showing.show(Group(title, Text(said), Text()))


async def _measure(asked: Asked) -> Found:
    found = Found()
    for what in get_args(What):
        if what in asked.measurements:
            rows = await puts_and_gets.measure(what, asked.clients, asked.seconds, asked.beside, asked.server)
            setattr(found, what, rows)
    if "failover" in asked.measurements:
        found.failover = await failover.measure(asked.rounds)
    return found


def _table(title: str, rows: Sequence[Row]) -> None:
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column("server")
    for column in ("clients", "a second", "p50 ms", "p99 ms", "failed"):
        table.add_column(column, justify="right")
    table.add_column("asked by")
    for row in rows:
        table.add_row(*map(str, msgspec.structs.astuple(row)))
    showing.show(Group(Text(title, "bold"), table, Text()))


def _counts(text: str) -> tuple[int, ...]:
    try:
        counts = tuple(int(each) for each in text.split(","))
    except ValueError:
        counts = (0,)
    if not all(1 <= count <= 1000 for count in counts):
        raise BadArgument(f"clients {text!r}: numbers from 1 to 1000, with commas between them")
    return counts


def _contenders(text: str) -> tuple[str, ...]:
    there = puts_and_gets.installed()
    if text == "all":
        return tuple(there)
    named = () if text == "none" else tuple(filter(None, text.split(",")))
    for name in named:
        if name not in ("etcd", "pysyncobj"):
            raise BadArgument(f"beside {name!r}: etcd, pysyncobj, or all that is installed")
        if name not in there:
            how = "apt-get install etcd-server" if name == "etcd" else "pip install pysyncobj"
            raise BadArgument(f"{name} is not installed here: {how}")
    return named


def _server(url: str, token: str) -> Server:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or 7480
        (host or "").encode("idna")
    except ValueError:  # of the port or of a name that can be none, in words of its own
        host, port = None, 0
    if not host or parts.scheme != "http" or parts.path not in ("", "/"):
        raise BadArgument(f"server {url!r} is not http://HOST:PORT")
    return Server(host, port, f"Bearer {token}" if token else "")
