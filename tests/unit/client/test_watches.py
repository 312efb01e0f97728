import time

import pytest
from scripted_server import Events, HangUp, Reply, ScriptedServer, nobody, problem

from raftq_k8s.client import Change, Changed, Client, Compacted, Unreachable
from raftq_k8s.client.event_stream import Event, EventDecoder


def change(revision, key, value=None):
    now = '"deleted":true' if value is None else f'"value":{value}'
    data = f'{{"revision":{revision},"changes":[{{"key":"{key}",{now}}}]}}'
    return f"id: {revision}\nevent: change\ndata: {data}\n\n".encode()


def leads(name, term):
    return f'event: leader\ndata: {{"id":"{name}","address":null,"term":{term}}}\n\n'.encode()


async def some(iterator, count):
    seen = []
    async for each in iterator:
        seen.append(each)
        if len(seen) == count:
            break
    await iterator.aclose()
    return seen


async def test_a_watch_goes_on_at_the_next_server_behind_what_it_has_seen():
    async with (
        ScriptedServer(Events(change(3, "a", 1) + change(4, "a"))) as first,
        ScriptedServer(Events(b": alive\n\n" + change(6, "b", "null"))) as second,
        Client([first.url, second.url]) as client,
    ):
        changes = await some(client.watch(2, prefix="x/"), 3)
    assert changes == [
        Changed(3, (Change("a", b"1"),)),
        Changed(4, (Change("a", None),)),
        Changed(6, (Change("b", b"null"),)),
    ]
    assert first.asked[0].target == "/v1/events?after=2&prefix=x/"
    assert second.asked[0].headers["last-event-id"] == "4"


async def test_a_watch_outlives_servers_that_are_away():
    script = HangUp(), problem(503, "no-leader"), Reply(502, b""), Events(change(3, "a", 1))
    async with ScriptedServer(*script) as server, Client([await nobody(), server.url]) as client:
        assert len(await some(client.watch(2), 1)) == 1


async def test_a_watch_whose_servers_let_it_go_again_and_again_does_not_ask_in_a_circle():
    script = [Events(b":\n\n")] * 4
    async with ScriptedServer(*script, Events(change(3, "a", 1))) as server, Client([server.url]) as client:
        began = time.monotonic()
        assert len(await some(client.watch(2), 1)) == 1
        assert time.monotonic() - began >= 0.2


async def test_a_watch_says_when_its_changes_are_gone():
    async with ScriptedServer(problem(410, "compacted", oldest=70)) as server, Client([server.url]) as client:
        with pytest.raises(Compacted) as raised:
            await some(client.watch(2), 1)
    assert raised.value.oldest == 70


async def test_a_watch_without_any_server_ends_after_its_patience():
    async with Client([await nobody()]) as client:
        with pytest.raises(Unreachable):
            await some(client.watch(2, patience_s=0.2), 1)


async def test_each_leader_is_told_once_and_none_of_an_older_term():
    nobody_leads = b'event: leader\ndata: {"id":null,"address":null,"term":8}\n\n'
    told = leads("raftq-0", 7) * 2 + leads("raftq-1", 8) + leads("raftq-0", 7) + nobody_leads + leads("raftq-2", 9)
    async with ScriptedServer(Events(told)) as server, Client([server.url]) as client:
        leaders = await some(client.watch_leader(), 4)
    assert [leader and (leader.id, leader.term) for leader in leaders] == [
        ("raftq-0", 7),
        ("raftq-1", 8),
        None,
        ("raftq-2", 9),
    ]


def test_events_are_the_same_however_the_bytes_are_cut():
    text = b': hello\r\nid: 5\r\nevent: change\r\ndata: {"a":\r\ndata: 1}\r\n\r\n\ndata:x\n\nid: 6\n\n'
    whole = EventDecoder().feed(text)
    assert whole == [Event("change", b'{"a":\n1}'), Event("message", b"x")]
    decoder = EventDecoder()
    assert [event for at in range(len(text)) for event in decoder.feed(text[at : at + 1])] == whole


def test_an_id_counts_with_the_end_of_its_event_and_also_without_one():
    decoder = EventDecoder()
    for piece, last_id in ((b"id: 5\n", ""), (b"data: x\n", ""), (b"\n", "5"), (b":\nid: 7\n\n", "7")):
        decoder.feed(piece)
        assert decoder.last_id == last_id


async def test_a_watch_that_breaks_off_within_an_event_hears_it_whole_from_the_next():
    cut = change(3, "a", 1) + change(4, "a", 2)[:-20]
    async with (
        ScriptedServer(Events(cut), Events(change(4, "a", 2))) as server,
        Client([server.url]) as client,
    ):
        assert [each.revision for each in await some(client.watch(2), 2)] == [3, 4]
    assert server.asked[1].headers["last-event-id"] == "3"


async def test_the_whole_document_and_several_keys_are_told_as_one_write_changed_them():
    told = b'id: 3\nevent: change\ndata: {"revision":3,"changes":[{"document":{"a":1}}]}\n\n'
    two = b'[{"key":"a","value":null},{"key":"b","deleted":true}]'
    told += b'id: 4\nevent: change\ndata: {"revision":4,"changes":%s}\n\n' % two
    async with ScriptedServer(Events(told)) as server, Client([server.url]) as client:
        assert await some(client.watch(), 2) == [
            Changed(3, (Change(None, b'{"a":1}'),)),
            Changed(4, (Change("a", b"null"), Change("b", None))),
        ]
