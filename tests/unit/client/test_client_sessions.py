import asyncio

import pytest
from scripted_server import HangUp, Reply, ScriptedServer, json_reply, problem

from raftq_k8s.client import Client, NotAsExpected, OutcomeUnknown
from raftq_k8s.client.sessions import WINDOW

DONE = json_reply(200, {"revision": 7}, ETag='"7"')
OPENED = json_reply(201, {"session": 5})
OPENED_LATER = json_reply(201, {"session": 9})
CLOSED = Reply(204)


def keys(server):
    return [asked.headers.get("idempotency-key") for asked in server.asked if asked.method == "PUT"]


async def test_a_write_in_a_session_is_repeated_under_the_same_sequence():
    async with (
        ScriptedServer(OPENED, HangUp(), problem(504, "x", outcome="unknown"), DONE, DONE, CLOSED) as server,
        Client([server.url]) as client,
        client.session() as session,
    ):
        await session.put("colour", "blue")
        await session.put("colour", "red")
    assert keys(server) == ["5/1", "5/1", "5/1", "5/2"]
    assert server.requests[-1] == "DELETE /v1/sessions/5"


async def test_a_session_that_expired_unused_is_replaced_unseen():
    script = OPENED, problem(409, "no-such-session"), OPENED_LATER, DONE, CLOSED
    async with ScriptedServer(*script) as server, Client([server.url]) as client, client.session() as session:
        assert (await session.put("colour", "blue")).revision == 7
    assert keys(server) == ["5/1", "9/2"]


async def test_a_session_that_is_gone_after_a_try_that_may_have_counted_leaves_the_outcome_unknown():
    script = OPENED, HangUp(), problem(409, "no-such-session"), CLOSED
    async with ScriptedServer(*script) as server, Client([server.url]) as client, client.session() as session:
        with pytest.raises(OutcomeUnknown):
            await session.put("colour", "blue")


@pytest.mark.parametrize("script", [[HangUp()], [HangUp(), problem(503, "no-leader")]], ids=["lost", "lost, no leader"])
async def test_a_write_in_a_session_that_may_have_counted_is_never_told_as_not_done(script):
    async with (
        ScriptedServer(OPENED, *script) as server,
        Client([server.url], timeout_s=0.6) as client,
        client.session() as session,
    ):
        with pytest.raises(OutcomeUnknown):
            await session.put("colour", "blue")


@pytest.mark.parametrize(
    "refusal",
    [
        problem(507, "volume-full"),
        problem(403, "token-wrong"),
        problem(413, "value-too-large"),
        Reply(404, b"default backend"),
    ],
    ids=["full", "denied", "too large", "of a gateway"],
)
async def test_what_is_refused_later_says_nothing_of_a_try_that_may_have_counted(refusal):
    script = OPENED, HangUp(), refusal, CLOSED
    async with ScriptedServer(*script) as server, Client([server.url]) as client, client.session() as session:
        with pytest.raises(OutcomeUnknown, match="earlier try"):
            await session.put("colour", "blue")


async def test_the_first_reply_counts_after_a_try_that_was_not_answered():
    script = OPENED, HangUp(), problem(412, "not-as-expected", found=3), CLOSED
    async with ScriptedServer(*script) as server, Client([server.url]) as client, client.session() as session:
        with pytest.raises(NotAsExpected):
            await session.put("colour", "blue", if_revision=2)


async def test_a_session_that_cannot_be_closed_ends_well():
    async with (
        ScriptedServer(OPENED, problem(403, "token-wrong")) as server,
        Client([server.url]) as client,
        client.session(),
    ):
        pass


async def test_never_more_sequences_are_under_way_than_the_session_keeps_replies():
    first_waits = asyncio.Event()
    under_way: set[int] = set()
    widest = 0

    async def send(call):
        nonlocal widest
        if call.request.path == "/v1/sessions":
            return _answer(OPENED)
        sequence = int(call.request.headers["Idempotency-Key"].partition("/")[2])
        under_way.add(sequence)
        widest = max(widest, max(under_way) - min(under_way) + 1)
        await (first_waits.wait() if sequence == 1 else asyncio.sleep(0))
        under_way.remove(sequence)
        return _answer(DONE)

    from raftq_k8s.client.sessions import Session

    class _Caller:
        call = staticmethod(send)

    session = Session(_Caller())
    writing = [asyncio.create_task(session.put(f"k{number}", number)) for number in range(3 * WINDOW)]
    for _ in range(10 * WINDOW):
        await asyncio.sleep(0)
    assert sum(each.done() for each in writing) == WINDOW - 1
    first_waits.set()
    await asyncio.gather(*writing)
    assert widest == WINDOW


def _answer(reply):
    from raftq_k8s.client.exchange import Answer

    return Answer("http://one", reply.status, {name.lower(): text for name, text in reply.headers}, reply.body)
