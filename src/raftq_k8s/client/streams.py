"""Streams of events that survive their servers: on the next one they go on behind the last event that was seen."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from raftq_k8s.client.calls import Caller
from raftq_k8s.client.errors import Unreachable
from raftq_k8s.client.event_stream import Event, EventDecoder
from raftq_k8s.client.exchange import Answer, Request, Unanswered, Unsent
from raftq_k8s.client.repeating import Effort, Final, NothingDone, NothingKnown, Repeat, judge

SILENCE_S = 45.0
"""Servers send something, if only a comment, more often than that by far."""

_AGAIN_S = 0.05
"""Before a stream that was heard is asked for again: a server that lets everybody go is not asked in a circle."""


async def events_of(caller: Caller, request: Request, patience_s: float) -> AsyncGenerator[Event, None]:
    """Without end. Raises `ClientError` for a final no, or when no server could be heard for `patience_s`, and at first
    within the time of any call."""
    now = asyncio.get_running_loop().time
    last_id, longest_s = "", min(caller.timeout_s, patience_s)
    while True:
        effort, failures, heard = Effort(Repeat.UNNOTICED, longest_s, len(caller.servers), now()), 0, False
        longest_s = patience_s
        while not heard:
            server = caller.servers.next(only_leader=False)
            resumed = request._replace(headers={**request.headers, "Last-Event-ID": last_id}) if last_id else request
            verdict: NothingDone | NothingKnown = NothingKnown(f"{server} ended the stream")
            try:
                async with aclosing(_pieces(caller, server, resumed)) as pieces:
                    async for events, so_far in pieces:
                        heard = True
                        for event in events:
                            yield event
                        last_id = so_far or last_id
            except Unsent as error:
                verdict = NothingDone(Unreachable(str(error)))
            except Unanswered as error:
                verdict = NothingKnown(str(error))
            except _NotServed as refused:
                verdict = refused.verdict
            failures += 1
            effort.failed(verdict)
            caller.servers.failed(server)
            if heard:
                await asyncio.sleep(_AGAIN_S)
            else:
                round_over = failures % len(caller.servers) == 0
                await asyncio.sleep(effort.pause_s(verdict, round_over=round_over, took_s=0.0, now=now()))


class _NotServed(Exception):
    def __init__(self, verdict: NothingDone | NothingKnown) -> None:
        super().__init__()
        self.verdict = verdict


async def _pieces(caller: Caller, server: str, request: Request) -> AsyncGenerator[tuple[list[Event], str], None]:
    """The events of one connection as they arrive, none where only a sign of life came, and the id so far."""
    decoder = EventDecoder()
    async with aclosing(caller.exchange.stream(server, request, SILENCE_S)) as stream:
        async for piece in stream:
            if isinstance(piece, bytes):
                yield decoder.feed(piece), decoder.last_id
            elif piece.status != 200:
                raise _not_served(piece)


def _not_served(answer: Answer) -> Exception:
    match judge(answer):
        case Final(error):
            return error
        case NothingDone() | NothingKnown() as verdict:
            return _NotServed(verdict)
        case _:
            return _NotServed(NothingKnown(f"{answer.server} answered {answer.status} where a stream was asked for"))
