"""`raftq recover`: shows what the agent says of itself, asks, and waits until it has begun anew."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable

from raftq_k8s.cli.connecting import NO, UNKNOWN, USAGE, Reach, ask, complain
from raftq_k8s.cli.spans import seconds
from raftq_k8s.client import Client, ClientError, Status

_PATIENCE_S = 60.0
_LOOK_EVERY_S = 0.2

_ALONE = """It goes on alone, as a new cluster, with all that it holds. What the others have committed
 and it has not received is lost for good. They come back with empty volumes only: make sure that
 they are gone, and stay so until then."""
_JOINS = "Its volume is archived, and it joins with an empty one: what it holds and the others do not is left behind."


def recover(reach: Reach, cluster: str, *, confirmed: bool, as_json: bool) -> int:
    async def work(client: Client) -> int:
        before = await client.status()
        if before.cluster != cluster:
            return complain(f"{before.member} belongs to cluster {before.cluster}, not to {cluster}", NO)
        if (refusal := _unconfirmed(before, _ALONE, confirmed)) is not None:
            return refusal
        new = await client.recover(cluster)

        def leads(status: Status) -> bool:
            return status.cluster == new and status.established

        after = await _until(client, leads)
        if after is None:
            why = f"{before.member} is to become cluster {new}, and does not lead it yet: see its log"
            return complain(why, UNKNOWN)
        _tell(as_json, {"cluster": new, "member": after.member, "term": after.term}, _led(after))
        return 0

    return ask(_first(reach), work)


def join(reach: Reach, cluster: str, *, confirmed: bool, as_json: bool) -> int:
    async def work(client: Client) -> int:
        before = await client.status()
        if (refusal := _unconfirmed(before, _JOINS, confirmed)) is not None:
            return refusal
        await client.join(cluster)

        def has_joined(status: Status) -> bool:
            return status.cluster == cluster

        after = await _until(client, has_joined)
        if after is None:
            why = f"{before.member} is to join cluster {cluster}, and is not taken in yet: raftq status says why"
            return complain(why, UNKNOWN)
        _tell(as_json, {"cluster": cluster, "member": after.member}, f"{after.member} has joined cluster {cluster}")
        return 0

    return ask(_first(reach), work)


def _first(reach: Reach) -> Reach:
    """That agent is meant, and no other in its place."""
    return reach._replace(servers=(reach.servers or [])[:1])


def _unconfirmed(status: Status, consequence: str, confirmed: bool) -> int | None:
    """The exit code, where a person has not said yes."""
    if confirmed:
        return None
    if not sys.stdin.isatty():
        return complain("this is for a person to confirm: say --yes", USAGE)
    silent = f"nobody has led for {seconds(status.leaderless_ms / 1000)}"
    led = silent if status.leader is None else f"{status.leader} leads"
    print(f" {status.member} of cluster {status.cluster}, term {status.term}, its log up to {status.last_index}; {led}")
    print(f" voters {_listed(status.voters)}; connected {_listed(status.connected)}")
    print(f"\n {consequence}\n")
    print("Type yes to go on: ", end="", flush=True)
    if sys.stdin.readline().strip() != "yes":
        return complain("nothing was done", NO)
    return None


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "none"


async def _until(client: Client, condition: Callable[[Status], bool]) -> Status | None:
    """The agent is away for a moment meanwhile."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _PATIENCE_S
    while loop.time() < deadline:
        status = await _status(client.status)
        if status is not None and condition(status):
            return status
        await asyncio.sleep(_LOOK_EVERY_S)
    return None


async def _status(ask_for_it: Callable[[], Awaitable[Status]]) -> Status | None:
    try:
        return await ask_for_it()
    except ClientError:
        return None


def _led(status: Status) -> str:
    return f"{status.member} leads the new cluster {status.cluster} alone, in term {status.term}"


def _tell(as_json: bool, facts: dict[str, object], sentence: str) -> None:
    print(json.dumps(facts) if as_json else sentence)
