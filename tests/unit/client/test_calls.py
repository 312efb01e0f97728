"""What is sent again, and what is not; and what a caller hears in the end."""

import asyncio
import time

import pytest
from scripted_server import HangUp, Late, Reply, ScriptedServer, Silence, json_reply, nobody, problem

from raftq_k8s.client import (
    Client,
    Denied,
    Full,
    NotAnObject,
    NotAsExpected,
    NotUnderstood,
    OutcomeUnknown,
    Presence,
    Refused,
    Unavailable,
    Unreachable,
)
from raftq_k8s.client.servers import normal

DONE = json_reply(200, {"revision": 7}, ETag='"7"')
CREATED = json_reply(201, {"revision": 7}, ETag='"7"')
BLUE = Reply(200, b'"blue"', (("ETag", '"7"'),))


async def test_a_write_that_never_left_goes_to_the_next_server():
    async with ScriptedServer(CREATED) as second, Client([await nobody(), second.url]) as client:
        written = await client.put("colour", "blue")
    assert (written.revision, written.existed) == (7, False)
    assert second.asked[0].body == b'"blue"'


async def test_a_write_that_certainly_did_nothing_is_sent_again():
    refused = problem(503, "no-leader"), problem(429, "overloaded")
    async with ScriptedServer(*refused, DONE) as server, Client([server.url]) as client:
        assert (await client.put("colour", "blue")).existed
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    "answer",
    [
        HangUp(),
        problem(504, "outcome-unknown", outcome="unknown"),
        problem(500, "internal", outcome="unknown"),
        Reply(503, b"upstream connect error"),
        Reply(502, b"<html>"),
    ],
    ids=["connection lost", "504", "500", "503 of a gateway", "502 of a gateway"],
)
async def test_a_write_that_may_have_taken_effect_is_sent_once(answer):
    async with (
        ScriptedServer(answer) as first,
        ScriptedServer(DONE) as second,
        Client([first.url, second.url]) as client,
    ):
        with pytest.raises(OutcomeUnknown):
            await client.put("colour", "blue")
    assert (len(first.asked), len(second.asked)) == (1, 0)


async def test_a_write_on_a_kept_connection_that_breaks_is_sent_once():
    async with ScriptedServer(DONE, HangUp(), DONE) as server, Client([server.url]) as client:
        await client.put("colour", "blue")
        with pytest.raises(OutcomeUnknown):
            await client.put("colour", "red")
    assert len(server.asked) == 2


async def test_a_read_is_sent_again_whatever_became_of_the_first():
    async with ScriptedServer(HangUp(), Reply(502, b""), BLUE) as server, Client([server.url]) as client:
        found = await client.get("colour")
    assert found is not None
    assert (found.value, found.revision) == ("blue", 7)


async def test_a_server_that_is_silent_does_not_use_up_the_time_of_a_read():
    async with (
        ScriptedServer(Silence()) as frozen,
        ScriptedServer(BLUE) as second,
        Client([frozen.url, second.url], timeout_s=1.5) as client,
    ):
        assert (await client.get("colour")) is not None


async def test_a_call_ends_in_time_though_every_server_is_silent():
    async with ScriptedServer(Silence()) as frozen, Client([frozen.url], timeout_s=0.6) as client:
        began = time.monotonic()
        with pytest.raises(Unreachable):
            await client.get("colour")
        with pytest.raises(OutcomeUnknown):
            await client.put("colour", "blue")
    assert time.monotonic() - began < 3


async def test_without_a_leader_the_caller_hears_that_nothing_was_done():
    async with ScriptedServer(problem(503, "no-leader")) as server, Client([server.url], timeout_s=0.3) as client:
        with pytest.raises(Unavailable, match="it is no-leader") as raised:
            await client.put("colour", "blue")
    assert raised.value.problem.kind == "no-leader"
    assert len(server.asked) > 1


async def test_a_write_is_not_sent_again_when_its_answer_would_come_too_late():
    late = Late(0.4, problem(503, "no-leader"))
    async with ScriptedServer(late) as server, Client([server.url], timeout_s=0.7) as client:
        with pytest.raises(Unavailable):
            await client.put("colour", "blue")
    assert len(server.asked) == 1


async def test_a_read_that_ends_in_silence_says_what_a_server_had_said_before():
    async with (
        ScriptedServer(problem(503, "no-leader"), Silence()) as server,
        Client([server.url], timeout_s=1) as client,
    ):
        with pytest.raises(Unavailable, match="no-leader"):
            await client.get("colour")


async def test_without_a_server_the_caller_hears_which_address_is_wrong():
    address = await nobody()
    async with Client([address], timeout_s=0.3) as client:
        with pytest.raises(Unreachable, match=f"^{address}: connection refused$"):
            await client.get("colour")


