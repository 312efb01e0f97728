"""Calls: requests that are tried on one server after the other, until one of them has an answer or the time is over."""

import asyncio
from typing import NamedTuple

from raftq_k8s.client.errors import OutcomeUnknown, Unreachable
from raftq_k8s.client.exchange import Answer, Exchange, Request, Unanswered, Unsent
from raftq_k8s.client.repeating import (
    Done,
    Effort,
    Elsewhere,
    Final,
    NothingDone,
    NothingKnown,
    Repeat,
    Verdict,
    judge,
)
from raftq_k8s.client.servers import Servers

_HOPS = 3
"""Who is sent on so often in a row waits: members may take each other for the leader while one takes over."""

_DECIDED = frozenset(
    {"not-as-expected", "not-an-object", "document-full", "too-much-to-merge", "no-such-key", "sequence-reused"}
)
"""What the log said of a command is the same for each try of it; any other refusal is of that try alone."""


class Call(NamedTuple):
    request: Request
    repeat: Repeat
    only_leader: bool = False


class Caller:
    def __init__(self, exchange: Exchange, servers: Servers, timeout_s: float) -> None:
        self.exchange = exchange
        self.servers = servers
        self.timeout_s = timeout_s

    async def call(self, call: Call) -> Answer:
        """Raises `ClientError`, within the time-out."""
        now = asyncio.get_running_loop().time
        effort = Effort(call.repeat, self.timeout_s, len(self.servers), now())
        failures = hops = 0
        while True:
            server = self.servers.next(call.only_leader)
            began = now()
            verdict = await self._tried(server, call.request, effort.patience_s(began))
            if isinstance(verdict, Elsewhere):
                hops += 1
                if call.only_leader and verdict.path == call.request.path and hops < _HOPS:
                    self.servers.leader = verdict.server
                    continue
                verdict = NothingDone(Unreachable(f"{server} leads on to {verdict.server}, and that one elsewhere"))
            match verdict:
                case Done(answer):
                    return answer
                case Final(error):
                    if effort.in_doubt and error.problem.kind not in _DECIDED:
                        raise OutcomeUnknown(f"{error}; an earlier try may have taken effect") from error
                    raise error
                case NothingDone() | NothingKnown():
                    hops = 0
                    failures += 1
                    effort.failed(verdict)
                    self.servers.failed(server)
                    round_over = failures % len(self.servers) == 0
                    ended = now()
                    took_s = ended - began
                    await asyncio.sleep(effort.pause_s(verdict, round_over=round_over, took_s=took_s, now=ended))

    async def _tried(self, server: str, request: Request, patience_s: float) -> Verdict:
        try:
            return judge(await self.exchange.once(server, request, patience_s))
        except Unsent as error:
            return NothingDone(Unreachable(self._out_of_reach(server, str(error))))
        except Unanswered as error:
            return NothingKnown(str(error))

    def _out_of_reach(self, server: str, complaint: str) -> str:
        if server != self.servers.leader or server in self.servers:
            return complaint
        return f"{complaint}; that is the leader's own address: where it cannot be reached, ask through its Service"
