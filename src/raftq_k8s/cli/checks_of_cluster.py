"""Checks of a running cluster, by what its members say over HTTP."""

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from raftq_k8s.cli.connecting import HERE, Reach
from raftq_k8s.cli.finding import Finding, State
from raftq_k8s.cli.spans import seconds
from raftq_k8s.client import Client, ClientError, Denied, Member, Status
from raftq_k8s.client.answers import decoded
from raftq_k8s.client.exchange import Exchange, Request, Token, Unanswered, Unsent

_PATIENCE_S = 3.0
_CLOCKS_APART_S = 2.0
_LAGGING_ENTRIES = 10_000


class Seen(NamedTuple):
    """What one member said of itself."""

    status: Status
    clock_ahead_s: float
    """Of this machine's."""
    stalls: int
    """How often its event loop stood still for too long."""


async def cluster(reach: Reach) -> list[Finding]:
    try:
        async with Client(reach.servers or [HERE], token=reach.token_file, timeout_s=_PATIENCE_S) as client:
            asked = await client.status()
            members = await client.members() if asked.cluster is not None else ()
    except Denied as error:
        return [Finding("cluster", State.WRONG, str(error), "name the file that holds the token: --token-file FILE")]
    except (ClientError, ValueError) as error:
        advice = "is an agent running there (--server URL)? Its log says why it ended"
        return [Finding("cluster", State.WRONG, str(error), advice)]
    if asked.cluster is None:
        waiting = f"{asked.member} is in no cluster: {asked.waiting_for}"
        return [Finding("cluster", State.WRONG, waiting, "bring up what it waits for")]
    async with Exchange(Token(reach.token_file)) as exchange:
        answers = await asyncio.gather(*(_seen(exchange, member) for member in members))
    return judge(asked, members, {one.status.member: one for one in answers if one is not None})


async def _seen(exchange: Exchange, member: Member) -> Seen | None:
    if member.http_address is None:
        return None
    server = f"http://{member.http_address}"
    try:
        began_s = time.time()
        answer = await exchange.once(server, Request("GET", "/v1/status"), _PATIENCE_S)
        ended_s = time.time()
        metrics = await exchange.once(server, Request("GET", "/metrics"), _PATIENCE_S)
        ahead_s = ahead(parsedate_to_datetime(answer.headers["date"]).timestamp(), began_s, ended_s)
        status = decoded(answer.body, Status)
    except (Unsent, Unanswered, ClientError, KeyError, ValueError):
        return None
    return (
        Seen(status, ahead_s, _stalls(metrics.body.decode(errors="replace"))) if status.member == member.name else None
    )


def ahead(said_s: float, began_s: float, ended_s: float) -> float:
    """How far a clock that said so, in whole seconds, is ahead of ours at the least: it was read between the two."""
    if said_s > ended_s:
        return said_s - ended_s
    return min(0.0, said_s + 1 - began_s)


def _stalls(metrics: str) -> int:
    found = re.search(r"^raftq_event_loop_stalls_total (\S+)", metrics, re.MULTILINE)
    return int(float(found[1])) if found else 0


def judge(asked: Status, members: Sequence[Member], seen: Mapping[str, Seen]) -> list[Finding]:
    return [
        _leader(asked),
        _majority(members),
        *_lagging(members),
        *_unseen(members, seen),
        *_clocks(seen),
        *_volumes(seen),
        *_loops(seen),
        *_labels(seen),
        *_releases(seen),
        *_pause(asked),
    ]


def _leader(asked: Status) -> Finding:
    if asked.leader is None:
        found = f"nobody leads for {seconds(asked.leaderless_ms / 1000)}, as {asked.member} sees it"
        advice = "bring back a majority of the voters; where they are lost for good: raftq recover --help"
        return Finding("leader", State.WRONG, found, advice)
    return Finding("leader", State.WELL, f"{asked.leader} leads in term {asked.term}")


