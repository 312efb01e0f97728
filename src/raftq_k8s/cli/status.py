"""`raftq status`: one look at the cluster. What is known is gathered here, and judged; `status_view.py` draws it.

The leader knows how far everybody has come; each member knows its own log. Members that cannot be asked, as from
outside of their network, are shown as the leader sees them.
"""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence

import msgspec

from raftq_k8s.cli.connecting import NO, Reach, ask
from raftq_k8s.client import Client, ClientError, Failover, Member, Role, Status

_OWN_S = 1.0
_EVERY_S = 1.0
_PATIENCE_S = 3.0


class MemberPicture(msgspec.Struct, frozen=True):
    name: str
    role: str
    """`leader`, `follower`, `learner`, or `away`: no connection to it."""
    lag: int | None
    heard_ms: float | None
    rtt_ms: float | None
    log_entries: int | None
    label: str | None
    """`leader` or `follower`, `pending` where that is not known to be so, `None` where nothing is labelled."""
    compacted: float | None
    """The part of all entries ever written that the log does not hold any more."""


class Picture(msgspec.Struct, frozen=True):
    asked: str
    """The member that answered."""
    cluster: str | None
    waiting_for: str | None
    term: int
    leader: str | None
    leader_for_s: float | None
    leaderless_s: float
    voters: int
    tolerates: int
    """So many more voters may fail before writes stop; -1: they have stopped."""
    paused: str | None
    members: tuple[MemberPicture, ...]
    last_failover: Failover | None

    @property
    def led(self) -> bool:
        return self.leader is not None and self.tolerates >= 0

    @property
    def gist(self) -> tuple[object, ...]:
        """What somebody who watches wants to hear of when it changes."""
        roles = tuple((member.name, member.role) for member in self.members)
        return self.cluster, self.waiting_for, self.term, self.leader, self.voters, self.tolerates, self.paused, roles


def status(reach: Reach, *, watch: bool, as_json: bool) -> int:
    async def once(client: Client) -> int:
        picture = await look(client, reach)
        if as_json:
            print(msgspec.json.encode(picture).decode())
        else:
            _show(picture)
        return 0 if picture.led else NO

    async def watching(client: Client) -> int:
        if as_json:
            await _tell_lines(client, reach)
        elif sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
            await _tell_live(client, reach)
        else:
            await _tell_changes(client, reach)
        return 0

    return ask(reach, watching if watch else once, _PATIENCE_S)


async def looks(client: Client, reach: Reach) -> AsyncIterator[Picture | ClientError]:
    """Without end: what was seen, or why nothing was."""
    while True:
        try:
            yield await look(client, reach)
        except ClientError as error:
            yield error
        await asyncio.sleep(_EVERY_S)


async def _tell_lines(client: Client, reach: Reach) -> None:
    async for seen in looks(client, reach):
        told = seen if isinstance(seen, Picture) else {"error": str(seen)}
        print(msgspec.json.encode(told).decode(), flush=True)


async def _tell_live(client: Client, reach: Reach) -> None:
    from raftq_k8s.cli.status_view import LiveView

    with LiveView() as view:
        async for seen in looks(client, reach):
            view.see(seen)


async def _tell_changes(client: Client, reach: Reach) -> None:
    gist: object = None
    async for seen in looks(client, reach):
        now = seen.gist if isinstance(seen, Picture) else str(seen)
        if now != gist:
            gist = now
            print(time.strftime("%Y-%m-%d %H:%M:%S"), end="" if isinstance(seen, Picture) else " ", flush=True)
            if isinstance(seen, Picture):
                _show(seen)
            else:
                print(seen)
            sys.stdout.flush()


def _show(picture: Picture) -> None:
    from raftq_k8s.cli.showing import show
    from raftq_k8s.cli.status_view import drawn

    show(drawn(picture, time.time()))


async def look(client: Client, reach: Reach) -> Picture:
    """Raises `ClientError`."""
    asked = await client.status()
    members = await client.members() if asked.cluster is not None else ()
    own, history = await asyncio.gather(_own(reach, members), client.history())
    return judge(asked, members, own, history, time.time())


async def _own(reach: Reach, members: Sequence[Member]) -> dict[str, Status]:
    """What those members say of themselves that can be asked."""

    async def ask_one(name: str, address: str) -> tuple[str, Status | None]:
        try:
            async with Client([address], token=reach.token_file, timeout_s=_OWN_S) as client:
                return name, await client.status()
        except ClientError:
            return name, None

    answers = await asyncio.gather(*(ask_one(each.name, each.http_address) for each in members if each.http_address))
    return {name: answer for name, answer in answers if answer is not None and answer.member == name}


def judge(
    asked: Status,
    members: Sequence[Member],
    own: Mapping[str, Status],
    history: Sequence[Failover],
    now_s: float,
) -> Picture:
    """`now_s`: seconds since the epoch."""
    voters = [member for member in members if member.kind == "voter"]
    alive = [voter for voter in voters if voter.connected]
    last = history[-1] if history else None
    leads_since = last.at if last is not None and (last.after, last.term) == (asked.leader, asked.term) else None
    return Picture(
        asked=asked.member,
        cluster=asked.cluster,
        waiting_for=asked.waiting_for,
        term=asked.term,
        leader=asked.leader,
        leader_for_s=None if leads_since is None else max(0.0, now_s - leads_since),
        leaderless_s=asked.leaderless_ms / 1000,
        voters=len(voters),
        tolerates=max(-1, len(alive) - (len(voters) // 2 + 1)),
        paused=asked.paused,
        members=tuple(_member(member, asked.leader, own.get(member.name)) for member in members),
        last_failover=last if last is not None and last.before is not None else None,
    )


def _member(member: Member, leader: str | None, own: Status | None) -> MemberPicture:
    if member.name == leader:
        role = "leader"
    elif not member.connected:
        role = "away"
    else:
        role = "learner" if member.kind == "learner" else "follower"
    return MemberPicture(
        name=member.name,
        role=role,
        lag=member.lag,
        heard_ms=member.heard_ms,
        rtt_ms=member.rtt_ms,
        label=_label(own),
        log_entries=None if own is None else own.last_index - own.base_index,
        compacted=None if own is None or not own.last_index else own.base_index / own.last_index,
    )


def _label(own: Status | None) -> str | None:
    if own is None or own.label is None:
        return None
    if own.label.pending:
        return "pending"
    return "leader" if own.role is Role.LEADER else "follower"
