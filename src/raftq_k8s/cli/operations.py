"""What a person asks of a running cluster: members, a transfer, a pause, the departure of one agent, a snapshot."""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import msgspec

from raftq_k8s.cli.connecting import NO, USAGE, Reach, ask, complain
from raftq_k8s.cli.spans import milliseconds
from raftq_k8s.client import Client, Member
from raftq_k8s.client.client import Snapshot

_CHANGE_S = 15.0
"""A member that leaves, or a leader that hands over, first has to bring others up to date."""


def list_members(reach: Reach, as_json: bool) -> int:
    async def work(client: Client) -> int:
        members = await client.members()
        if as_json:
            print(msgspec.json.encode({"members": members}).decode())
        else:
            _show(members)
        return 0

    return ask(reach, work)


def _show(members: tuple[Member, ...]) -> None:
    from rich.table import Table

    from raftq_k8s.cli.showing import show

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("member", "kind", "connected"):
        table.add_column(heading, no_wrap=True)
    for heading in ("lag", "heard"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("http", "incarnation"):
        table.add_column(heading, no_wrap=True)
    for member in members:
        lag = "-" if member.lag is None else f"{member.lag:,}"
        heard, http = milliseconds(member.heard_ms), member.http_address or "-"
        connected = "yes" if member.connected else "no"
        style = "" if member.connected else "red"
        table.add_row(member.name, member.kind, connected, lag, heard, http, member.incarnation or "-", style=style)
    show(table)


def remove(reach: Reach, member: str, incarnation: str | None, as_json: bool) -> int:
    async def work(client: Client) -> int:
        await client.remove(member, incarnation=incarnation)
        _tell(as_json, {"removed": member}, f"{member} is no member any more")
        return 0

    return ask(reach, work, _CHANGE_S)


def promote(reach: Reach, member: str, as_json: bool) -> int:
    async def work(client: Client) -> int:
        await client.promote(member)
        _tell(as_json, {"promoted": member}, f"{member} votes")
        return 0

    return ask(reach, work, _CHANGE_S)


def transfer(reach: Reach, to: str | None, as_json: bool) -> int:
    async def work(client: Client) -> int:
        leader = await client.transfer(to)
        _tell(as_json, {"leader": leader}, f"{leader} leads")
        return 0

    return ask(reach, work, _CHANGE_S)


def drain(reach: Reach, as_json: bool) -> int:
    async def work(client: Client) -> int:
        member = (await client.status()).member
        await client.drain()
        _tell(as_json, {"drained": member}, f"{member} hands over what it does, and answers until its process is ended")
        return 0

    return ask(reach._replace(servers=(reach.servers or [])[:1]), work)


def pause(reach: Reach, reason: str, as_json: bool) -> int:
    async def work(client: Client) -> int:
        await client.pause(reason)
        _tell(as_json, {"paused": reason}, "paused: no automatic transfer, promotion or removal until raftq resume")
        return 0

    return ask(reach, work)


def resume(reach: Reach, as_json: bool) -> int:
    async def work(client: Client) -> int:
        await client.resume()
        _tell(as_json, {"paused": None}, "resumed")
        return 0

    return ask(reach, work)


def save_snapshot(reach: Reach, file: Path, force: bool, as_json: bool) -> int:
    """Under its name it is whole: until then it grows beside it, under another."""
    if str(file) == "-":
        return ask(reach, _to_standard_output)
    if file.exists() and not force:
        return complain(f"{file} exists already: another name, or --force", USAGE)

    async def work(client: Client) -> int:
        growing = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            with growing.open("xb") as opened:
                async with client.snapshot() as snapshot:
                    size = await _write(snapshot, opened)
                opened.flush()
                os.fsync(opened.fileno())
            growing.replace(file)
        except OSError as error:
            return complain(f"{file} cannot be written: {error.strerror}", NO)
        finally:
            with suppress(OSError):
                growing.unlink(missing_ok=True)
        index = int(snapshot.headers.get("x-raftq-applied-index", "0"))
        told = {"file": str(file), "bytes": size, "applied_index": index}
        _tell(as_json, told, f"{file}: {size:,} bytes, everything up to revision {index:,}")
        return 0

    return ask(reach, work)


async def _to_standard_output(client: Client) -> int:
    if sys.stdout.isatty():
        return complain("a snapshot is no text: name a file, or send it into a pipe", USAGE)
    async with client.snapshot() as snapshot:
        await _write(snapshot, sys.stdout.buffer)
    return 0


async def _write(snapshot: Snapshot, file: BinaryIO) -> int:
    size = 0
    async for piece in snapshot.pieces:
        size += file.write(piece)
    return size


def _tell(as_json: bool, members: dict[str, object], sentence: str) -> None:
    print(json.dumps(members) if as_json else sentence)