async def test_https_where_there_is_none_is_said_so():
    async def in_plain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(in_plain, "127.0.0.1", 0) as server:
        address = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with Client(address, timeout_s=0.3) as client:
            with pytest.raises(Unreachable, match=f"^{address} does not speak TLS"):
                await client.get("colour")


async def test_one_address_needs_no_list():
    async with ScriptedServer(BLUE) as server, Client(server.url) as client:
        assert await client.get("colour") is not None


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (problem(401, "token-missing"), Denied),
        (problem(403, "not-from-here"), Denied),
        (problem(409, "not-an-object"), NotAnObject),
        (problem(412, "not-as-expected", found=9), NotAsExpected),
        (problem(507, "document-full"), Full),
        (problem(400, "not-json"), Refused),
        (Reply(404, b"<html>"), Refused),
    ],
)
async def test_a_final_no_is_raised_at_once(answer, error):
    async with ScriptedServer(answer) as server, Client([server.url]) as client:
        with pytest.raises(error) as raised:
            await client.put("colour", "blue", if_revision=8)
    assert len(server.asked) == 1
    if error is NotAsExpected:
        assert raised.value.found == 9


async def test_conditions_are_sent_as_the_headers_that_http_has_for_them():
    async with ScriptedServer(DONE) as server, Client([server.url]) as client:
        for expected in (None, 7, 0, Presence.ABSENT, Presence.PRESENT):
            await client.put("colour", "blue", if_revision=expected)
        await client.replace({}, if_revision=0)
    sent = [(asked.headers.get("if-match"), asked.headers.get("if-none-match")) for asked in server.asked]
    assert sent == [(None, None), ('"7"', None), (None, "*"), (None, "*"), ("*", None), ('"0"', None)]


async def test_any_text_is_a_key():
    async with ScriptedServer(BLUE) as server, Client([server.url]) as client:
        for key in ("a/b", "..", "grün?#%", "a b"):
            await client.get(key)
    assert [asked.target.partition("?")[0] for asked in server.asked] == [
        "/v1/data/a%2Fb",
        "/v1/data/%2E%2E",
        "/v1/data/gr%C3%BCn%3F%23%25",
        "/v1/data/a%20b",
    ]


async def test_a_missing_key_is_none_and_a_missing_server_path_is_not():
    async with (
        ScriptedServer(problem(404, "no-such-key"), problem(404, "no-such-resource")) as server,
        Client([server.url]) as client,
    ):
        assert await client.get("colour") is None
        with pytest.raises(Refused):
            await client.get("colour")


def away(leader):
    return Reply(307, b"", (("Location", f"{leader}/v1/transfer"),))


async def test_what_only_a_leader_can_do_is_asked_of_the_leader_and_then_of_it_first():
    led = json_reply(200, {"leader": "raftq-1", "term": 8})
    async with (
        ScriptedServer(led) as leader,
        ScriptedServer(away(leader.url)) as follower,
        Client([follower.url]) as client,
    ):
        await client.transfer("raftq-1")
        await client.transfer("raftq-1")
    assert (len(follower.asked), len(leader.asked)) == (1, 2)
    assert leader.asked[0].body == b'{"to":"raftq-1"}'


async def test_a_leader_that_has_gone_is_forgotten():
    led = json_reply(200, {"leader": "raftq-1", "term": 8})
    async with ScriptedServer(away(await nobody()), led) as server, Client([server.url]) as client:
        assert await client.transfer() == "raftq-1"


async def test_a_leader_out_of_reach_is_named_with_what_to_do():
    gone = await nobody()
    async with ScriptedServer(away(gone)) as server, Client([server.url], timeout_s=0.3) as client:
        with pytest.raises(Unreachable, match=f"{gone}: connection refused.*ask through its Service"):
            await client.transfer()


async def test_members_that_send_a_client_to_each_other_do_not_keep_it_busy():
    def back(asked):
        return Reply(307, b"", (("Location", f"http://{asked.headers['host']}/v1/transfer"),))

    async with ScriptedServer(back) as server, Client([server.url], timeout_s=0.5) as client:
        with pytest.raises(Unreachable, match="elsewhere"):
            await client.transfer()
    assert len(server.asked) < 40


async def test_a_token_does_not_leave_https():
    from raftq_k8s.client.exchange import Answer
    from raftq_k8s.client.repeating import Final, judge

    away = Answer("https://raftq", 307, {"location": "http://10.0.0.1:7480/v1/members"}, b"")
    assert isinstance(judge(away), Final)


