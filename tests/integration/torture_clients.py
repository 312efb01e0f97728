"""Clients that note what they asked and heard, each request sent once and each value written once.

Some share keys: they put, get, delete, and compare and set. The keys change as time goes on, so that the history of
each stays short enough to be judged. Others write keys that nobody else ever touches, and count what was promised.
"""

import asyncio
import json
import random
import time
from collections.abc import Sequence
from itertools import count

from torture_history import Done, Event, History, Op

from raftq_k8s.cli.at_most_once import Answer, Unanswered, Unsent
from raftq_k8s.cli.local_cluster import LocalAgent
from raftq_k8s.cli.writer import revision

_PATIENCE_S = 3.0
_PAUSE_S = 0.01
_AFTER_A_REFUSAL_S = 0.05
_KEYS_AT_ONCE = 4
_KEYS_LAST_S = 4.0
_SESSION_IS_OVER = 409
_UNKNOWN = (500, 504)
"""What an agent answers when it does not know either."""


class Client:
    """One request after the other, through one agent until that fails it, then through another."""

    def __init__(self, name: str, agents: Sequence[LocalAgent], history: History, chance: random.Random) -> None:
        self._name = name
        self._agents = agents
        self._history = history
        self._chance = chance
        self._lives = 0
        self._connection = chance.choice(agents).connection()

    async def ask(
        self,
        op: Op,
        key: str,
        *,
        value: str | None = None,
        expected: str | None = None,
        at_revision: int | None = None,
    ) -> Done:
        """One operation, asked once. `expected` stood there at `at_revision`; 0 and `None`: there was no such key."""
        done = self._begin(op, key, value, expected)
        await self._request(done, _condition(op, at_revision))
        if done.event.result in ("fail", "unknown"):
            await self._go_elsewhere(done.event)
        return done

    async def insist(self, key: str, value: str, idempotency_key: str) -> Done:
        """One put, asked again and again, here and there, until it is answered: within a session it may be. Ends
        without an answer when the session is over."""
        done = self._begin("put", key, value, None)
        while True:
            status = await self._request(done, {"Idempotency-Key": idempotency_key})
            if done.event.result == "ok":
                return done
            done.event.result, done.event.return_ns = "unknown", None  # an earlier try may yet take effect
            if status == _SESSION_IS_OVER:
                return done
            await self._go_elsewhere(done.event)

    async def open_session(self) -> int:
        while True:
            try:
                answer = await self._connection.request("POST", "/v1/sessions", timeout_s=_PATIENCE_S)
                if answer.status == 201:
                    return int(json.loads(answer.body)["session"])
            except (Unsent, Unanswered):
                pass
            await self._elsewhere()

    def _begin(self, op: Op, key: str, value: str | None, expected: str | None) -> Done:
        who = f"{self._name}.{self._lives}"
        done = Done(Event(who, op, key, value, expected, None, time.monotonic_ns(), None, "unknown"))
        self._history.add(done)
        return done

    async def _request(self, done: Done, headers: dict[str, str]) -> int | None:
        """The status of the answer, if there is one."""
        event = done.event
        method = {"get": "GET", "delete": "DELETE"}.get(event.op, "PUT")
        body = b"" if event.value is None else json.dumps(event.value).encode()
        try:
            answer = await self._connection.request(method, f"/v1/data/{event.key}", body, _PATIENCE_S, headers)
        except Unsent:
            _failed(event)
            return None
        except Unanswered:
            return None
        else:
            _heard(done, answer)
            return answer.status
        finally:
            if event.op == "get" and event.result == "unknown":
                _failed(event)  # it changed nothing

    async def _go_elsewhere(self, event: Event) -> None:
        if event.result == "unknown":
            self._lives += 1  # a checker takes a client that never heard for one that is gone
        await self._elsewhere()

    async def _elsewhere(self) -> None:
        self._connection.close()
        self._connection = self._chance.choice(self._agents).connection()
        await asyncio.sleep(_AFTER_A_REFUSAL_S)

    def close(self) -> None:
        self._connection.close()


def _condition(op: Op, at_revision: int | None) -> dict[str, str]:
    if op != "cas":
        return {}
    return {"If-Match": f'"{at_revision}"'} if at_revision else {"If-None-Match": "*"}


def _failed(event: Event) -> None:
    event.result, event.return_ns = "fail", time.monotonic_ns()


def _heard(done: Done, answer: Answer) -> None:
    event = done.event
    match answer.status:
        case 200 if event.op == "get":
            event.read, done.revision = json.loads(answer.body), revision(answer)
        case 404 if event.op == "get":
            done.revision = int(answer.headers["x-raftq-applied-index"])
        case 200 | 201 | 204:
            done.existed, done.revision = answer.status != 201, revision(answer)
        case 404 if event.op == "delete":
            done.existed, done.revision = False, json.loads(answer.body)["revision"]
        case 412 if event.op == "cas":
            event.result, event.return_ns = "mismatch", time.monotonic_ns()
            done.revision = json.loads(answer.body)["revision"]
            return
        case status if status in _UNKNOWN:
            return
        case _:
            _failed(event)
            return
    event.result, event.return_ns = "ok", time.monotonic_ns()


async def share_keys(client: Client, name: str, chance: random.Random) -> None:
    """Without end: whatever one can do to a key that others have their hands on too."""
    began = time.monotonic()
    for number in count():
        turn = int((time.monotonic() - began) / _KEYS_LAST_S)
        key = f"shared-{turn}-{chance.randrange(_KEYS_AT_ONCE)}"
        value = f"{name}-{number}"
        match chance.choices(("put", "get", "delete", "cas"), (3, 4, 1, 3))[0]:
            case "put":
                await client.ask("put", key, value=value)
            case "get":
                await client.ask("get", key)
            case "delete":
                await client.ask("delete", key)
            case _:
                seen = await client.ask("get", key)
                if seen.event.result == "ok":
                    found, at = seen.event.read, seen.revision if seen.event.read is not None else 0
                    await client.ask("cas", key, value=value, expected=found, at_revision=at)
        await asyncio.sleep(chance.random() * 2 * _PAUSE_S)


async def write_own_keys(client: Client, name: str) -> None:
    """Without end: each put has a key of its own, and is sent once."""
    for number in count():
        await client.ask("put", f"{name}-{number:06d}", value=f"{name}-{number}")
        await asyncio.sleep(_PAUSE_S)


async def insist_on_own_keys(client: Client, name: str) -> None:
    """Without end: each put has a key of its own, and is repeated in a session until it is answered."""
    for life in count():
        session = await client.open_session()
        for sequence in count(1):
            key = f"{name}-{life}-{sequence:06d}"
            done = await client.insist(key, key, f"{session}/{sequence}")
            if done.event.result != "ok":
                break
            await asyncio.sleep(_PAUSE_S)


async def look_once_more(client: Client, keys: Sequence[str], within_s: float) -> None:
    """Read each key until it is answered: what a history ends with says what became of all that was not answered."""
    deadline = time.monotonic() + within_s
    for key in keys:
        while (await client.ask("get", key)).event.result != "ok" and time.monotonic() < deadline:
            pass
