"""A client that writes all the while, and knows exactly what it was promised.

Every put has a key of its own and is sent once, whatever becomes of it. So the document can be held against the ledger:
a put that was acknowledged with revision r must be there with its value and, having been applied once, with revision r.
A put applied a second time would have moved its key to a later revision, or have found its key there already.
"""

import asyncio
import json
from collections.abc import Sequence

from raftq_k8s.cli.at_most_once import Answer, Connection, Unanswered, Unsent
from raftq_k8s.cli.local_cluster import LocalAgent

_PATIENCE_S = 8.0
"""Longer than an agent takes to say that it does not know."""
_READS_AT_ONCE = 16


class Ledger:
    """What was sent, and what was answered. Two ledgers on one cluster need different names for their puts."""

    def __init__(self, name: str = "put") -> None:
        self._name = name
        self.sent: dict[str, int] = {}
        self.acknowledged: dict[str, int] = {}
        """The revision each put was acknowledged with, by key."""
        self.unknown = 0
        """Puts that left and were not answered, or with 504: they may be in the document, or not."""
        self.refused = 0
        self.found_there: set[str] = set()
        """Keys that were there already, the answer says, when their only put was applied."""

    def next_put(self) -> tuple[str, int]:
        number = len(self.sent) + 1
        key = f"{self._name}-{number:07d}"
        self.sent[key] = number
        return key, number


class Findings:
    """The ledger held against what the members hold."""

    def __init__(self) -> None:
        self.lost: set[str] = set()
        self.duplicates: set[str] = set()


class Client:
    """One after the other through one member, with the ledger kept."""

    def __init__(self, agent: LocalAgent, ledger: Ledger) -> None:
        self.agent = agent
        self._connection: Connection = agent.connection()
        self._ledger = ledger

    async def put(self) -> bool:
        """One put with a new key: whether it was acknowledged."""
        key, value = self._ledger.next_put()
        try:
            answer = await self._connection.request("PUT", f"/v1/data/{key}", str(value).encode(), _PATIENCE_S)
        except Unsent:
            self._ledger.refused += 1
            return False
        except Unanswered:
            self._ledger.unknown += 1
            return False
        except asyncio.CancelledError:
            self._ledger.unknown += 1
            raise
        return self._entered(key, answer)

    def _entered(self, key: str, answer: Answer) -> bool:
        if answer.status in (200, 201, 204):
            self._ledger.acknowledged[key] = revision(answer)
            if answer.status != 201:
                self._ledger.found_there.add(key)
            return True
        if answer.status == 504:
            self._ledger.unknown += 1
        else:
            self._ledger.refused += 1
        return False

    def close(self) -> None:
        self._connection.close()


def revision(answer: Answer) -> int:
    return int(answer.headers["etag"].strip('"'))


async def write_on(agents: Sequence[LocalAgent], ledger: Ledger, first: int, pause_s: float) -> None:
    """Puts without end, through one member until it refuses, then through the next."""
    clients = [Client(agent, ledger) for agent in agents]
    try:
        turn = first
        while True:
            if await clients[turn % len(clients)].put():
                await asyncio.sleep(pause_s)
            else:
                turn += 1
                await asyncio.sleep(0.01)
    finally:
        for client in clients:
            client.close()


async def first_accepted(agents: Sequence[LocalAgent], ledger: Ledger, within_s: float) -> LocalAgent | None:
    """Which of them is the first to accept a put that is sent from now on; `None` if nobody does in time."""

    async def persist(client: Client) -> LocalAgent:
        while True:
            if await client.put():
                return client.agent
            await asyncio.sleep(0.005)

    clients = [Client(agent, ledger) for agent in agents]
    tries = [asyncio.create_task(persist(client)) for client in clients]
    try:
        done, _ = await asyncio.wait(tries, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result() if done else None
    finally:
        for each in tries:
            each.cancel()
        await asyncio.gather(*tries, return_exceptions=True)
        for client in clients:
            client.close()


async def audit(agents: Sequence[LocalAgent], ledger: Ledger) -> Findings:
    """Ask every member for everything. They must have applied all there is before."""
    findings = Findings()
    findings.duplicates |= ledger.found_there
    for agent in agents:
        document = json.loads((await agent.get("/v1/data?consistency=local")).body)
        for key in ledger.acknowledged:
            if document.get(key) != ledger.sent[key]:
                findings.lost.add(key)
        findings.duplicates |= await _applied_again(agent, ledger, findings.lost)
    return findings


async def _applied_again(agent: LocalAgent, ledger: Ledger, lost: set[str]) -> set[str]:
    keys = [key for key in ledger.acknowledged if key not in lost]
    again: set[str] = set()

    async def compare(part: Sequence[str]) -> None:
        connection = agent.connection()
        try:
            for key in part:
                if (
                    revision(await connection.request("GET", f"/v1/data/{key}?consistency=local"))
                    != ledger.acknowledged[key]
                ):
                    again.add(key)
        finally:
            connection.close()

    await asyncio.gather(*(compare(keys[start::_READS_AT_ONCE]) for start in range(_READS_AT_ONCE)))
    return again