async def test_a_token_file_is_read_again(tmp_path):
    file = tmp_path / "token"
    file.write_text("first\nsecond\n")
    async with ScriptedServer(DONE) as server, Client([server.url], token=file) as client:
        await client.put("colour", "blue")
        file.write_text("third\n")
        await client.put("colour", "red")
    assert [asked.headers["authorization"] for asked in server.asked] == ["Bearer first", "Bearer third"]


async def test_only_the_first_server_is_drained():
    async with (
        ScriptedServer(HangUp()) as first,
        ScriptedServer(Reply(202)) as second,
        Client([first.url, second.url], timeout_s=0.6) as client,
    ):
        with pytest.raises(OutcomeUnknown):
            await client.drain()
    assert second.asked == []


async def test_only_the_first_server_gives_up_its_quorum_and_is_asked_once():
    async with (
        ScriptedServer(HangUp()) as first,
        ScriptedServer(Reply(202)) as second,
        Client([first.url, second.url], timeout_s=0.6) as client,
    ):
        with pytest.raises(OutcomeUnknown):
            await client.recover("7f3c")
    assert [asked.body for asked in first.asked] == [b'{"cluster":"7f3c"}']
    assert second.asked == []


async def test_a_leader_of_an_older_term_is_no_answer():
    new, old = ({"id": name, "address": None, "term": term} for name, term in (("raftq-1", 8), ("raftq-0", 7)))
    async with (
        ScriptedServer(json_reply(200, new), json_reply(200, old), json_reply(200, new)) as server,
        Client([server.url]) as client,
    ):
        assert [(await client.leader()).term, (await client.leader()).term] == [8, 8]


@pytest.mark.parametrize(
    "address",
    ["", "ftp://raftq", "http://", "http://a b", "http://a:b", "http://a:65536", "http://:7480", "http://[::1"],
)
def test_what_is_no_address_is_refused_at_once(address):
    with pytest.raises(ValueError, match="no address"):
        Client([address])


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("raftq", "http://raftq:7480"),
        ("raftq:80", "http://raftq:80"),
        ("http://raftq/", "http://raftq"),
        ("https://raftq:7480", "https://raftq:7480"),
    ],
)
def test_a_host_alone_is_asked_at_the_port_of_an_agent(said, meant):
    assert normal(said) == meant


async def test_a_cancelled_call_is_over():
    async with ScriptedServer(Silence()) as frozen, Client([frozen.url]) as client:
        call = asyncio.create_task(client.get("colour"))
        await frozen.was_asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call


@pytest.mark.parametrize("tag", ['W/"7"', '"7-gzip"', "", None])
async def test_a_write_whose_tag_somebody_has_changed_is_told_as_done(tag):
    headers = {} if tag is None else {"ETag": tag}
    async with ScriptedServer(json_reply(200, {"revision": 7}, **headers)) as server, Client([server.url]) as client:
        assert (await client.put("colour", "blue")).revision == 7


@pytest.mark.parametrize(("tag", "revision"), [('"7"', 7), ('W/"7"', 7), ('"x"', None), (None, None)])
async def test_a_value_without_its_revision_is_not_understood(tag, revision):
    found = Reply(200, b'"blue"', () if tag is None else (("ETag", tag),))
    async with ScriptedServer(found) as server, Client([server.url]) as client:
        if revision is None:
            with pytest.raises(NotUnderstood):
                await client.get("colour")
        else:
            assert (await client.get("colour")).revision == revision


async def test_nobody_but_a_member_that_was_asked_for_its_leader_leads_a_client_on():
    async with ScriptedServer(DONE) as stranger:
        login = Reply(307, b"", (("Location", f"{stranger.url}/login"),))
        async with (
            ScriptedServer(login) as server,
            Client([server.url], token="secret", timeout_s=0.3) as client,
        ):
            with pytest.raises(Unreachable):
                await client.get("colour")
            server.script[:] = [json_reply(200, {"leader": "raftq-1"})]
            assert await client.transfer() == "raftq-1"
    assert stranger.asked == []


async def test_a_login_page_is_no_leader():
    async with ScriptedServer(DONE) as stranger:
        login = Reply(307, b"", (("Location", f"{stranger.url}/login?for=raftq"),))
        async with (
            ScriptedServer(login) as server,
            Client([server.url], token="secret", timeout_s=0.3) as client,
        ):
            with pytest.raises(Unreachable):
                await client.transfer()
    assert stranger.asked == []


@pytest.mark.parametrize("token", ["two\nlines", "", " ", "t\u00f6ken"])
def test_what_cannot_be_a_token_is_refused_at_once(token):
    with pytest.raises(ValueError, match="token"):
        Client(token=token)