def _majority(members: Sequence[Member]) -> Finding:
    voters = [member for member in members if member.kind == "voter"]
    away = [voter.name for voter in voters if not voter.connected]
    spare = len(voters) - len(away) - (len(voters) // 2 + 1)
    advice = "look at those pods; one that is gone for good with its volume: raftq members remove NAME"
    if not away:
        if spare == 0 and len(voters) > 1:
            found = f"{len(voters)} voters tolerate no failure"
            return Finding("voters", State.NOTE, found, "run an odd number of members, three at least")
        found = f"all {len(voters)} are connected" if len(voters) > 1 else "there is one, and no failure is tolerated"
        return Finding("voters", State.WELL, found)
    found = f"{', '.join(away)} of {len(voters)} away"
    if spare < 0:
        return Finding("voters", State.WRONG, f"{found}: there is no majority", advice)
    more = f"; {spare} more may fail" if spare else "; none more may fail"
    return Finding("voters", State.WRONG, found + more, advice)


def _lagging(members: Sequence[Member]) -> list[Finding]:
    slow = [f"{each.name} by {each.lag:,}" for each in members if each.connected and (each.lag or 0) > _LAGGING_ENTRIES]
    if not slow:
        return []
    advice = "is its disk slow, or its CPU throttled? If it does not shrink, look at its log"
    return [Finding("lag", State.NOTE, f"behind the leader: {', '.join(slow)} entries", advice)]


def _unseen(members: Sequence[Member], seen: Mapping[str, Seen]) -> list[Finding]:
    unseen = [member.name for member in members if member.connected and member.name not in seen]
    if not unseen:
        return []
    found = f"{', '.join(unseen)} cannot be asked from here"
    return [Finding("http", State.SKIPPED, f"{found}: their clocks, volumes and labels are not looked at")]


def _clocks(seen: Mapping[str, Seen]) -> list[Finding]:
    if not seen:
        return []
    apart = [
        f"{name} {'ahead' if each.clock_ahead_s > 0 else 'behind'} by {seconds(abs(each.clock_ahead_s))}"
        for name, each in seen.items()
        if abs(each.clock_ahead_s) > _CLOCKS_APART_S
    ]
    if not apart:
        return [Finding("clocks", State.WELL, "all agree with this one")]
    advice = "run NTP on the nodes: Raft does not rely on it, but certificates, history and logs do"
    return [Finding("clocks", State.NOTE, f"compared with this one: {', '.join(apart)}", advice)]


def _volumes(seen: Mapping[str, Seen]) -> list[Finding]:
    full = [name for name, each in seen.items() if each.status.volume_full]
    if not full:
        return []
    advice = "make their volumes larger: until then they take no writes, and do not lead where another can"
    return [Finding("volumes", State.WRONG, f"{', '.join(full)} live on the reserve of a full volume", advice)]


def _loops(seen: Mapping[str, Seen]) -> list[Finding]:
    stalled = [f"{name} ({each.stalls})" for name, each in seen.items() if each.stalls]
    if not stalled:
        return []
    advice = "remove its CPU limit or give it more, or set profile to steady, whose times are longer"
    return [
        Finding(
            "stalls",
            State.NOTE,
            f"loops that stood still for a quarter of an election time: {', '.join(stalled)}",
            advice,
        )
    ]


def _labels(seen: Mapping[str, Seen]) -> list[Finding]:
    labels = {name: each.status.label for name, each in seen.items() if each.status.label is not None}
    if not labels:
        return []
    pending = [name for name, label in labels.items() if label.pending]
    leading = {name: label for name, label in labels.items() if name == seen[name].status.leader}
    told = (leading or labels).values()  # the others look at the API now and then only: a moment ago may be long ago
    shown = {label.labelled_leaders for label in told if label.labelled_leaders is not None}
    advice = "see the findings about kubernetes in those pods, and their logs: the leader's Service may lead nowhere"
    if pending:
        return [Finding("label", State.WRONG, f"{', '.join(pending)} could not write what Raft wants", advice)]
    if shown - {1}:
        found = f"the API shows {', '.join(map(str, sorted(shown)))} pods with the leader's label"
        return [Finding("label", State.WRONG, found, advice)]
    return [Finding("label", State.WELL, "one pod has the leader's label")]


def _releases(seen: Mapping[str, Seen]) -> list[Finding]:
    releases = sorted({each.status.version for each in seen.values() if each.status.version})
    if len(releases) < 2:
        return []
    return [Finding("releases", State.NOTE, f"members run {', '.join(releases)}", "let the rollout end")]


def _pause(asked: Status) -> list[Finding]:
    if asked.paused is None:
        return []
    why = f": {asked.paused}" if asked.paused else ""
    return [Finding("pause", State.NOTE, f"the cluster is paused{why}", "raftq resume ends it")]
